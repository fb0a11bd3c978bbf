"""The feeder: keeps the belt short and fair.

Promises: one replica feeds at a time (advisory lock); a campaign is fed only while the belt of its class and pool is
under the high-water mark and holds no more than it takes away in ``BELT_S``, so that who comes later waits
no longer; retries and first attempts have half of the room each while there are both; every running
campaign gets the same share of a turn, so a small one is not starved by a large one; transactional and bulk have
separate marks.
Fails: a broker that cannot say its depth stops feeding (nothing is lost: rows stay due).
"""

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hayabin.broker import Broker
from hayabin.broker.topology import RENDER, dispatch_queue, render_queue
from hayabin.crash_points import CrashPoint, reach
from hayabin.database.engine import Connection, Pool
from hayabin.database.feeds import CHUNK_ROWS, FeedTarget, feed_first, feed_retries
from hayabin.domain.campaign import MessageClass
from hayabin.domain.lane import lanes
from hayabin.telemetry.metrics import BELT_DEPTH, FED, FEEDER_LAST_TICK
from services.api.scheduler.belt_depths import BeltDepths

FEEDER_LOCK = 7246001
MAILS_PER_BATCH = 50  # what a renderer puts into a MailBatch at the most
BELT_S = 1.5
TEMPO_S = 2.0
LEAST_ON_BELT = 2 * CHUNK_ROWS

_RUNNING_SQL = """
SELECT id, tenant_id, class, pool, traceparent, launched_at, fed_through_id FROM campaigns c
WHERE state = 'sending' AND class = $1
  AND EXISTS (SELECT 1 FROM messages m WHERE m.campaign_id = c.id AND m.id > c.fed_through_id)
ORDER BY id FOR UPDATE SKIP LOCKED"""


@dataclass(slots=True)
class BeltTempo:
    """How much the belt of a class may hold: what it takes away in ``BELT_S``, so that nobody waits long behind others.

    Units: mails, seconds.
    """

    clock: Callable[[], float] = time.monotonic
    per_s: float = 0.0  # moving average of what was taken away
    _held: int = 0
    _fed: int = 0
    _seen_s: float | None = None

    def fed(self, mails: int) -> None:
        """Take note of what was put on the belt since it was looked at."""
        self._fed += mails

    def most(self, held: int) -> int:
        """Give how much the belt may hold, of which it holds so much now."""
        now_s = self.clock()
        if self._seen_s is not None and now_s > self._seen_s:
            span_s = now_s - self._seen_s
            taken = max(0, self._held + self._fed - held) / span_s
            self.per_s += min(1.0, span_s / TEMPO_S) * (taken - self.per_s)
        self._held, self._fed, self._seen_s = held, 0, now_s
        return max(LEAST_ON_BELT, int(self.per_s * BELT_S))


@dataclass(frozen=True, slots=True)
class Feeder:
    """One turn after another; see the module."""

    pool: Pool
    broker: Broker
    high_water: int
    depths: BeltDepths = field(default_factory=BeltDepths)
    tempos: dict[MessageClass, "BeltTempo"] = field(default_factory=dict)
    _took_all: set[MessageClass] = field(default_factory=set)  # retries took the only chunk of room: not twice in a row

    async def turn(self) -> int:
        """Feed what there is room for; returns how many rows."""
        fed = 0
        for message_class in MessageClass:
            async with self.pool.acquire() as connection, connection.transaction():
                if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", FEEDER_LOCK):
                    return fed
                fed_now = await self._feed_class(connection, message_class)
                if fed_now:
                    reach(CrashPoint.FEED_BEFORE_COMMIT)
                fed += fed_now
        await self.depths.write(self.pool)
        FEEDER_LAST_TICK.set(time.time())
        return fed

    async def _feed_class(self, connection: Connection, message_class: MessageClass) -> int:
        running = await connection.fetch(_RUNNING_SQL, message_class.value)
        pools = {row["pool"] for row in running} or {
            row["pool"]
            for row in await connection.fetch(
                "SELECT DISTINCT pool FROM campaigns WHERE state = 'sending' AND class = $1", message_class.value
            )
        }
        if not pools:
            return 0
        room = await self._room(connection, message_class, pools)
        retried = await self._feed_retries(connection, message_class, min(room.values()), alone=not running)
        first = await self._feed_campaigns(connection, running, room, retried)
        self.tempos[message_class].fed(retried + first)
        return retried + first

    async def _feed_retries(
        self, connection: Connection, message_class: MessageClass, room: int, *, alone: bool
    ) -> int:
        """Feed what is due again; beside first attempts into half of the room, one chunk of it each second time."""
        if room < CHUNK_ROWS:
            return 0
        limit = room if alone else max(room // 2 // CHUNK_ROWS, 1) * CHUNK_ROWS
        takes_all = not alone and room - limit < CHUNK_ROWS
        if takes_all and message_class in self._took_all:
            self._took_all.discard(message_class)
            return 0
        retried = await feed_retries(connection, message_class.value, limit)
        FED.labels("retry").inc(retried)
        if takes_all and retried:
            self._took_all.add(message_class)
        return retried

    async def _feed_campaigns(
        self, connection: Connection, running: list[Any], room: dict[str, int], retried: int
    ) -> int:
        by_pool: dict[str, list[Any]] = defaultdict(list)
        for row in running:
            by_pool[row["pool"]].append(row)
        fed = 0
        for pool, campaigns in by_pool.items():
            share = max(room[pool] - retried, 0) // len(campaigns) // CHUNK_ROWS * CHUNK_ROWS
            if share == 0 and room[pool] - retried >= CHUNK_ROWS:
                share = CHUNK_ROWS
            if share == 0:
                continue
            for row in campaigns:
                target = FeedTarget(row["id"], row["tenant_id"], row["class"], row["traceparent"], row["launched_at"])
                fed += await feed_first(connection, target, row["fed_through_id"], share)
        FED.labels("first").inc(fed)
        return fed

    async def _room(self, connection: Connection, message_class: MessageClass, pools: set[str]) -> dict[str, int]:
        """Rows that each pool's belt still takes; chunks in the outbox and in the render queue count for every pool."""
        waiting = await connection.fetchval(
            "SELECT count(*) FROM outbox WHERE exchange = $1 AND routing_key = $2", RENDER, message_class.value
        )
        names = [
            lane
            for lane in lanes()
            if lane.startswith("transactional") == (message_class is MessageClass.TRANSACTIONAL)
        ]
        queues = [render_queue(message_class), *(dispatch_queue(pool, lane) for pool in pools for lane in names)]
        depth = await self.broker.depth(queues)
        self.depths.see(depth)
        for queue, n in depth.items():
            BELT_DEPTH.labels(queue).set(n)
        chunks = (waiting + depth[render_queue(message_class)]) * CHUNK_ROWS
        on_belt = {
            pool: chunks + sum(depth[dispatch_queue(pool, lane)] * MAILS_PER_BATCH for lane in names) for pool in pools
        }
        tempo = self.tempos.setdefault(message_class, BeltTempo())
        most = min(self.high_water, tempo.most(chunks + sum(on_belt.values()) - chunks * len(pools)))
        return {pool: most - mails for pool, mails in on_belt.items()}
