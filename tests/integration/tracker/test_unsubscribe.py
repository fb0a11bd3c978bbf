"""Unsubscribe: one click by RFC 8058, the page and its buttons, on real sockets and a real PostgreSQL."""

import asyncio
import re

import pytest

from hayabin.database import ledger
from hayabin.domain.message import MessageState
from hayabin.domain.token import UnsubscribeClaim
from tests.integration.tracker.conftest import RING, Ledger, Tracker, fetch_one, running_tracker, server_proxy
from tests.integration.tracker.test_engagement import changed

ONE_CLICK = {"List-Unsubscribe": "One-Click"}
TARO = "taro@example.jp"


async def nothing_changed(book: Ledger) -> bool:
    """Nobody is suppressed or unsubscribed, no event was written."""
    return (
        await book.suppressions() == []
        and await book.events() == []
        and set((await book.members()).values()) == {"subscribed"}
    )


@pytest.mark.parametrize("multipart", [False, True])
async def test_one_click_takes_the_person_off_the_list_before_it_answers(
    tracker: Tracker, book: Ledger, multipart: bool
) -> None:
    """One POST in either encoding of RFC 8058: suppression, membership, event and counter stand when 200 is said."""
    token = await book.unsubscribe_token(book.ids[0])
    body = {"files": {"List-Unsubscribe": (None, "One-Click")}} if multipart else {"data": ONE_CLICK}
    answer = await tracker.client.post(f"/u/{token}", **body)
    assert (answer.status_code, answer.text) == (200, "unsubscribed\n")
    assert await book.suppressions() == [(TARO, book.seeded.list_id, "unsubscribe", f"message:{book.ids[0]}")]
    members = await book.members()
    assert members.pop(TARO) == "unsubscribed"
    assert set(members.values()) == {"subscribed"}
    assert await book.events() == [(book.ids[0], "unsubscribe", None)]
    assert (await book.counters())["unsubscribed"] == 1


async def test_whoever_got_a_mail_of_several_lists_leaves_the_one_that_brought_it(
    tracker: Tracker, book: Ledger
) -> None:
    """On the second list alone: off that one, too, as the next mail to it would else come; on both: off the link's."""
    second = await book.pool.fetchval(
        "INSERT INTO lists (tenant_id, name) VALUES ($1, 'second') RETURNING id", book.seeded.tenant_id
    )
    first = book.seeded.list_id
    await book.pool.execute("UPDATE campaigns SET audience_definition = $1", {"include_lists": [first, second]})
    await book.pool.execute("INSERT INTO list_members SELECT $1, contact_id FROM list_members", second)
    await book.pool.execute(
        "DELETE FROM list_members lm USING contacts c WHERE c.id = lm.contact_id AND lm.list_id = $1 "
        "AND c.address_key = $2", first, TARO,
    )  # fmt: skip
    for message_id in (*book.ids[:2], *book.ids[:2]):
        answer = await tracker.client.post(f"/u/{await book.unsubscribe_token(message_id)}", data=ONE_CLICK)
        assert answer.status_code == 200
    other = await book.pool.fetchval("SELECT address_key FROM messages WHERE id = $1", book.ids[1])
    left = [(key, list_id) for key, list_id, *_ in await book.suppressions()]
    assert sorted(left) == sorted([(TARO, first), (TARO, second), (other, first)])
    rows = await book.pool.fetch("SELECT list_id, c.address_key FROM list_members JOIN contacts c ON c.id = contact_id "
                                 "WHERE state = 'unsubscribed'")  # fmt: skip
    assert {tuple(row) for row in rows} == {(second, TARO), (first, other)}


async def test_one_click_again_and_at_once_has_one_effect(tracker: Tracker, book: Ledger) -> None:
    """Ten requests at the same time and one later: each is told 200, everything is there once."""
    token = await book.unsubscribe_token(book.ids[0])
    answers = await asyncio.gather(*(tracker.client.post(f"/u/{token}", data=ONE_CLICK) for _ in range(10)))
    again = await tracker.client.post(f"/u/{token}", data=ONE_CLICK)
    assert {answer.status_code for answer in [*answers, again]} == {200}
    assert len(await book.suppressions()) == 1
    assert len(await book.events()) == 1
    assert (await book.counters())["unsubscribed"] == 1


