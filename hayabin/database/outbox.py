"""The outbox: what must reach the belt because a transaction said so.

Promises: a row enqueued in a transaction is published at least once after its commit, in order of id per relay, and
never if it rolls back. Several relays share the work (SKIP LOCKED).
Fails: a publish that is not confirmed leaves the rows where they are; the next turn tries again.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from hayabin.crash_points import CrashPoint, reach
from hayabin.database.engine import Connection, Pool


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One message for the belt."""

    exchange: str
    routing_key: str
    body: bytes
    headers: Mapping[str, str]


_ANY_SQL = "SELECT EXISTS (SELECT 1 FROM outbox WHERE $1::text IS NULL OR routing_key = $1)"


async def enqueue(
    connection: Connection, exchange: str, routing_key: str, body: bytes, headers: Mapping[str, str]
) -> None:
    """Add a message to the outbox, within the caller's transaction."""
    await enqueue_many(connection, [OutboxRow(exchange, routing_key, body, headers)])


async def enqueue_many(connection: Connection, rows: Sequence[OutboxRow]) -> None:
    """Add messages to the outbox, within the caller's transaction."""
    await connection.execute(
        "INSERT INTO outbox (exchange, routing_key, body, headers) "
        "SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::jsonb[])",
        [row.exchange for row in rows],
        [row.routing_key for row in rows],
        [row.body for row in rows],
        [dict(row.headers) for row in rows],
    )


async def relay(
    pool: Pool,
    publish: Callable[[Sequence[OutboxRow]], Awaitable[None]],
    *,
    limit: int = 200,
    routing_key: str | None = None,
) -> int:
    """Publish up to ``limit`` rows (of one routing key, if given) and remove them; returns how many.

    The rows are removed in a transaction that commits after the confirms: a crash in between publishes them again,
    which the gate and the event ids make harmless.
    """
    if not await pool.fetchval(_ANY_SQL, routing_key):  # mostly so, some ten times a second
        return 0
    async with pool.acquire() as connection, connection.transaction():
        taken = await connection.fetch(
            "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE $2::text IS NULL OR routing_key = $2 "
            "ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED) RETURNING id, exchange, routing_key, body, headers",
            limit,
            routing_key,
        )
        if taken:
            taken.sort(key=lambda row: row["id"])
            reach(CrashPoint.RELAY_TAKEN)
            await publish([OutboxRow(r["exchange"], r["routing_key"], r["body"], r["headers"]) for r in taken])
            reach(CrashPoint.RELAY_PUBLISHED)
        return len(taken)
