"""The feeder keeps the belt short and fair; on a real PostgreSQL and the embedded broker."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import pytest

from hayabin.broker import Broker, Delivery, Outgoing, connect
from hayabin.broker.topology import dispatch_queue, pool_queues, render_queue
from hayabin.contracts.codec import decode
from hayabin.contracts.render_pb2 import RenderChunk
from hayabin.database import outbox
from hayabin.database.audience import FIRST_PAGE_ROWS
from hayabin.database.engine import Pool
from hayabin.database.feeds import CHUNK_ROWS
from hayabin.domain.campaign import MessageClass
from services.api.scheduler.belt_depths import BeltDepths
from services.api.scheduler.feeder import LEAST_ON_BELT, BeltTempo, Feeder
from tests.support.seed import Seeded, launch_whole, seed_campaign
from tests.support.waiting import eventually

HIGH_WATER = 2000


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
            connection,
            [f"u{n}@{slug}.example" for n in range(people)],
            slug=slug,
            message_class=message_class,
        )
        await launch_whole(connection, seeded)
    return seeded


async def relay(pool: Pool, broker: Broker) -> None:
    """Empty the outbox onto the belt."""

    async def publish(rows: Sequence[outbox.OutboxRow]) -> None:
        await broker.publish([Outgoing(row.exchange, row.routing_key, row.body, row.headers) for row in rows])

    while await outbox.relay(pool, publish):
        pass


def quick(pool: Pool, broker: Broker, high_water: int, depths: BeltDepths | None = None) -> Feeder:
    """A feeder whose belt was quick so far, so that only the high-water mark holds."""
    tempos = {message_class: BeltTempo(per_s=1e6) for message_class in MessageClass}
    return Feeder(pool, broker, high_water, depths or BeltDepths(), tempos)


async def fed_rows(pool: Pool) -> Counter[int]:
    """Rows under a lease, by campaign."""
    rows = await pool.fetch("SELECT campaign_id, sum(cardinality(message_ids))::int AS n FROM feeds GROUP BY 1")
    return Counter({row["campaign_id"]: row["n"] for row in rows})


async def test_feeder_stops_at_the_high_water_mark(pool: Pool, broker: Broker) -> None:
    """However often it turns, no more than the mark and one chunk is on the belt, beside the launch's first chunks."""
    seeded = await start(pool, "large", 5000)
    feeder = quick(pool, broker, HIGH_WATER)
    for _ in range(10):
        await feeder.turn()
        await relay(pool, broker)
    fed = (await fed_rows(pool))[seeded.campaign_id] - FIRST_PAGE_ROWS
    assert HIGH_WATER - CHUNK_ROWS < fed <= HIGH_WATER + CHUNK_ROWS
    assert sum((await broker.depth([render_queue("bulk")])).values()) <= HIGH_WATER // CHUNK_ROWS + 1