async def test_get_and_head_show_the_page_and_change_nothing(tracker: Tracker, book: Ledger) -> None:
    """A link scanner that follows every link unsubscribes nobody; the list is called as recipients know it."""
    token = await book.unsubscribe_token(book.ids[0])
    await book.pool.execute("UPDATE lists SET public_name = '春のお知らせ'")
    assert "春のお知らせ" in (await tracker.client.get(f"/u/{token}")).text
    for _ in range(2):
        assert (await tracker.client.get(f"/u/{token}?scope=all&List-Unsubscribe=One-Click")).status_code == 200
        assert (await tracker.client.head(f"/u/{token}")).status_code == 200
    for method in ("PUT", "DELETE", "PATCH"):
        assert (await tracker.client.request(method, f"/u/{token}", data=ONE_CLICK)).status_code == 405
    assert await nothing_changed(book)


async def test_page_is_complete_in_itself_accessible_and_in_both_languages(tracker: Tracker, book: Ledger) -> None:
    """Labelled buttons, no script, no foreign asset, no address in full, strict headers, a link to the other language."""
    await book.pool.execute("UPDATE lists SET name = '<b>春の & 便り</b>'")
    token = await book.unsubscribe_token(book.ids[0])
    japanese = await tracker.client.get(f"/u/{token}")
    english = await tracker.client.get(f"/u/{token}?lang=en", headers={"Accept-Language": "ja"})
    assert '<html lang="ja">' in japanese.text
    assert '<html lang="en">' in english.text
    assert "「&lt;b&gt;春の &amp; 便り&lt;&#x2f;b&gt;」の配信を停止する</button>" in japanese.text
    assert "Unsubscribe from “" in english.text
    for answer in (japanese, english):
        assert "t•••@example.jp" in answer.text
        assert TARO not in answer.text
        assert 'name="viewport"' in answer.text
        assert not re.search(r"<script|<img|<link|@import|url\(|src=|https?://", answer.text)
        assert len(re.findall(r'<button type="submit"[^>]*>[^<]+</button>', answer.text)) == 1
        assert f'href="../p/{token}?lang=' in answer.text
        headers = answer.headers
        style = re.search(r"<style>(.*?)</style>", answer.text, re.DOTALL)
        assert style is not None
        assert re.search(
            r"default-src 'none'; style-src 'sha256-\S+'; form-action 'self'", headers["content-security-policy"]
        )
        assert (headers["referrer-policy"], headers["x-content-type-options"]) == ("no-referrer", "nosniff")
        assert "no-store" in headers["cache-control"]
        assert "set-cookie" not in headers


async def test_button_of_the_list_stops_the_list_only(tracker: Tracker, book: Ledger) -> None:
    """The form of the page stops one list, says so, and leads to where everything can be stopped."""
    token = await book.unsubscribe_token(book.ids[1])
    answer = await tracker.client.post(f"/u/{token}?lang=en", data={"scope": "list"})
    assert answer.status_code == 200
    assert "You have been unsubscribed." in answer.text
    assert "<button" not in answer.text
    assert f"../p/{token}" in answer.text
    assert [row[1] for row in await book.suppressions()] == [book.seeded.list_id]
    later = await tracker.client.get(f"/u/{token}?lang=en")
    assert "You are unsubscribed from" in later.text
    assert "You have been unsubscribed." not in later.text


async def test_button_of_all_mail_stops_every_list_of_the_tenant(tracker: Tracker, book: Ledger) -> None:
    """Scope ``all``: one suppression for the tenant, every membership ended, other tenants untouched."""
    other = await book.pool.fetchval(
        "INSERT INTO lists (tenant_id, name) VALUES ($1, 'other') RETURNING id", book.seeded.tenant_id
    )
    await book.pool.execute(
        "INSERT INTO list_members (list_id, contact_id) SELECT $1, id FROM contacts WHERE address_key = $2", other, TARO
    )
    token = await book.unsubscribe_token(book.ids[0])
    answer = await tracker.client.post(f"/u/{token}?lang=en", data={"scope": "all"})
    assert "All mail from acme is stopped." in answer.text
    assert "<button" not in answer.text
    assert await book.suppressions() == [(TARO, 0, "unsubscribe", f"message:{book.ids[0]}")]
    states = await book.pool.fetch(
        "SELECT lm.state FROM list_members lm JOIN contacts c ON c.id = contact_id WHERE c.address_key = $1", TARO
    )
    assert [row["state"] for row in states] == ["unsubscribed", "unsubscribed"]


