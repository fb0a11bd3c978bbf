"""What is dropped after a time, because nobody asks for it any more.

Promises: transcripts go in pages, each in a transaction of its own, so that no lock is held for long and a process that
is told to stop stops soon; they stand in the order of their time, so their BRIN index leads to the blocks that are old
enough. Several replicas may do it at the same time.
Fails: database errors come out; the next turn begins anew.
"""

from hayabin.database import confirming, consent, sign_up_rates, subscriptions, suppressing
from hayabin.database.engine import Pool
from services.api import transfers_kept

PAGE_ROWS = 5000
PAGES_A_TURN = 20

_TRANSCRIPTS_SQL = """
WITH old AS (SELECT ctid FROM transcripts WHERE finished_at <= now() - make_interval(days => $1) LIMIT $2),
gone AS (DELETE FROM transcripts WHERE ctid = ANY(ARRAY(SELECT ctid FROM old)) RETURNING 1)
SELECT count(*) FROM gone"""

_OLD_SQL = (
    "DELETE FROM idempotency_keys WHERE created_at < now() - interval '48 hours'",
    "DELETE FROM instances WHERE seen_at < now() - interval '1 day'",
    "DELETE FROM lane_reports WHERE reported_at < now() - interval '1 day'",
    "DELETE FROM lane_usage WHERE day < (now() AT TIME ZONE 'UTC')::date - 60",
    "DELETE FROM suspensions WHERE until < now() - interval '1 day'",
    "DELETE FROM belt_depths WHERE seen_at < now() - interval '1 day'",
    *confirming.FORGET_SQL,
    sign_up_rates.FORGET_SQL,
    *transfers_kept.FORGET_SQL,
    "DELETE FROM mta_sts_policies WHERE expires_at < now()",  # RFC 8461 §3.2: past max_age it must not be used
)


async def forget_old(pool: Pool) -> None:
    """Drop old rows of small tables, suppressions that have expired, and consents that are kept no longer."""
    for statement in _OLD_SQL:
        await pool.execute(statement)
    await forget_suppressions(pool)
    await forget_consents(pool)


async def forget_suppressions(pool: Pool) -> int:
    """Drop suppressions that have expired; whose mailbox had bounced stands on lists as before.

    Returns: how many memberships were put back.
    """
    count = 0
    for _ in range(PAGES_A_TURN):
        async with pool.acquire() as connection, connection.transaction():
            gone = await suppressing.forget_expired(connection, PAGE_ROWS)
            for tenant_id, bounced in gone.items():
                count += await subscriptions.reinstate(connection, tenant_id, bounced, "expired")
        if not gone:
            break
    return count


async def forget_consents(pool: Pool) -> int:
    """Drop what tenants keep of the consent ledger no longer: never before three years; returns how many rows."""
    dropped = 0
    for tenant_id, days in await consent.retentions(pool):
        for _ in range(PAGES_A_TURN):
            page = await consent.forget(pool, tenant_id, days, PAGE_ROWS)
            dropped += page
            if page < PAGE_ROWS:
                break
    return dropped


async def forget_transcripts(pool: Pool, days: int) -> int:
    """Drop transcripts that are older than ``days`` (0: all), a number of pages; returns how many."""
    dropped = 0
    for _ in range(PAGES_A_TURN):
        page: int = await pool.fetchval(_TRANSCRIPTS_SQL, days, PAGE_ROWS)
        dropped += page
        if page < PAGE_ROWS:
            break
    return dropped
