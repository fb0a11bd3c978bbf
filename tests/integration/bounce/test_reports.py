"""Reports that come by SMTP: what each changes in the ledger, over RabbitMQ and PostgreSQL."""

import asyncio

from hayabin.broker import connect
from hayabin.broker.topology import PARKED_QUEUE
from hayabin.database import ledger
from hayabin.domain.message import MessageState
from hayabin.domain.verp import issue_message_id
from tests.integration.bounce.conftest import DOMAIN, QUEUES, RING, Bounce, Ledger, complaint, dsn, return_path
from tests.support.waiting import eventually


async def belt_is_empty(amqp_url: str) -> bool:
    """Nothing waits and nothing was parked."""
    async with connect(amqp_url, name="look") as broker:
        return not any((await broker.depth([*QUEUES, PARKED_QUEUE])).values())


async def test_hard_dsn_five_times_has_one_effect(bounce: Bounce, book: Ledger, empty_belt: str) -> None:
    """Five reports of one failure, one after the other and at once: bounced, counted, suppressed and noted once."""
    to = return_path(book.ids[0])
    assert await bounce.send(to, dsn(to)) == 250
    assert set(await asyncio.gather(*(bounce.send(to, dsn(to)) for _ in range(4)))) == {250}
    await eventually(book.suppressions, lambda found: len(found) == 1)
    await asyncio.sleep(0.5)
    assert await book.states() == ["bounced", "accepted", "accepted"]
    assert await book.suppressions() == [("taro@example.jp", 0, "hard_bounce", f"message:{book.ids[0]}")]
    assert await book.counters() == {"accepted": 2, "bounced": 1, "bounced:user_unknown": 1}
    assert await book.events() == [(book.ids[0], "bounce", "user_unknown 5.1.1 550 5.1.1 User unknown")]
    assert await book.quarantine() == []
    assert await belt_is_empty(empty_belt)


async def test_dsn_about_the_mail_alone_bounces_and_suppresses_nobody(bounce: Bounce, book: Ledger) -> None:
    """A full mailbox and a spam block are final for this mail; the address is mailed again another time."""
    for message_id, status, text in (
        (book.ids[0], "5.2.2", "smtp; 552 5.2.2 Mailbox full"),
        (book.ids[1], "5.7.1", "smtp; 550 5.7.1 Message rejected as spam"),
    ):
        to = return_path(message_id)
        assert await bounce.send(to, dsn(to, status, text)) == 250
    await eventually(book.states, lambda states: states == ["bounced", "bounced", "accepted"])
    counters = await book.counters()
    assert (counters["accepted"], counters["bounced"], counters["bounced:mailbox_full"]) == (1, 2, 1)
    assert await book.suppressions() == []


async def test_soft_dsn_leaves_an_event_and_nothing_else(bounce: Bounce, book: Ledger) -> None:
    """A failure of class 4 is no word about the address: the row stays accepted, the event says what came."""
    to = return_path(book.ids[0])
    await bounce.send(to, dsn(to, "4.4.7", "smtp; 421 4.4.7 delivery time expired"))
    events = await eventually(book.events, lambda found: len(found) == 1)
    assert events[0][1:] == ("bounce", "expired 4.4.7 421 4.4.7 delivery time expired")
    assert await book.states() == ["accepted"] * 3
    assert await book.counters() == {"accepted": 3}
    assert await book.suppressions() == []


async def test_soft_then_hard_dsn_of_one_mail_bounces_with_two_events(bounce: Bounce, book: Ledger) -> None:
    """Different reports are different facts: the second one still counts."""
    to = return_path(book.ids[0])
    await bounce.send(to, dsn(to, "4.2.2", "smtp; 452 4.2.2 over quota"))
    await eventually(book.events, lambda found: len(found) == 1)
    await bounce.send(to, dsn(to))
    await eventually(book.events, lambda found: len(found) == 2)
    assert (await book.states())[0] == "bounced"


async def test_complaint_moves_to_complained_and_suppresses(bounce: Bounce, book: Ledger) -> None:
    """A feedback report at the role address, matched by the return path inside it."""
    report = complaint(return_path(book.ids[1]))
    for _ in range(2):
        assert await bounce.send(f"fbl@{DOMAIN}", report, "fbl@provider.example") == 250
    await eventually(book.suppressions, lambda found: len(found) == 1)
    assert await book.states() == ["accepted", "complained", "accepted"]
    assert await book.suppressions() == [("hanako@example.jp", 0, "complaint", f"message:{book.ids[1]}")]
    assert await book.counters() == {"accepted": 2, "complained": 1}
    assert [event[1] for event in await book.events()] == ["complaint"]