async def test_token_without_a_list_asks_for_all_mail(tracker: Tracker, book: Ledger) -> None:
    """One click on a mail that went to no list (a test send) stops all mail; its page has the one button."""
    token = await book.unsubscribe_token(book.ids[0], list_id=0)
    assert 'value="list"' not in (await tracker.client.get(f"/u/{token}")).text
    assert (await tracker.client.post(f"/u/{token}", data=ONE_CLICK)).status_code == 200
    assert [row[1] for row in await book.suppressions()] == [0]


async def test_suppressed_person_is_refused_at_the_gate(tracker: Tracker, book: Ledger) -> None:
    """Who unsubscribes while the campaign still sends gets no mail: the very next claim is refused."""
    await book.pool.execute("UPDATE messages SET state = 'due', attempt = 0")
    await tracker.client.post(f"/u/{await book.unsubscribe_token(book.ids[0])}", data=ONE_CLICK)
    async with book.pool.acquire() as connection:
        granted = frozenset(await ledger.claim(connection, [(i, 0) for i in book.ids], "d2"))
    assert granted == frozenset(book.ids[1:])
    assert (await book.states())[0] == "suppressed"


async def test_token_works_when_the_ledger_row_is_gone(tracker: Tracker, book: Ledger) -> None:
    """Years later the campaign has been deleted: the person is found by the contact."""
    token = await book.unsubscribe_token(book.ids[0])
    await book.pool.execute("DELETE FROM messages")
    await book.pool.execute("DELETE FROM recipients")
    assert "t•••@example.jp" in (await tracker.client.get(f"/u/{token}")).text
    assert (await tracker.client.post(f"/u/{token}", data=ONE_CLICK)).status_code == 200
    assert [row[0] for row in await book.suppressions()] == [TARO]
    assert (await book.members())[TARO] == "unsubscribed"


async def test_token_works_when_the_contact_is_gone(tracker: Tracker, book: Ledger) -> None:
    """The address of the ledger row is suppressed all the same, so a new import does not mail it."""
    token = await book.unsubscribe_token(book.ids[0])
    await book.pool.execute("DELETE FROM contacts WHERE address_key = $1", TARO)
    assert (await tracker.client.post(f"/u/{token}", data=ONE_CLICK)).status_code == 200
    assert [row[0] for row in await book.suppressions()] == [TARO]


async def test_token_of_a_person_who_is_gone_everywhere_is_answered(tracker: Tracker, book: Ledger) -> None:
    """Nothing is left to change: 200 for the machine, a page that says so for the person."""
    token = RING.issue_unsubscribe(UnsubscribeClaim(book.seeded.tenant_id, book.seeded.list_id, 10**9, 10**9))
    foreign = RING.issue_unsubscribe(UnsubscribeClaim(10**6, 1, 1, 1))
    for each in (token, foreign):
        assert (await tracker.client.post(f"/u/{each}", data=ONE_CLICK)).status_code == 200
        assert "not registered here" in (await tracker.client.get(f"/u/{each}?lang=en")).text
    assert await nothing_changed(book)


async def test_token_of_another_tenant_does_not_reach_this_ones_people(tracker: Tracker, book: Ledger) -> None:
    """Contact and message ids count only together with the tenant that the token names."""
    other = await book.pool.fetchval("INSERT INTO tenants (slug, name) VALUES ('other', 'other') RETURNING id")
    contact_id = await book.pool.fetchval("SELECT id FROM contacts WHERE address_key = $1", TARO)
    token = RING.issue_unsubscribe(UnsubscribeClaim(other, book.seeded.list_id, contact_id, book.ids[0]))
    await tracker.client.post(f"/u/{token}", data={"scope": "all"})
    assert await nothing_changed(book)


