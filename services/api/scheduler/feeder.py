"""The feeder: keeps the belt short and fair.

Promises: one replica feeds at a time (advisory lock); a campaign is fed only while the belt of its class and pool is
under the high-water mark; retries come before first attempts; every running campaign gets the same share of a turn, so
a small one is not starved by a large one; transactional and bulk have separate marks.
Fails: a broker that cannot say its depth stops feeding (nothing is lost: rows stay due).
"""

import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from hayabin.broker import Broker
from hayabin.broker.topology import RENDER, dispatch_queue, render_queue
from hayabin.database.engine import Connection, Pool
from hayabin.database.feeds import CHUNK_ROWS, FeedTarget, feed_first, feed_retries
from hayabin.domain.campaign import MessageClass
from hayabin.domain.lane import lanes
from hayabin.telemetry.metrics import BELT_DEPTH, FED, FEEDER_LAST_TICK

FEEDER_LOCK = 7246001
MAILS_PER_BATCH = 50  # what a renderer puts into a MailBatch at the most

_RUNNING_SQL = """
SELECT id, tenant_id, class, pool, traceparent, launched_at, fed_through_id FROM campaigns c
WHERE state = 'sending' AND class = $1
  AND EXISTS (SELECT 1 FROM messages m WHERE m.campaign_id = c.id AND m.id > c.fed_through_id)
ORDER BY id FOR UPDATE SKIP LOCKED"""


@dataclass(frozen=True, slots=True)
class Feeder:
    """One turn after another; see the module."""

    pool: Pool
    broker: Broker
    high_water: int

    async def turn(self) -> int:
        """Feed what there is room for; returns how many rows."""
        fed = 0
        for message_class in MessageClass:
            async with self.pool.acquire() as connection, connection.transaction():
                if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", FEEDER_LOCK):
                    return fed
                fed += await self._feed_class(connection, message_class)
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
        retried = 0
        if (least := min(room.values())) >= CHUNK_ROWS:
            retried = await feed_retries(connection, message_class.value, least)
            FED.labels("retry").inc(retried)
        first = await self._feed_campaigns(connection, running, room, retried)
        return retried + first

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
        for queue, n in depth.items():
            BELT_DEPTH.labels(queue).set(n)
        chunks = (waiting + depth[render_queue(message_class)]) * CHUNK_ROWS
        return {
            pool: self.high_water - chunks - sum(depth[dispatch_queue(pool, lane)] * MAILS_PER_BATCH for lane in names)
            for pool in pools
        }
