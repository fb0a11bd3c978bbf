"""The parked queue of the embedded broker: rows that nobody consumes.

Promises: a retried row changes its queue in one statement, so it is on one of them at every moment.
Fails: the driver's errors; a row whose queue is unknown stays parked and is logged.
"""

from collections.abc import Collection

from hayabin.broker.interface import PARKED_LIMIT, Parked
from hayabin.broker.parking import read_parked
from hayabin.broker.topology import PARKED_QUEUE, way_to
from hayabin.database.engine import Pool
from hayabin.telemetry.logging import get_logger

MAX_HELD_BYTES = 64 * 1024 * 1024

_LOOK_SQL = """
SELECT id, headers, body FROM (
  SELECT id, headers, body, sum(octet_length(body)) OVER (ORDER BY id) - octet_length(body) AS bytes_before
  FROM (SELECT id, headers, body FROM belt_messages WHERE queue = $1 AND (held_until IS NULL OR held_until < now())
        ORDER BY id LIMIT $2) oldest) summed
WHERE bytes_before <= $3 ORDER BY id"""


async def look_at_parked(pool: Pool, limit: int) -> list[tuple[int, Parked]]:
    """The oldest parked messages, each with its row."""
    rows = await pool.fetch(_LOOK_SQL, PARKED_QUEUE, min(limit, PARKED_LIMIT), MAX_HELD_BYTES)
    return [(row["id"], read_parked(row["headers"], row["body"])) for row in rows]


async def retry_parked(pool: Pool, ids: Collection[str]) -> list[str]:
    """Move those of ``ids`` back, and name the queue of each."""
    queues: list[str] = []
    for row_id, parked in await look_at_parked(pool, PARKED_LIMIT):
        if parked.id not in ids:
            continue
        if way_to(parked.queue) is None:
            get_logger().warning("parked_of_unknown_queue", parked_id=parked.id, queue=parked.queue)
            continue
        moved = await pool.fetchval(
            "UPDATE belt_messages SET queue = $3, headers = $4, deliveries = 0, consumer = NULL, held_until = NULL "
            "WHERE id = $1 AND queue = $2 RETURNING id",
            row_id,
            PARKED_QUEUE,
            parked.queue,
            dict(parked.headers),
        )
        if moved is not None:  # nobody else was quicker
            queues.append(parked.queue)
    return queues


async def drop_parked(pool: Pool, ids: Collection[str]) -> int:
    """Delete those of ``ids``."""
    wanted = [row_id for row_id, parked in await look_at_parked(pool, PARKED_LIMIT) if parked.id in ids]
    rows = await pool.fetch(
        "DELETE FROM belt_messages WHERE id = ANY($1) AND queue = $2 RETURNING id", wanted, PARKED_QUEUE
    )
    return len(rows)
