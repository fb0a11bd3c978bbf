"""Leases on what is on the belt.

Promises: ``put`` writes the lease and the RenderChunk (by the outbox) in the caller's transaction, so the belt and
the ledger cannot disagree about what was fed. A lease ends when each of its rows has left ``due`` at that attempt, or
by time; rows that still wait then are fed again. Feeding a row twice is harmless: the gate lets each attempt
through once.
Fails: database errors come out; nothing was fed then.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from hayabin.contracts.codec import encode
from hayabin.contracts.render_pb2 import RenderChunk
from hayabin.database.engine import Connection
from hayabin.database.outbox import OutboxRow, enqueue_many
from hayabin.domain.campaign import RenderBelt

CHUNK_ROWS = 500
LEASE_S = 300
_RENDER_EXCHANGE = "hayabin.render"

# OFFSET 0 in all: one look-up by id for each row, whatever the planner thinks of a table that has just grown.
DROP_FINISHED_SQL = """
DELETE FROM feeds f WHERE f.fed_at < now() - interval '1 second' AND NOT EXISTS (
    SELECT 1 FROM unnest(f.message_ids) AS fed(id) CROSS JOIN LATERAL (
        SELECT 1 FROM messages m
        WHERE m.id = fed.id AND ((m.state IN ('due', 'deferred') AND m.attempt = f.attempt)
                              OR (m.state = 'claimed' AND m.attempt = f.attempt + 1)) OFFSET 0) waiting)
RETURNING f.id"""

EXPIRED_SQL = """
SELECT f.id, f.campaign_id, f.attempt, c.tenant_id, c.class, c.traceparent, c.launched_at,
       (SELECT array_agg(fed.id ORDER BY fed.id) FROM unnest(f.message_ids) AS fed(id) CROSS JOIN LATERAL (
            SELECT 1 FROM messages m WHERE m.id = fed.id AND m.state IN ('due', 'deferred') AND m.attempt = f.attempt
              AND m.next_attempt_at IS NULL OFFSET 0) w) AS waiting,
       (SELECT array_agg(fed.id ORDER BY fed.id) FROM unnest(f.message_ids) AS fed(id) CROSS JOIN LATERAL (
            SELECT 1 FROM messages m WHERE m.id = fed.id
              AND (m.state = 'claimed' AND m.attempt = f.attempt + 1
                   OR m.state IN ('due', 'deferred') AND m.attempt = f.attempt AND m.next_attempt_at IS NOT NULL
                      AND f.fed_at > now() - 2 * make_interval(secs => $2)) OFFSET 0) c) AS kept
FROM feeds f JOIN campaigns c ON c.id = f.campaign_id
WHERE (f.lease_expires_at < now() OR f.lease_expires_at > now() + 2 * make_interval(secs => $2)) -- the clock went back
  AND c.state = 'sending'
ORDER BY f.id LIMIT $1 FOR UPDATE OF f SKIP LOCKED"""

# The time is compared outside: inside, the planner would go by the index of times, and read all of it for each row.
WAITING_ON_BELT_SQL = """
SELECT w.id FROM feeds f CROSS JOIN LATERAL unnest(f.message_ids) AS fed(id) CROSS JOIN LATERAL (
    SELECT m.id, m.next_attempt_at FROM messages m
    WHERE m.id = fed.id AND m.attempt = f.attempt AND m.state IN ('due', 'deferred') OFFSET 0) w
WHERE ($1::bigint IS NULL OR f.campaign_id = $1) AND w.next_attempt_at > now()"""

DUE_NOW_SQL = """
UPDATE messages SET next_attempt_at = now()
WHERE id = ANY($1) AND state IN ('due', 'deferred') AND next_attempt_at > now()"""


@dataclass(frozen=True, slots=True)
class FeedTarget:
    """The facts of a campaign that a chunk carries."""

    campaign_id: int
    tenant_id: int
    message_class: str
    traceparent: str
    launched_at: datetime


async def put(
    connection: Connection, target: FeedTarget, attempt: int, ids: Sequence[int], belt: RenderBelt | None = None
) -> None:
    """Feed rows, in chunks of ``CHUNK_ROWS``, within the caller's transaction; by the belt of their class if None."""
    if not ids:
        return
    lease_expires_at: datetime = await connection.fetchval("SELECT now() + make_interval(secs => $1)", float(LEASE_S))
    headers = {"traceparent": target.traceparent} if target.traceparent else {}
    rows = []
    for start in range(0, len(ids), CHUNK_ROWS):
        chunk = list(ids[start : start + CHUNK_ROWS])
        await connection.execute(
            "INSERT INTO feeds (campaign_id, attempt, message_ids, lease_expires_at) VALUES ($1, $2, $3, $4)",
            target.campaign_id,
            attempt,
            chunk,
            lease_expires_at,
        )
        message = RenderChunk(
            tenant_id=target.tenant_id,
            campaign_id=target.campaign_id,
            attempt=attempt,
            message_ids=chunk,
            lease_expires_ms=int(lease_expires_at.timestamp() * 1000),
            launched_ms=int(target.launched_at.timestamp() * 1000),
        )
        rows.append(OutboxRow(_RENDER_EXCHANGE, belt or target.message_class, encode(message), headers))
    await enqueue_many(connection, rows)