def test_belt_tempo_holds_what_is_taken_away_in_a_while() -> None:
    """A belt that takes 1,000 mails a second holds 1,500; one that stands still holds the least; a fast one more."""
    now_s = [0.0]
    tempo = BeltTempo(clock=lambda: now_s[0])
    held, most = 0, []
    for rate in (1000,) * 100 + (4000,) * 100 + (0,) * 100:
        most.append(tempo.most(held))
        fed = max(0, most[-1] - held)
        tempo.fed(fed)
        now_s[0] += 0.1
        held = max(0, held + fed - rate // 10)
    assert most[0] == LEAST_ON_BELT
    assert most[99] == pytest.approx(1500, rel=0.05)
    assert most[199] == pytest.approx(6000, rel=0.05)
    assert most[-1] == LEAST_ON_BELT


async def test_feeder_feeds_everybody_exactly_once_as_the_belt_empties(pool: Pool, broker: Broker) -> None:
    """With a consumer that takes the chunks, the whole audience passes, each id in one chunk."""
    await start(pool, "all", 4321)
    seen: Counter[int] = Counter()

    async def take(delivery: Delivery) -> None:
        seen.update(decode(RenderChunk, delivery.body).message_ids)
        await delivery.ack()

    for belt in ("first", "bulk"):
        await broker.consume(render_queue(belt), take, prefetch=2)
    feeder = quick(pool, broker, HIGH_WATER)

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
    feeder = quick(pool, broker, 8000)
    await feeder.turn()
    fed = await fed_rows(pool)
    assert fed[small.campaign_id] == 1500
    assert fed[large.campaign_id] > FIRST_PAGE_ROWS


async def test_feeder_transactional_is_fed_while_bulk_is_at_its_mark(pool: Pool, broker: Broker) -> None:
    """The classes have marks of their own: a full bulk belt does not hold up transactional mail."""
    await start(pool, "large", 5000)
    feeder = quick(pool, broker, HIGH_WATER)
    for _ in range(5):
        await feeder.turn()
        await relay(pool, broker)
    urgent = await start(pool, "urgent", 1500, "transactional")
    await feeder.turn()
    assert (await fed_rows(pool))[urgent.campaign_id] == 1500


async def test_feeder_two_schedulers_at_once_feed_once(pool: Pool, broker: Broker) -> None:
    """Two feeders turning at the same time put no row on the belt twice."""
    await start(pool, "all", 3000)
    feeders = [quick(pool, broker, 10_000) for _ in range(2)]

    async def turns(feeder: Feeder) -> None:
        for _ in range(5):
            await feeder.turn()

    await asyncio.gather(*map(turns, feeders))
    ids = [i for row in await pool.fetch("SELECT message_ids FROM feeds") for i in row["message_ids"]]
    assert len(ids) == len(set(ids)) == 3000


async def deferred(pool: Pool, seeded: Seeded, count: int) -> None:
    """Make the first rows of a campaign due for a second attempt."""
    await pool.execute(
        "UPDATE messages SET attempt = 1, next_attempt_at = now() WHERE id IN "
        "(SELECT id FROM messages WHERE campaign_id = $1 ORDER BY id LIMIT $2)",
        seeded.campaign_id,
        count,
    )


async def fed_by_attempt(pool: Pool) -> Counter[int]:
    """Rows under a lease that was given after the launch, by attempt."""
    rows = await pool.fetch("SELECT attempt, sum(cardinality(message_ids))::int AS n FROM feeds GROUP BY 1")
    return Counter({row["attempt"]: row["n"] for row in rows})


async def test_feeder_retries_leave_half_of_the_room_to_first_attempts(pool: Pool, broker: Broker) -> None:
    """However much is due again, a campaign that begins has the other half of a turn."""
    await deferred(pool, await start(pool, "old", 9000), 9000)
    await relay(pool, broker)
    await pool.execute("UPDATE campaigns SET fed_through_id = (SELECT max(id) FROM messages)")
    await start(pool, "new", 9000)
    await pool.execute("DELETE FROM feeds")
    await pool.execute("DELETE FROM outbox")
    await pool.execute("DELETE FROM belt_messages")
    await quick(pool, broker, 6400).turn()
    assert await fed_by_attempt(pool) == {0: 3000, 1: 3000}


async def test_feeder_retries_alone_have_all_of_the_room(pool: Pool, broker: Broker) -> None:
    """Where nobody is tried for the first time, nothing is kept free."""
    await deferred(pool, await start(pool, "old", 3000), 3000)
    await pool.execute("UPDATE campaigns SET fed_through_id = (SELECT max(id) FROM messages)")
    await pool.execute("DELETE FROM feeds")
    await pool.execute("DELETE FROM outbox")
    await quick(pool, broker, 2000).turn()
    assert await fed_by_attempt(pool) == {1: 2000}


async def test_feeder_retries_take_a_single_chunk_of_room_only_each_second_time(pool: Pool, broker: Broker) -> None:
    """On a belt that is nearly full, first attempts and retries take turns."""
    await deferred(pool, await start(pool, "old", 9000), 9000)
    await pool.execute("UPDATE campaigns SET fed_through_id = (SELECT max(id) FROM messages)")
    await start(pool, "new", 9000)
    await pool.execute("DELETE FROM feeds")
    feeder = quick(pool, broker, CHUNK_ROWS)
    for _ in range(6):
        await pool.execute("DELETE FROM outbox")  # the belt took it: there is room for one chunk again
        await feeder.turn()
    assert await fed_by_attempt(pool) == {0: 3 * CHUNK_ROWS, 1: 3 * CHUNK_ROWS}


async def test_feeder_writes_the_depths_that_it_sees(pool: Pool, broker: Broker) -> None:
    """Each queue's depth is where the API looks; what did not change is written again only after two seconds."""
    await start(pool, "all", 3000)
    await relay(pool, broker)
    now_s = 100.0
    feeder = quick(pool, broker, 10_000, BeltDepths(clock_s=lambda: now_s))
    await feeder.turn()
    rows = await pool.fetch("SELECT queue, ready, seen_at FROM belt_depths ORDER BY queue")
    depths = {row["queue"]: row["ready"] for row in rows}
    assert depths[render_queue("bulk")] == 0, "the launch's first chunks go by a belt of their own"
    assert depths[dispatch_queue("main", "gmail")] == 0
    await relay(pool, broker)
    await feeder.turn()
    after = {row["queue"]: row["ready"] for row in await pool.fetch("SELECT queue, ready FROM belt_depths")}
    assert after == {**depths, render_queue("bulk"): (3000 - FIRST_PAGE_ROWS) // CHUNK_ROWS}
    seen = "SELECT count(*) FROM belt_depths WHERE seen_at > $1"
    newest = await pool.fetchval("SELECT max(seen_at) FROM belt_depths")
    await feeder.turn()
    assert await pool.fetchval(seen, newest) == 0
    now_s += 2.0
    await feeder.turn()
    assert await pool.fetchval(seen, newest) == len(depths)
