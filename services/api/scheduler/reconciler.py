"""The reconciler: brings the ledger and the rest of the world together again.

Promises: claims of processes that are gone become ``unknown`` (bulk: held; transactional: tried once more); what fell
off the belt is fed again; a campaign completes when no row is open, never before; rows of a cancelled campaign become
``cancelled``. Each step is idempotent and may run in several replicas.
Fails: database errors come out; the next turn begins anew.
"""

from hayabin.database import counters, feeds, ledger
from hayabin.database.engine import Pool
from hayabin.database.instances import DEAD_AFTER_S
from hayabin.domain.message import MessageState
from hayabin.telemetry.logging import get_logger
from hayabin.telemetry.metrics import FED, LOST_CLAIMS

CANCEL_PAGE_ROWS = 5000
FINAL = (
    MessageState.ACCEPTED,
    MessageState.COMPLAINED,
    MessageState.BOUNCED,
    MessageState.FAILED,
    MessageState.SUPPRESSED,
    MessageState.CANCELLED,
    MessageState.EXPIRED,
    MessageState.UNKNOWN,
)
"""States that are not open; their counters add up to the audience when a campaign is complete."""

_LOST_CLAIMS_SQL = """
SELECT m.id FROM feeds f, unnest(f.message_ids) AS fed(id) JOIN messages m ON m.id = fed.id
WHERE m.state = 'claimed' AND m.attempt = f.attempt + 1 AND m.changed_at < now() - make_interval(secs => $1)
  AND NOT EXISTS (SELECT 1 FROM instances i WHERE i.name = m.claimed_by
                  AND i.seen_at > now() - make_interval(secs => $1))
LIMIT 5000"""

_RESEND_ONCE_SQL = """
SELECT m.id FROM campaigns c JOIN messages m ON m.campaign_id = c.id
WHERE c.state = 'sending' AND c.class = 'transactional' AND m.state = 'unknown' AND m.attempt = 1 LIMIT 5000"""

_SETTLED_SQL = """
SELECT c.id FROM campaigns c
WHERE c.state = 'sending' AND c.audience <= (
    SELECT COALESCE(sum(n), 0) FROM (
        SELECT n FROM counters k WHERE k.campaign_id = c.id AND k.name = ANY($1)
        UNION ALL SELECT n FROM counter_deltas d WHERE d.campaign_id = c.id AND d.name = ANY($1)) both_parts)"""

_COMPLETE_SQL = """
UPDATE campaigns c SET state = 'completed', completed_at = now(), updated_at = now()
WHERE c.id = $1 AND c.state = 'sending' AND NOT EXISTS (
    SELECT 1 FROM messages m WHERE m.campaign_id = c.id AND m.state IN ('due', 'claimed', 'deferred'))
RETURNING c.id"""


async def expire_lost_claims(pool: Pool) -> int:
    """Claims whose owner is gone → ``unknown``; of transactional mail once → ``due``."""
    async with pool.acquire() as connection, connection.transaction():
        rows = await connection.fetch(_LOST_CLAIMS_SQL, DEAD_AFTER_S)
        moved = await ledger.move(connection, [row["id"] for row in rows], MessageState.UNKNOWN, "dispatcher_lost")
        again = await connection.fetch(_RESEND_ONCE_SQL)
        await ledger.move(connection, [row["id"] for row in again], MessageState.DUE, "resend_once")
    if moved:
        LOST_CLAIMS.inc(len(moved))
        get_logger().warning("claims_lost", rows=len(moved))
    return len(moved)


async def tidy_belt(pool: Pool) -> int:
    """Drop leases that are through; feed again what fell off the belt."""
    async with pool.acquire() as connection:
        await feeds.drop_finished(connection)
        async with connection.transaction():
            refed = await feeds.refeed_expired(connection)
    if refed:
        FED.labels("again").inc(refed)
        get_logger().info("fed_again", rows=refed)
    return refed


async def complete_campaigns(pool: Pool) -> int:
    """Campaigns whose every row is final → ``completed``; the counters say when to look, the ledger decides."""
    done = 0
    async with pool.acquire() as connection:
        for row in await connection.fetch(_SETTLED_SQL, [state.value for state in FINAL]):
            if await connection.fetchval(_COMPLETE_SQL, row["id"]):
                done += 1
                get_logger().info("campaign_completed", campaign_id=row["id"])
    return done


async def cancel_rows(pool: Pool) -> int:
    """Open rows of cancelled campaigns → ``cancelled``, in pages; then the campaign has its completion time."""
    moved_in_all = 0
    async with pool.acquire() as connection:
        for row in await connection.fetch(
            "SELECT id FROM campaigns WHERE state = 'cancelled' AND completed_at IS NULL"
        ):
            async with connection.transaction():
                page = await connection.fetch(
                    "SELECT id FROM messages WHERE campaign_id = $1 AND state IN ('due', 'deferred') LIMIT $2",
                    row["id"],
                    CANCEL_PAGE_ROWS,
                )
                moved = await ledger.move(
                    connection, [r["id"] for r in page], MessageState.CANCELLED, "campaign_cancelled"
                )
                moved_in_all += len(moved)
                if not page:
                    await connection.execute(
                        "UPDATE campaigns SET completed_at = now() WHERE id = $1 AND NOT EXISTS (SELECT 1 "
                        "FROM messages WHERE campaign_id = $1 AND state IN ('due', 'claimed', 'deferred'))",
                        row["id"],
                    )
    return moved_in_all


async def fold_counters(pool: Pool) -> int:
    """Fold the deltas of counters."""
    async with pool.acquire() as connection:
        return await counters.fold(connection)
