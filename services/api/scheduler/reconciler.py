"""The reconciler: brings the ledger and the rest of the world together again.

Promises: claims of processes that are gone become ``unknown``; what is unknown, for whatever cause, is sent again once
where the policy of its class says so, and held otherwise; what fell off the belt is fed again; a campaign completes
when its whole audience is in the ledger, no row is open and none waits to be sent again by policy, never before, and
goes on when a late outcome opens a row; rows of a cancelled campaign become ``cancelled``. Each step is idempotent and
may run in several replicas.
Fails: database errors come out; the next turn begins anew.
"""

from collections.abc import Mapping

from hayabin.crash_points import CrashPoint, reach
from hayabin.database import counters, feeds, instances, ledger, unknown
from hayabin.database.engine import Connection, Pool
from hayabin.database.instances import DEAD_AFTER_S
from hayabin.domain.campaign import UNKNOWN_POLICIES, MessageClass, UnknownPolicy
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

Policies = Mapping[MessageClass, UnknownPolicy]

_LOST_CLAIMS_SQL = """
SELECT m.id FROM feeds f CROSS JOIN LATERAL unnest(f.message_ids) AS fed(id) CROSS JOIN LATERAL (
    SELECT m.id, m.claimed_by FROM messages m WHERE m.id = fed.id AND m.state = 'claimed' AND m.attempt = f.attempt + 1
      AND m.changed_at NOT BETWEEN now() - make_interval(secs => $1) AND now() + make_interval(secs => $1) OFFSET 0) m
WHERE NOT EXISTS (SELECT 1 FROM instances i WHERE i.name = m.claimed_by
                  AND i.seen_at BETWEEN now() - make_interval(secs => $1) AND now() + make_interval(secs => $1))
LIMIT 5000"""  # a time ahead of now is of before the database's clock went back

_FINAL_SUM = """(
    SELECT COALESCE(sum(n), 0) FROM (
        SELECT n FROM counters k WHERE k.campaign_id = c.id AND k.name = ANY($1)
        UNION ALL SELECT n FROM counter_deltas d WHERE d.campaign_id = c.id AND d.name = ANY($1)) both_parts)"""

_SETTLED_SQL = f"""
SELECT c.id, c.class FROM campaigns c
WHERE c.state = 'sending' AND NOT c.filling AND c.audience <= {_FINAL_SUM}"""  # noqa: S608 - constants of ours

_COMPLETE_SQL = """
UPDATE campaigns c SET state = 'completed', state_reason = '', completed_at = now(), updated_at = now()
WHERE c.id = $1 AND c.state = 'sending' AND NOT c.filling AND NOT EXISTS (
    SELECT 1 FROM messages m WHERE m.campaign_id = c.id AND m.state IN ('due', 'claimed', 'deferred'))
RETURNING c.id"""

_OPENED_SQL = f"""
UPDATE campaigns c SET completed_at = NULL, updated_at = now(),
    state_reason = CASE WHEN c.state = 'completed' THEN '{unknown.REOPENED}' ELSE c.state_reason END,
    state = CASE WHEN c.state = 'completed' THEN 'sending' ELSE c.state END
WHERE c.state IN ('completed', 'cancelled') AND c.completed_at > now() - interval '1 day' AND c.audience > {_FINAL_SUM}
RETURNING c.id"""  # noqa: S608 - constants of ours


async def bury(pool: Pool) -> int:
    """Feed again at once what dispatchers that are gone may have had in hand unclaimed, apart from their batches.

    Nobody knows what that was, so all leases end; the gate makes what is fed twice harmless.
    """
    async with pool.acquire() as connection, connection.transaction():
        gone = await instances.forget_dead(connection)
        if gone:
            await feeds.end_leases(connection)
            get_logger().warning("dispatchers_gone", names=gone)
    return len(gone)


