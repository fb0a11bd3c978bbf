"""What bounces and complaints do to subscriptions: a state with its history on every list, once."""

from hayabin.broker import connect
from tests.integration.bounce.conftest import DOMAIN, Bounce, Ledger, complaint, dsn, return_path
from tests.integration.bounce.test_refusals import batch, refusal
from tests.support.waiting import eventually


async def states(book: Ledger) -> dict[str, str]:
    """The state of each member by address."""
    rows = await book.pool.fetch(
        "SELECT c.address_key, lm.state FROM list_members lm JOIN contacts c ON c.id = lm.contact_id"
    )
    return {row["address_key"]: row["state"] for row in rows}


async def history(book: Ledger) -> list[tuple[str, str, str, str]]:
    """States before and after, action and source of each change."""
    rows = await book.pool.fetch("SELECT was, state, action, source FROM subscription_changes ORDER BY source, id")
    return [tuple(row) for row in rows]


async def test_dead_mailbox_is_bounced_on_its_lists_and_says_nothing_of_consent(
    bounce: Bounce, book: Ledger, empty_belt: str
) -> None:
    """A later DSN and a refusal in the session alike, each however often it arrives; a full mailbox changes nothing."""
    to = return_path(book.ids[0])
    for _ in range(2):
        assert await bounce.send(to, dsn(to)) == 250
    one, two = refusal(book.ids[1], "user_unknown", suppress=True), refusal(book.ids[2], "mailbox_full", suppress=False)
    async with connect(empty_belt, name="test") as broker:
        await broker.publish([batch(one, two)] * 3)
        await eventually(book.suppressions, lambda found: len(found) == 2)
        await eventually(book.events, lambda found: len(found) == 3)
    assert await states(book) == {
        "taro@example.jp": "bounced",
        "hanako@example.jp": "bounced",
        "jiro@example.jp": "subscribed",
    }
    assert await history(book) == [("subscribed", "bounced", "change", f"message:{i}") for i in book.ids[:2]]
    assert await book.pool.fetchval("SELECT count(*) FROM consents") == 0


async def test_complaint_ends_subscriptions_and_counts_as_an_opt_out(bounce: Bounce, book: Ledger) -> None:
    """Whoever presses "this is spam" wants no mail: one row in the ledger, also for who had unsubscribed already."""
    await book.pool.execute("UPDATE list_members SET state = 'unsubscribed'")
    report = complaint(return_path(book.ids[1]))
    for _ in range(2):
        assert await bounce.send(f"fbl@{DOMAIN}", report, "fbl@provider.example") == 250
    await eventually(book.suppressions, lambda found: len(found) == 1)
    assert (await states(book))["hanako@example.jp"] == "complained"
    source = f"message:{book.ids[1]}"
    assert await history(book) == [("unsubscribed", "complained", "opt_out", source)]
    rows = await book.pool.fetch("SELECT address_key, list_id, action, basis, source FROM consents")
    assert [tuple(row) for row in rows] == [("hanako@example.jp", 0, "opt_out", "unspecified", source)]
