"""The feeder keeps the belt short and fair; on a real PostgreSQL and the embedded broker."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import pytest

from hayabin.broker import Broker, Delivery, Outgoing, connect
from hayabin.broker.topology import pool_queues, render_queue
from hayabin.contracts.codec import decode
from hayabin.contracts.render_pb2 import RenderChunk
from hayabin.database import outbox
from hayabin.database.engine import Pool, open_pool
from hayabin.database.feeds import CHUNK_ROWS
from hayabin.database.launch import FIRST_FEED_ROWS, launch
from services.api.scheduler.feeder import Feeder
from tests.support.seed import Seeded, seed_campaign
from tests.support.waiting import eventually

HIGH_WATER = 2000


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """Connections to a fresh database."""
    pool = await open_pool(database_url, name="test", size=4)
    yield pool
    await pool.close()


@pytest.fixture
async def broker(database_url: str) -> AsyncIterator[Broker]:
    """The embedded broker with the queues of the pool."""
    async with connect(database_url, name="feeder") as broker:
        await broker.declare(pool_queues("main"))
        yield broker


async def start(pool: Pool, slug: str, people: int, message_class: str = "bulk") -> Seeded:
    """A launched campaign."""
    async with pool.acquire() as connection, connection.transaction():
        seeded = await seed_campaign(
            connection,  # type: ignore[arg-type]
            [f"u{n}@{slug}.example" for n in range(people)],
            slug=slug,
            message_class=message_class,
        )
        await launch(connection, seeded.campaign_id, tenant_id=seeded.tenant_id)
    return seeded


async def relay(pool: Pool, broker: Broker) -> None:
    """Empty the outbox onto the belt."""

    async def publish(rows: Sequence[outbox.OutboxRow]) -> None:
        await broker.publish([Outgoing(row.exchange, row.routing_key, row.body, row.headers) for row in rows])

    while await outbox.relay(pool, publish):
        pass


async def fed_rows(pool: Pool) -> Counter[int]:
    """Rows under a lease, by campaign."""
    rows = await pool.fetch("SELECT campaign_id, sum(cardinality(message_ids))::int AS n FROM feeds GROUP BY 1")
    return Counter({row["campaign_id"]: row["n"] for row in rows})


async def test_feeder_stops_at_the_high_water_mark(pool: Pool, broker: Broker) -> None:
    """However often it turns, no more than the mark and one chunk is on the belt; the cursor says where it stands."""
    seeded = await start(pool, "large", 5000)
    feeder = Feeder(pool, broker, HIGH_WATER)
    for _ in range(10):
        await feeder.turn()
        await relay(pool, broker)
    assert HIGH_WATER - CHUNK_ROWS < (await fed_rows(pool))[seeded.campaign_id] <= HIGH_WATER + CHUNK_ROWS
    assert sum((await broker.depth([render_queue("bulk")])).values()) <= HIGH_WATER // CHUNK_ROWS + 1


async def test_feeder_feeds_everybody_exactly_once_as_the_belt_empties(pool: Pool, broker: Broker) -> None:
    """With a consumer that takes the chunks, the whole audience passes, each id in one chunk."""
    await start(pool, "all", 4321)
    seen: Counter[int] = Counter()

    async def take(delivery: Delivery) -> None:
        seen.update(decode(RenderChunk, delivery.body).message_ids)
        await delivery.ack()

    await broker.consume(render_queue("bulk"), take, prefetch=2)
    feeder = Feeder(pool, broker, HIGH_WATER)

    async def turn() -> int:
        await feeder.turn()
        await relay(pool, broker)
        return len(seen)

    await eventually(turn, lambda n: n == 4321)
    assert set(seen.values()) == {1}


async def test_feeder_gives_each_campaign_its_share(pool: Pool, broker: Broker) -> None:
    """A small campaign launched after a large one is fed in the same turn."""
    large = await start(pool, "large", 20_000)
    small = await start(pool, "small", 1500)
    await relay(pool, broker)
    feeder = Feeder(pool, broker, 8000)
    await feeder.turn()
    fed = await fed_rows(pool)
    assert fed[small.campaign_id] == 1500
    assert fed[large.campaign_id] > FIRST_FEED_ROWS


async def test_feeder_transactional_is_fed_while_bulk_is_at_its_mark(pool: Pool, broker: Broker) -> None:
    """The classes have marks of their own: a full bulk belt does not hold up transactional mail."""
    await start(pool, "large", 5000)
    feeder = Feeder(pool, broker, HIGH_WATER)
    for _ in range(5):
        await feeder.turn()
        await relay(pool, broker)
    urgent = await start(pool, "urgent", 1500, "transactional")
    await feeder.turn()
    assert (await fed_rows(pool))[urgent.campaign_id] == 1500


async def test_feeder_two_schedulers_at_once_feed_once(pool: Pool, broker: Broker) -> None:
    """Two feeders turning at the same time put no row on the belt twice."""
    await start(pool, "all", 3000)
    feeders = [Feeder(pool, broker, 10_000) for _ in range(2)]

    async def turns(feeder: Feeder) -> None:
        for _ in range(5):
            await feeder.turn()

    await asyncio.gather(*map(turns, feeders))
    ids = [i for row in await pool.fetch("SELECT message_ids FROM feeds") for i in row["message_ids"]]
    assert len(ids) == len(set(ids)) == 3000