async def feed_first(
    connection: Connection, target: FeedTarget, fed_through_id: int, limit: int, belt: RenderBelt | None = None
) -> int:
    """Feed up to ``limit`` rows that were never fed, and move the campaign's cursor; the campaign's row must be locked.

    Returns: how many were fed; 0 when the cursor is at the end of the audience.
    """
    rows = await connection.fetch(
        "SELECT id, state = 'due' AND next_attempt_at IS NULL AS waiting FROM messages "
        "WHERE campaign_id = $1 AND id > $2 ORDER BY id LIMIT $3",
        target.campaign_id,
        fed_through_id,
        limit,
    )
    if not rows:
        return 0
    await put(connection, target, 0, [row["id"] for row in rows if row["waiting"]], belt)
    await connection.execute(
        "UPDATE campaigns SET fed_through_id = $2 WHERE id = $1", target.campaign_id, rows[-1]["id"]
    )
    return len(rows)


async def feed_retries(connection: Connection, message_class: str, limit: int) -> int:
    """Feed deferred and postponed rows whose time has come, of sending campaigns of a class; returns how many.

    Their ``next_attempt_at`` becomes the end of the lease: should the belt lose them, they are simply due again then.
    """
    rows = await connection.fetch(
        """
        UPDATE messages m SET next_attempt_at = now() + make_interval(secs => $3)
        FROM (SELECT m.id, c.traceparent, c.launched_at FROM messages m JOIN campaigns c ON c.id = m.campaign_id
              WHERE m.next_attempt_at <= now() AND m.state IN ('due', 'deferred')
                AND c.state = 'sending' AND c.class = $1
              ORDER BY m.next_attempt_at LIMIT $2 FOR UPDATE OF m SKIP LOCKED) d
        WHERE m.id = d.id
        RETURNING m.id, m.campaign_id, m.tenant_id, m.attempt, d.traceparent, d.launched_at""",
        message_class,
        limit,
        float(LEASE_S),
    )
    groups: dict[tuple[FeedTarget, int], list[int]] = {}
    for row in rows:
        target = FeedTarget(row["campaign_id"], row["tenant_id"], message_class, row["traceparent"], row["launched_at"])
        groups.setdefault((target, row["attempt"]), []).append(row["id"])
    for (target, attempt), ids in groups.items():
        await put(connection, target, attempt, sorted(ids))
    return len(rows)


async def drop_finished(connection: Connection) -> int:
    """Remove leases that nobody waits for any more; returns how many."""
    return len(await connection.fetch(DROP_FINISHED_SQL))


async def refeed_expired(connection: Connection, *, limit: int = 50) -> int:
    """Feed again what fell off the belt: rows that still wait under a lease that ended; returns how many rows.

    A row that has a ``next_attempt_at`` comes by itself (``feed_retries``); its lease stays for a while, because who
    has it in hand may still claim it, and lost claims are looked for under leases. A claim keeps its lease until it is
    settled.
    """
    refed = 0
    for row in await connection.fetch(EXPIRED_SQL, limit, float(LEASE_S)):
        target = FeedTarget(row["campaign_id"], row["tenant_id"], row["class"], row["traceparent"], row["launched_at"])
        waiting = row["waiting"] or []
        await put(connection, target, row["attempt"], waiting)
        refed += len(waiting)
        if not row["kept"]:
            await connection.execute("DELETE FROM feeds WHERE id = $1", row["id"])
        else:
            await connection.execute(
                "UPDATE feeds SET lease_expires_at = now() + make_interval(secs => $2), message_ids = $3 WHERE id = $1",
                row["id"],
                float(LEASE_S),
                row["kept"],
            )
    return refed


async def end_leases(connection: Connection, campaign_id: int | None = None) -> None:
    """Make everything that is on the belt due again at once: of a campaign, or of all.

    For a resume (the gate sent mails away meanwhile), and for a belt that was emptied.
    """
    waiting = [row["id"] for row in await connection.fetch(WAITING_ON_BELT_SQL, campaign_id)]
    await connection.execute(DUE_NOW_SQL, sorted(waiting))
    await connection.execute(
        "UPDATE feeds SET lease_expires_at = now() WHERE $1::bigint IS NULL OR campaign_id = $1", campaign_id
    )