async def test_report_about_an_unknown_message_resolves_it(bounce: Bounce, launched: Ledger) -> None:
    """A report comes only of a mail that somebody took: hard → bounced, complaint → complained, soft → accepted."""
    await launched.claim(launched.ids)
    async with launched.pool.acquire() as connection, connection.transaction():
        await ledger.move(connection, launched.ids, MessageState.UNKNOWN, "dispatcher_lost")
    hard, soft = return_path(launched.ids[0]), return_path(launched.ids[2])
    await bounce.send(hard, dsn(hard))
    await bounce.send(f"fbl@{DOMAIN}", complaint(return_path(launched.ids[1])))
    await bounce.send(soft, dsn(soft, "4.2.2", "smtp; 452 4.2.2 over quota"))
    await eventually(launched.states, lambda states: states == ["bounced", "complained", "accepted"])
    counters = await launched.counters()
    assert counters == {"bounced": 1, "bounced:user_unknown": 1, "complained": 1, "accepted": 1}


async def test_dsn_that_overtakes_the_outcome_waits_for_it(bounce: Bounce, launched: Ledger) -> None:
    """While the row is claimed the report goes back to the belt; when the outcome is written it takes effect."""
    first = launched.ids[0]
    await launched.claim([first])
    assert await bounce.send(return_path(first), dsn(return_path(first))) == 250
    await asyncio.sleep(0.5)
    assert await launched.states() == ["claimed", "due", "due"]
    assert await launched.events() == []
    await launched.accept([first])
    await eventually(launched.states, lambda states: states[0] == "bounced", timeout_s=10)
    assert await launched.counters() == {"bounced": 1, "bounced:user_unknown": 1}


async def test_hard_dsn_of_an_earlier_attempt_suppresses_before_the_next_one(bounce: Bounce, launched: Ledger) -> None:
    """A deferred row whose address turns out not to exist is refused at the gate."""
    first = launched.ids[0]
    await launched.claim([first])
    async with launched.pool.acquire() as connection, connection.transaction():
        await ledger.record(connection, [ledger.Outcome(first, 1, MessageState.DEFERRED, reason="greylisted")])
    await bounce.send(return_path(first, 1), dsn(return_path(first, 1)))
    await eventually(launched.suppressions, lambda found: len(found) == 1)
    async with launched.pool.acquire() as connection:
        assert await ledger.claim(connection, [(first, 1)], "d1") == {}
    assert (await launched.states())[0] == "suppressed"


async def test_dsn_named_by_message_id_alone_counts(bounce: Bounce, book: Ledger) -> None:
    """A report to a role address is matched by our signed Message-ID in the mail that it quotes."""
    quoted = f"--B\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: {issue_message_id(book.ids[2], RING, 'shop.example')}\r\nFrom: a@b.example\r\n\r\n--B--"
    report = dsn(f"abuse@{DOMAIN}").replace("--B--", quoted)
    assert await bounce.send(f"abuse@{DOMAIN}", report) == 250
    await eventually(book.states, lambda states: states[2] == "bounced")


async def test_standing_suppression_keeps_its_reason(bounce: Bounce, book: Ledger) -> None:
    """Who unsubscribed from all mail has unsubscribed, whatever comes back later."""
    await book.pool.execute(
        "INSERT INTO suppressions (tenant_id, address_key, list_id, reason) VALUES ($1, 'taro@example.jp', 0, "
        "'unsubscribe')",
        book.seeded.tenant_id,
    )
    to = return_path(book.ids[0])
    await bounce.send(to, dsn(to))
    await eventually(book.states, lambda states: states[0] == "bounced")
    assert [row[2] for row in await book.suppressions()] == ["unsubscribe"]


async def test_lifted_suppression_is_not_set_again_by_the_same_report(bounce: Bounce, book: Ledger) -> None:
    """A person of the team lifts a suppression; a copy of the old report does not bring it back."""
    to = return_path(book.ids[0])
    await bounce.send(to, dsn(to))
    await eventually(book.suppressions, lambda found: len(found) == 1)
    await book.pool.execute("DELETE FROM suppressions")
    await bounce.send(to, dsn(to))
    await bounce.send(return_path(book.ids[1]), dsn(return_path(book.ids[1])))
    await eventually(book.states, lambda states: states[:2] == ["bounced", "bounced"])
    await asyncio.sleep(0.2)
    assert [row[0] for row in await book.suppressions()] == ["hanako@example.jp"]
