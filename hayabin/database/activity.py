"""When a contact received something last: the scheduler's sweeps over the ledger, for rules of segments.

Promises: outcomes pay nothing for it. A campaign that is sent is swept every ``EVERY_MINUTES``, and once more when it
has ended, in pages; what is older than what is known changes nothing, so a sweep may be done again and again and break
off anywhere. Campaigns of the time before this table are swept like those that have ended. A mail that may have been
received (``unknown``) counts; of one that was complained of the time is that of the complaint.
Fails: database errors come out; that page is swept by the next turn. Opens and clicks are written by the tracker.
"""

from typing import Any, Final

from hayabin.database.engine import Pool
from hayabin.database.segment_sql import RECEIVED_STATES

PAGE_ROWS = 5000
EVERY_MINUTES: Final = 10
_SWEEP_LOCK: Final = 7246006

_NEXT_SQL = """
SELECT c.id, c.tenant_id, COALESCE(s.through_id, 0) AS through_id
FROM campaigns c LEFT JOIN activity_sweeps s ON s.campaign_id = c.id
CROSS JOIN LATERAL (SELECT greatest(c.completed_at, c.updated_at) + interval '1 minute' AS settled_at) e
WHERE c.launched_at < now() - interval '1 minute' AND c.kind = 'campaign' AND (
    s.campaign_id IS NULL OR s.through_id > 0
    OR c.state = 'sending' AND s.swept_at < now() - make_interval(mins => $1)
    OR c.state <> 'sending' AND s.swept_at < e.settled_at AND e.settled_at < now())
ORDER BY COALESCE(s.through_id, 0) = 0, c.id DESC LIMIT 1"""

_PAGE_SQL = f"""
WITH page AS MATERIALIZED (
    SELECT m.id, m.state, m.changed_at FROM messages m WHERE m.campaign_id = $1 AND m.id > $3 ORDER BY m.id LIMIT $4),
received AS (
    SELECT r.contact_id, max(p.changed_at) AS at FROM page p
    CROSS JOIN LATERAL (SELECT r.contact_id FROM recipients r WHERE r.message_id = p.id OFFSET 0) r
    WHERE p.state IN {RECEIVED_STATES} AND r.contact_id > 0 GROUP BY r.contact_id),
news AS (
    SELECT n.contact_id, n.at FROM received n
    LEFT JOIN contact_activity a ON a.tenant_id = $2 AND a.contact_id = n.contact_id
    WHERE a.last_received_at IS NULL OR a.last_received_at < n.at),
written AS (
    INSERT INTO contact_activity AS a (tenant_id, contact_id, last_received_at)
    SELECT $2, contact_id, at FROM news ORDER BY contact_id
    ON CONFLICT (tenant_id, contact_id) DO UPDATE
        SET last_received_at = greatest(a.last_received_at, excluded.last_received_at))
SELECT count(*) AS rows, max(id) AS through_id FROM page"""  # noqa: S608 - a constant of ours

_NOTE_SQL = """
INSERT INTO activity_sweeps AS s (campaign_id, tenant_id, through_id, began_at, swept_at)
VALUES ($1, $2, $3::bigint, now(), CASE WHEN $3::bigint = 0 THEN now() END)
ON CONFLICT (campaign_id) DO UPDATE SET through_id = excluded.through_id,
    began_at = CASE WHEN s.through_id = 0 THEN now() ELSE s.began_at END,
    swept_at = CASE WHEN $3::bigint > 0 THEN s.swept_at WHEN s.through_id = 0 THEN now() ELSE s.began_at END"""


async def sweep_next(pool: Pool) -> int:
    """Sweep a page of the campaign whose turn it is; returns how many rows of the ledger that were.

    A transaction of its own, by one replica at a time.
    """
    async with pool.acquire() as connection, connection.transaction():
        if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _SWEEP_LOCK):
            return 0
        campaign = await connection.fetchrow(_NEXT_SQL, EVERY_MINUTES)
        if campaign is None:
            return 0
        campaign_id, tenant_id = campaign["id"], campaign["tenant_id"]
        page: Any = await connection.fetchrow(_PAGE_SQL, campaign_id, tenant_id, campaign["through_id"], PAGE_ROWS)
        last = page["rows"] < PAGE_ROWS
        await connection.execute(_NOTE_SQL, campaign_id, tenant_id, 0 if last else page["through_id"])
        rows: int = page["rows"]
        return rows