async def test_any_changed_character_of_a_token_changes_nothing(tracker: Tracker, book: Ledger) -> None:
    """Each single change is 404, by GET and by POST; a tracking token is no unsubscribe token."""
    tokens = [*changed(await book.unsubscribe_token(book.ids[0])), RING.issue_tracking(book.ids[0])]
    answers = await asyncio.gather(*(tracker.client.post(f"/u/{token}", data=ONE_CLICK) for token in tokens))
    assert {answer.status_code for answer in answers} == {404}
    assert (await tracker.client.get(f"/u/{tokens[0]}")).status_code == 404
    assert await nothing_changed(book)


async def test_post_that_asks_for_nothing_is_refused(tracker: Tracker, book: Ledger) -> None:
    """Empty, wrong and over-long bodies: a 4xx page, nothing changed."""
    url = f"/u/{await book.unsubscribe_token(book.ids[0])}"
    assert (await tracker.client.post(url)).status_code == 400
    assert (await tracker.client.post(url, data={"List-Unsubscribe": "one-click"})).status_code == 400
    assert (await tracker.client.post(url, data={"scope": "ALL"})).status_code == 400
    broken = {"content-type": "multipart/form-data"}
    assert (await tracker.client.post(url, content=b"--x", headers=broken)).status_code == 400
    assert (await tracker.client.post(url, data={"scope": "all", "x": "y" * 20_000})).status_code == 413
    assert await nothing_changed(book)


async def test_standing_suppression_keeps_its_reason_and_a_temporary_one_becomes_permanent(
    tracker: Tracker, book: Ledger
) -> None:
    """A complaint stays a complaint; a suppression that would expire is replaced by the person's own word."""
    sql = "INSERT INTO suppressions (tenant_id, address_key, list_id, reason, expires_at) VALUES ($1, $2, $3, $4, "
    keys = (book.seeded.tenant_id, TARO)
    await book.pool.execute(f"{sql} NULL)", *keys, 0, "complaint")
    await book.pool.execute(
        f"{sql} now() + interval '1 day')",
        *keys,
        book.seeded.list_id,
        "manual",
    )
    url = f"/u/{await book.unsubscribe_token(book.ids[0])}"
    for scope in ("all", "list"):
        assert (await tracker.client.post(url, data={"scope": scope})).status_code == 200
    assert [(row[1], row[2]) for row in await book.suppressions()] == [
        (0, "complaint"),
        (book.seeded.list_id, "unsubscribe"),
    ]
    assert await book.pool.fetchval("SELECT count(*) FROM suppressions WHERE expires_at IS NOT NULL") == 0


async def test_unsubscribe_proves_that_an_unknown_mail_was_accepted(tracker: Tracker, book: Ledger) -> None:
    """Who has the mail's link has the mail; a claimed row is left to its outcome."""
    await book.pool.execute("UPDATE messages SET state = 'due', attempt = 0")
    async with book.pool.acquire() as connection, connection.transaction():
        await ledger.claim(connection, [(i, 0) for i in book.ids[:2]], "d2")
        await ledger.move(connection, book.ids[:1], MessageState.UNKNOWN, "dispatcher_lost")
    for message_id in book.ids[:2]:
        await tracker.client.post(f"/u/{await book.unsubscribe_token(message_id)}", data=ONE_CLICK)
    assert (await book.states())[:2] == ["accepted", "claimed"]
    row = await fetch_one(book.pool, "SELECT reason FROM messages WHERE id = $1", book.ids[0])
    assert row["reason"] == "engaged"


async def test_postgres_away_is_503_with_retry_after_and_later_200(
    book: Ledger, database_url: str, empty_belt: str
) -> None:
    """Nothing is promised that is not written; the sender's next try succeeds."""
    url = f"/u/{await book.unsubscribe_token(book.ids[0])}"
    async with (
        server_proxy(database_url) as (through, proxy),
        running_tracker(through, empty_belt, tracker_database_within_s=2) as tracker,
    ):
        assert (await tracker.client.get(url)).status_code == 200
        proxy.take_away()
        for answer in (await tracker.client.post(url, data=ONE_CLICK), await tracker.client.get(f"{url}?lang=en")):
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) > 0
        assert await nothing_changed(book)
        static = await tracker.client.get(f"/c/{RING.issue_tracking(book.ids[0])}/0")
        assert static.status_code == 503
        proxy.away = False
        assert (await tracker.client.post(url, data=ONE_CLICK)).status_code == 200
    assert len(await book.suppressions()) == 1
