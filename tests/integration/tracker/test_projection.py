"""Engagement events from RabbitMQ into PostgreSQL: each has one effect, whatever the belt does."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator

import pytest

from hayabin.broker import Broker, Delivery, Outgoing, connect
from hayabin.broker.topology import EVENTS, EVENTS_ENGAGEMENT, PARKED_QUEUE, events_queue
from hayabin.contracts.codec import encode
from hayabin.contracts.event_pb2 import (
    ENGAGEMENT_KIND_CLICK,
    ENGAGEMENT_KIND_OPEN,
    EngagementEvent,
    EngagementKind,
    Event,
    EventBatch,
)
from hayabin.database import ledger
from hayabin.database.engine import open_pool
from hayabin.domain.message import MessageState
from services.tracker.projector import Projector
from tests.integration.tracker.conftest import Ledger, server_proxy
from tests.support.waiting import eventually

QUEUE = events_queue(EVENTS_ENGAGEMENT)


def event(message_id: int, kind: EngagementKind = ENGAGEMENT_KIND_OPEN, event_id: bytes = b"") -> Event:
    """One engagement event, now."""
    fact = EngagementEvent(message_id=message_id, kind=kind, link=0, user_agent="MUA/1")
    return Event(event_id=event_id or secrets.token_bytes(16), occurred_ms=int(time.time() * 1000), engagement=fact)


def batch(*events: Event) -> Outgoing:
    """The belt message of a batch."""
    return Outgoing(EVENTS, EVENTS_ENGAGEMENT, encode(EventBatch(events=events)))


@contextlib.asynccontextmanager
async def projecting(broker: Broker, database_url: str) -> AsyncIterator[Projector]:
    """A projector that consumes for the length of the block, then drains."""
    pool = await open_pool(database_url, name="projector", size=2)
    projector = Projector(pool)
    running = asyncio.create_task(projector.run())
    subscription = await broker.consume(QUEUE, projector.on_delivery, prefetch=20)
    try:
        yield projector
    finally:
        await subscription.cancel()
        await projector.drained()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await pool.close()


@pytest.fixture
async def broker(empty_belt: str) -> AsyncIterator[Broker]:
    """A connection to the belt, whose queues are empty."""
    async with connect(empty_belt, name="test") as broker:
        yield broker


async def taken(broker: Broker, queue: str, count: int) -> list[Delivery]:
    """Take ``count`` messages off a queue."""
    found: list[Delivery] = []

    async def on_delivery(delivery: Delivery) -> None:
        found.append(delivery)
        await delivery.ack()

    subscription = await broker.consume(queue, on_delivery, prefetch=10)

    async def look() -> int:
        return len(found)

    await eventually(look, lambda n: n >= count, timeout_s=10)
    await subscription.cancel()
    return found


async def test_batch_that_arrives_again_has_one_effect(broker: Broker, book: Ledger, database_url: str) -> None:
    """The same batch five times, and one event of it in another batch too: counted once."""
    one, two = event(book.ids[0]), event(book.ids[0], ENGAGEMENT_KIND_CLICK)
    async with projecting(broker, database_url):
        await broker.publish([*(batch(one, two) for _ in range(5)), batch(two, event(book.ids[1]))])
        counters = await eventually(book.counters, lambda c: c.get("opens") == 2)
    assert {name: counters[name] for name in ("opens", "opened", "clicks", "clicked")} == {
        "opens": 2,
        "opened": 2,
        "clicks": 1,
        "clicked": 1,
    }
    assert await book.counters() == counters
    assert len(await book.events()) == 3
    assert (await broker.depth([QUEUE]))[QUEUE] == 0


async def test_unknown_message_that_is_opened_becomes_accepted(broker: Broker, book: Ledger, database_url: str) -> None:
    """What was unknown is resolved and counted so; claimed and final rows stay as they are."""
    await book.pool.execute("UPDATE messages SET state = 'due', attempt = 0")
    await book.pool.execute("DELETE FROM counter_deltas")
    async with book.pool.acquire() as connection, connection.transaction():
        await ledger.claim(connection, [(i, 0) for i in book.ids[:3]], "d2")
        await ledger.move(connection, book.ids[:1], MessageState.UNKNOWN, "dispatcher_lost")
        await ledger.move(connection, book.ids[2:3], MessageState.BOUNCED, "user_unknown")
    async with projecting(broker, database_url):
        await broker.publish([batch(*(event(i) for i in book.ids))])
        await eventually(book.counters, lambda c: c.get("opened") == 4)
    assert await book.states() == ["accepted", "claimed", "bounced", "due"]
    counters = await book.counters()
    assert (counters["accepted"], counters.get("unknown", 0), counters["bounced"]) == (1, 0, 1)


async def test_poison_is_parked_with_its_reason_and_the_rest_goes_on(
    broker: Broker, book: Ledger, database_url: str
) -> None:
    """Garbage, an unknown version and a fact of another kind are kept apart; good batches beside them are projected."""
    future = EventBatch(version=99, events=[event(book.ids[0])]).SerializeToString()
    bodies = {
        "undecodable": b"\xff\xff garbage",
        "unknown_version": future,
        "unexpected_fact": encode(
            EventBatch(events=[event(book.ids[0], event_id=b"x" * 16), Event(event_id=b"y" * 16)])
        ),
    }
    async with projecting(broker, database_url):
        await broker.publish(
            [*(Outgoing(EVENTS, EVENTS_ENGAGEMENT, body) for body in bodies.values()), batch(event(book.ids[0]))]
        )
        await eventually(book.counters, lambda c: c.get("opens") == 1)
        parked = await taken(broker, PARKED_QUEUE, 3)
    assert {delivery.headers["hayabin-reason"]: delivery.body for delivery in parked} == bodies
    assert {delivery.headers["hayabin-queue"] for delivery in parked} == {QUEUE}
    assert len(await book.events()) == 1


async def test_batches_wait_on_the_belt_while_postgres_is_away(broker: Broker, book: Ledger, database_url: str) -> None:
    """Cut off from Postgres nothing is lost or parked; it is projected once when Postgres is back."""
    async with server_proxy(database_url) as (through, proxy), projecting(broker, through):
        await broker.publish([batch(event(book.ids[0]))])
        await eventually(book.counters, lambda c: c.get("opens") == 1)
        proxy.take_away()
        await broker.publish([batch(event(book.ids[1])), batch(event(book.ids[2]))])
        await asyncio.sleep(0.5)
        assert (await book.counters())["opens"] == 1
        proxy.away = False
        counters = await eventually(book.counters, lambda c: c.get("opens") == 3)
    assert counters["opened"] == 3
    assert (await broker.depth([PARKED_QUEUE, QUEUE])) == {PARKED_QUEUE: 0, QUEUE: 0}


async def test_two_projectors_at_once_agree(broker: Broker, book: Ledger, database_url: str) -> None:
    """Replicas that share the queue, with the same people in every batch and every batch twice: exact sums."""
    batches = [batch(*(event(i, kind) for i in book.ids for kind in (1, 2))) for _ in range(40)]  # type: ignore[arg-type]
    async with (
        projecting(broker, database_url),
        projecting(broker, database_url),
    ):
        await broker.publish([*batches, *batches])
        await eventually(book.counters, lambda c: (c.get("opens"), c.get("clicks")) == (160, 160))
    counters = await book.counters()
    assert (counters["opens"], counters["opened"], counters["clicks"], counters["clicked"]) == (160, 4, 160, 4)
    assert await book.pool.fetchval("SELECT count(*) FROM events") == 320
    assert (await broker.depth([PARKED_QUEUE]))[PARKED_QUEUE] == 0
