"""Lanes: how each source IP is getting on with each destination, as the dispatchers report it."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query

from services.api.access import Db, ReadCampaigns
from services.api.lane_targets import lane_of, source_ip_of
from services.api.paging import Cursor, Limit, page, words_after
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/lanes", tags=["lanes"], route_class=TransactionRoute)
State = Literal["open", "slowed", "resting", "suspended", "capped", "quiet", "silent"]
LIVE_S = 30.0
"""A report older than this says nothing of now; a depth of the belt neither."""

# A suspension that no reported lane falls under is a row of its own, so that what was asked for is seen at once.
LANES_SQL = """
WITH holding AS (
    SELECT id, pool, source_ip, provider, reason, until FROM suspensions WHERE until IS NULL OR until > now()),
reported AS (
    SELECT r.*, h.id AS suspension_id, h.reason AS suspended_for, h.until AS suspended_until
    FROM lane_reports r LEFT JOIN LATERAL (
        SELECT * FROM holding h WHERE (h.pool IS NULL OR h.pool = r.pool)
          AND (h.source_ip IS NULL OR h.source_ip = r.source_ip) AND (h.provider IS NULL OR h.provider = r.lane)
        ORDER BY h.until DESC NULLS FIRST LIMIT 1) h ON true),
shown AS (
    SELECT pool, source_ip, lane, dispatcher,
           CASE WHEN suspension_id IS NOT NULL THEN 'suspended'
                WHEN reported_at < now() - make_interval(secs => $1) THEN 'silent' ELSE state END AS state,
           COALESCE(suspended_for, reason) AS reason,
           CASE WHEN suspension_id IS NULL THEN next_try_at ELSE suspended_until END AS next_try_at, suspension_id,
           waiting, connections, connection_limit, begun_per_s, limit_per_s, begun_today, cap_today, reported_at
    FROM reported
    UNION ALL
    SELECT COALESCE(pool, '*'), COALESCE(source_ip, '*'), COALESCE(provider, '*'), NULL, 'suspended', reason, until, id,
           NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    FROM (SELECT DISTINCT ON (pool, source_ip, provider) * FROM holding h
          WHERE NOT EXISTS (SELECT 1 FROM lane_reports r WHERE (h.pool IS NULL OR h.pool = r.pool)
              AND (h.source_ip IS NULL OR h.source_ip = r.source_ip) AND (h.provider IS NULL OR h.provider = r.lane))
          ORDER BY pool, source_ip, provider, until DESC NULLS FIRST) unseen)
SELECT s.pool, s.source_ip, s.lane, s.dispatcher, s.state, s.reason, s.next_try_at, s.suspension_id, s.waiting,
       (SELECT d.ready FROM belt_depths d WHERE d.queue = 'dispatch.' || s.pool || '.' || s.lane
        AND d.seen_at > now() - make_interval(secs => $1)) AS belt_ready,
       s.connections, s.connection_limit, s.begun_per_s, s.limit_per_s, s.begun_today, s.cap_today, s.reported_at,
       concat_ws(' ', s.pool, s.source_ip, s.lane) AS place
FROM shown s
WHERE ($2::text IS NULL OR s.pool IN ($2, '*')) AND ($3::text IS NULL OR s.source_ip IN ($3, '*'))
  AND ($4::text IS NULL OR s.lane IN ($4, '*')) AND ($5::text IS NULL OR s.state = $5)
  AND (s.pool, s.source_ip, s.lane) > ($6, $7, $8)
ORDER BY s.pool, s.source_ip, s.lane LIMIT $9"""


@router.get("", operation_id="listLanes")
async def listed(
    db: Db,
    _who: ReadCampaigns,
    pool: Annotated[str | None, Query(max_length=40, description="Lanes of this pool alone")] = None,
    source_ip: Annotated[str | None, Query(max_length=60, description="Lanes of this source IP alone")] = None,
    provider: Annotated[str | None, Query(max_length=260, description="This provider alone, or `mx:HOST`")] = None,
    state: Annotated[State | None, Query(description="Lanes in this state alone")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> dict[str, Any]:
    """Lanes by pool, source IP and destination (a provider, or `mx:HOST` for one of none), as dispatchers report them.

    States: `open`; `slowed` (below its limits after bad replies, recovering); `resting` (a short pause by itself);
    `suspended`; `capped` (the day's cap of the warm-up or the policy is reached); `quiet` (avoids the full hour);
    `silent` (not reported for 30 seconds: its dispatcher hangs or is gone, and the numbers are the last ones; forgotten
    after a day). A suspension is seen here at once, also where no dispatcher has such a lane: then `*` stands for what
    it does not name, and there are no numbers.

    `next_try_at` is when the lane goes on by itself; `waiting` counts the messages in the dispatcher's hand for it;
    `belt_ready` the batches (of up to 50 messages) on the pool's belt for this provider, whatever the source IP, and is
    null for `mx:` lanes, which share theirs, and while nothing is fed. Rates are messages begun, over the last minute;
    days are UTC days; a limit or cap of null is none.
    """
    rows = await db.fetch(
        LANES_SQL,
        LIVE_S,
        pool,
        None if source_ip is None else source_ip_of(source_ip, "query:source_ip"),
        None if provider is None else lane_of(provider, "query:provider"),
        state,
        *words_after(cursor, 3),
        limit + 1,
    )
    answer = page(rows, limit, key="place")
    for item in answer["items"]:
        del item["place"]
    return answer