async def expire_lost_claims(pool: Pool, policies: Policies = UNKNOWN_POLICIES) -> int:
    """Claims whose owner is gone → ``unknown``; then as ``resend_unknown``."""
    async with pool.acquire() as connection, connection.transaction():
        rows = await connection.fetch(_LOST_CLAIMS_SQL, DEAD_AFTER_S)
        moved = await ledger.move(connection, [row["id"] for row in rows], MessageState.UNKNOWN, "dispatcher_lost")
        if moved:
            reach(CrashPoint.RECONCILE_BEFORE_COMMIT)
    if moved:
        LOST_CLAIMS.inc(len(moved))
        get_logger().warning("claims_lost", rows=len(moved))
    await resend_unknown(pool, policies)
    return len(moved)


async def resend_unknown(pool: Pool, policies: Policies = UNKNOWN_POLICIES) -> int:
    """What became ``unknown`` for the first time → ``due``, in classes that are sent again once; returns how many.

    Looks only under the leases of what is on the belt; what slips through is found when its campaign would complete.
    """
    classes = [name for name, policy in policies.items() if policy is UnknownPolicy.RESEND_ONCE]
    moved_in_all = 0
    async with pool.acquire() as connection:
        while classes:
            moved = 0
            for campaign_id, ids in (await unknown.on_belt(connection, classes)).items():
                moved += _resent(campaign_id, await unknown.resend_once(connection, campaign_id, ids))
            moved_in_all += moved
            if moved < unknown.PAGE_ROWS:
                break
    return moved_in_all


def _resent(campaign_id: int, rows: int) -> int:
    if rows:
        get_logger().warning("unknown_resent", campaign_id=campaign_id, rows=rows)
    return rows


async def tidy_belt(pool: Pool, policies: Policies = UNKNOWN_POLICIES) -> int:
    """Drop leases that are through, but first see what became unknown under them; feed again what fell off the belt."""
    await resend_unknown(pool, policies)
    async with pool.acquire() as connection:
        await feeds.drop_finished(connection)
        async with connection.transaction():
            refed = await feeds.refeed_expired(connection)
    if refed:
        FED.labels("again").inc(refed)
        get_logger().info("fed_again", rows=refed)
    return refed


async def complete_campaigns(pool: Pool, policies: Policies = UNKNOWN_POLICIES) -> int:
    """Campaigns whose every row is final → ``completed``; the counters say when to look, the ledger decides.

    First what is unknown is sent again where the policy says so, and has not been; then the campaign goes on.
    """
    done = 0
    async with pool.acquire() as connection:
        for row in await connection.fetch(_SETTLED_SQL, [state.value for state in FINAL]):
            if policies[MessageClass(row["class"])] is UnknownPolicy.RESEND_ONCE and _resent(
                row["id"], await _resent_rest(connection, row["id"])
            ):
                continue
            async with connection.transaction():
                # The lock first: the look at the rows must be younger than what a resolution made due under it.
                await connection.execute("SELECT 1 FROM campaigns WHERE id = $1 FOR UPDATE", row["id"])
                completed = await connection.fetchval(_COMPLETE_SQL, row["id"])
            if completed:
                done += 1
                get_logger().info("campaign_completed", campaign_id=row["id"])
    return done


async def _resent_rest(connection: Connection, campaign_id: int) -> int:
    """Only a campaign that counts unknown rows is read for them."""
    counted = await counters.read_counters(connection, campaign_id)
    return await unknown.resend_rest_once(connection, campaign_id) if counted.get(MessageState.UNKNOWN) else 0


async def reopen_campaigns(pool: Pool) -> int:
    """Campaigns that ended today and have an open row since → open again; returns how many.

    A dispatcher that was taken for dead may say late that a mail was deferred, when all others were final: a completed
    campaign sends on, a cancelled one has the row cancelled.
    """
    async with pool.acquire() as connection:
        rows = await connection.fetch(_OPENED_SQL, [state.value for state in FINAL])
    for row in rows:
        get_logger().warning("campaign_reopened", campaign_id=row["id"])
    return len(rows)


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
