"""What an unsubscribe leaves behind: the state with its history, and the consent ledger."""

from typing import Any

from tests.integration.tracker.conftest import Ledger, Tracker

TARO = "taro@example.jp"
ONE_CLICK = {"List-Unsubscribe": "One-Click"}


async def consents(book: Ledger) -> list[dict[str, Any]]:
    """The rows of the consent ledger."""
    return [dict(row) for row in await book.pool.fetch("SELECT * FROM consents ORDER BY id")]


async def test_one_click_leaves_state_history_and_evidence_once(tracker: Tracker, book: Ledger) -> None:
    """However often the mail system asks: one change, one row that says by what mail, from where and with what."""
    url = f"/u/{await book.unsubscribe_token(book.ids[0])}"
    for _ in range(3):
        answer = await tracker.client.post(url, data=ONE_CLICK, headers={"User-Agent": "Mail/1.0"})
        assert answer.status_code == 200
    assert (await book.members())[TARO] == "unsubscribed"
    source = f"message:{book.ids[0]}"
    changes = await book.pool.fetch("SELECT list_id, was, state, action, source FROM subscription_changes")
    assert [tuple(row) for row in changes] == [(book.seeded.list_id, "subscribed", "unsubscribed", "opt_out", source)]
    (row,) = await consents(book)
    assert (row["address_key"], row["list_id"], row["action"], row["basis"]) == (
        TARO,
        book.seeded.list_id,
        "opt_out",
        "form",
    )
    assert (row["source"], row["ip"], row["user_agent"]) == (source, "127.0.0.1", "Mail/1.0")


async def test_stop_of_all_mail_is_one_word_and_a_change_on_each_list(tracker: Tracker, book: Ledger) -> None:
    """The ledger says it once, for every mail; the history says it for each list, also where nobody knew of a consent."""
    other = await book.pool.fetchval(
        "INSERT INTO lists (tenant_id, name) VALUES ($1, 'other') RETURNING id", book.seeded.tenant_id
    )
    await book.pool.execute(
        "INSERT INTO list_members (list_id, contact_id, state) SELECT $1, id, 'bounced' FROM contacts "
        "WHERE address_key = $2",
        other,
        TARO,
    )
    url = f"/u/{await book.unsubscribe_token(book.ids[0])}"
    for _ in range(2):
        await tracker.client.post(url, data={"scope": "all"})
    assert [(row["list_id"], row["action"]) for row in await consents(book)] == [(0, "opt_out")]
    changes = await book.pool.fetch("SELECT list_id, was, state FROM subscription_changes ORDER BY list_id")
    assert [tuple(row) for row in changes] == [
        (book.seeded.list_id, "subscribed", "unsubscribed"),
        (other, "bounced", "unsubscribed"),
    ]


async def test_person_without_a_contact_leaves_their_word_all_the_same(tracker: Tracker, book: Ledger) -> None:
    """The contact was deleted: the ledger has the address of the mail, so a later import finds the wish."""
    token = await book.unsubscribe_token(book.ids[0])
    await book.pool.execute("DELETE FROM contacts WHERE address_key = $1", TARO)
    for _ in range(2):
        await tracker.client.post(f"/u/{token}", data=ONE_CLICK)
    (row,) = await consents(book)
    assert (row["address_key"], row["contact_id"], row["list_id"]) == (TARO, None, book.seeded.list_id)


async def test_whoever_has_the_address_of_a_contact_that_is_gone_is_taken_off(tracker: Tracker, book: Ledger) -> None:
    """Deleted, and entered again by an import: the old mail's link is of the same mailbox."""
    token = await book.unsubscribe_token(book.ids[0])
    await book.pool.execute("DELETE FROM contacts WHERE address_key = $1", TARO)
    await book.pool.execute(
        "WITH c AS (INSERT INTO contacts (tenant_id, address, wire, address_key) VALUES ($1, $2, $2, $2) RETURNING id) "
        "INSERT INTO list_members (list_id, contact_id) SELECT $3, id FROM c",
        book.seeded.tenant_id,
        TARO,
        book.seeded.list_id,
    )
    await tracker.client.post(f"/u/{token}", data=ONE_CLICK)
    assert (await book.members())[TARO] == "unsubscribed"
