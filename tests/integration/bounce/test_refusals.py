"""Failures in the SMTP session, as dispatchers write them through the outbox: suppressions and events, once."""

import asyncio
import secrets
import time

from hayabin.broker import Outgoing, connect
from hayabin.broker.topology import EVENTS, EVENTS_DELIVERY, PARKED_QUEUE
from hayabin.contracts.codec import encode
from hayabin.contracts.event_pb2 import DeliveryEvent, Event, EventBatch
from tests.integration.bounce.conftest import QUEUES, Bounce, Ledger, running_bounce
from tests.integration.tracker.conftest import server_proxy
from tests.support.waiting import eventually


def refusal(message_id: int, reason: str, *, suppress: bool, state: str = "bounced") -> Event:
    """One failure."""
    fact = DeliveryEvent(message_id=message_id, attempt=1, state=state, reason=reason, suppress=suppress)
    return Event(event_id=secrets.token_bytes(16), occurred_ms=int(time.time() * 1000), delivery=fact)


def batch(*events: Event) -> Outgoing:
    """The belt message of a batch."""
    return Outgoing(EVENTS, EVENTS_DELIVERY, encode(EventBatch(events=events)))


async def test_refusals_become_events_and_suppressions_once(bounce: Bounce, book: Ledger, empty_belt: str) -> None:
    """The same batch four times: an event for each bounce, a suppression where the address is at fault.

    The ledger, which the dispatcher has written already, is left alone.
    """
    one = refusal(book.ids[0], "user_unknown", suppress=True)
    two = refusal(book.ids[1], "mailbox_full", suppress=False)
    three = refusal(book.ids[2], "expired", suppress=False, state="expired")
    gone = refusal(10**9, "user_unknown", suppress=True)
    async with connect(empty_belt, name="test") as broker:
        await broker.publish([batch(one, two, three, gone)] * 4)
        await eventually(book.events, lambda found: len(found) == 2)
        await asyncio.sleep(0.5)
        assert await broker.depth([*QUEUES, PARKED_QUEUE]) == dict.fromkeys([*QUEUES, PARKED_QUEUE], 0)
    assert {(event[0], event[2]) for event in await book.events()} == {
        (book.ids[0], "user_unknown"),
        (book.ids[1], "mailbox_full"),
    }
    assert await book.suppressions() == [("taro@example.jp", 0, "hard_bounce", f"message:{book.ids[0]}")]
    assert await book.states() == ["accepted"] * 3
    assert await book.counters() == {"accepted": 3}


async def test_lifted_suppression_is_not_set_again_by_a_batch_that_arrives_again(
    bounce: Bounce, book: Ledger, empty_belt: str
) -> None:
    """A person of the team lifts a suppression; the old batch does not bring it back, a new failure does."""
    old, new = batch(refusal(book.ids[0], "user_unknown", suppress=True)), refusal(book.ids[1], "x", suppress=False)
    async with connect(empty_belt, name="test") as broker:
        await broker.publish([old])
        await eventually(book.suppressions, lambda found: len(found) == 1)
        await book.pool.execute("DELETE FROM suppressions")
        await broker.publish([old, batch(new)])
        await eventually(book.events, lambda found: len(found) == 2)
        await asyncio.sleep(0.3)
        assert await book.suppressions() == []
        await broker.publish([batch(refusal(book.ids[0], "user_unknown", suppress=True))])
        await eventually(book.suppressions, lambda found: len(found) == 1)


async def test_refusals_of_one_address_in_one_batch_suppress_it_once(
    bounce: Bounce, book: Ledger, empty_belt: str
) -> None:
    """Two messages to one person bounce in the same moment: one suppression, two events."""
    await book.pool.execute("UPDATE messages SET address_key = 'same@example.jp'")
    async with connect(empty_belt, name="test") as broker:
        await broker.publish([batch(*(refusal(i, "user_unknown", suppress=True) for i in reversed(book.ids)))])
        await eventually(book.events, lambda found: len(found) == 3)
    assert await book.suppressions() == [("same@example.jp", 0, "hard_bounce", f"message:{book.ids[0]}")]


async def test_malformed_delivery_batch_is_parked(bounce: Bounce, book: Ledger, empty_belt: str) -> None:
    """Garbage, and ids that no column holds, are kept apart with their reason."""
    async with connect(empty_belt, name="test") as broker:
        await broker.publish(
            [Outgoing(EVENTS, EVENTS_DELIVERY, b"\xff"), batch(refusal(2**63, "user_unknown", suppress=True))]
        )

        async def parked() -> int:
            return (await broker.depth([PARKED_QUEUE]))[PARKED_QUEUE]

        await eventually(parked, lambda depth: depth == 2)
    assert await book.untouched()


async def test_postgres_away_loses_no_refusal(book: Ledger, database_url: str, empty_belt: str) -> None:
    """Cut off from Postgres, batches wait on the belt and take effect once it is back."""
    async with (
        server_proxy(database_url) as (through, proxy),
        running_bounce(through, empty_belt),
        connect(empty_belt, name="test") as broker,
    ):
        proxy.take_away()
        await broker.publish([batch(refusal(book.ids[0], "user_unknown", suppress=True))])
        await asyncio.sleep(0.5)
        assert await book.suppressions() == []
        proxy.away = False
        await eventually(book.suppressions, lambda found: len(found) == 1, timeout_s=15)
        assert (await broker.depth([PARKED_QUEUE]))[PARKED_QUEUE] == 0
