"""Scheduled campaigns: launched when their time comes, held for a person when it is too late.

Promises: one launch for each schedule, also with several replicas (row lock); a schedule whose send-by has passed is
never fired late: the campaign becomes ``failed`` with the reason ``send_by_passed``.
"""

from hayabin.crash_points import CrashPoint, reach
from hayabin.database.engine import Pool
from hayabin.database.launch import EmptyAudience, change_state, launch
from hayabin.domain.campaign import CampaignState
from hayabin.telemetry import tracing
from hayabin.telemetry.logging import get_logger

_DUE_SQL = """
SELECT id, tenant_id, COALESCE(send_by <= now(), false) AS too_late FROM campaigns
WHERE state = 'scheduled' AND schedule_at <= now()
  AND (SELECT i.held_reason = '' AND i.pulse >= $1 FROM installation i)
ORDER BY schedule_at LIMIT 20 FOR UPDATE SKIP LOCKED"""


async def launch_scheduled(pool: Pool, pulse: int = 0) -> int:
    """Launch what is due; returns how many campaigns were looked at.

    Nothing is due while the installation is held, or in a database that has not come as far as ``pulse``.
    """
    async with pool.acquire() as connection, connection.transaction():
        due = await connection.fetch(_DUE_SQL, pulse)
        for row in due:
            with tracing.tracer().start_as_current_span("campaign.scheduled_launch"):
                reason = "send_by_passed" if row["too_late"] else ""
                if not reason:
                    try:
                        async with connection.transaction():
                            await launch(
                                connection,
                                row["id"],
                                tenant_id=row["tenant_id"],
                                traceparent=tracing.current_traceparent(),
                            )
                    except EmptyAudience:
                        reason = "empty_audience"
                if reason:
                    await change_state(connection, row["id"], row["tenant_id"], CampaignState.FAILED, reason)
                    get_logger().warning("schedule_held", campaign_id=row["id"], reason=reason)
        if due:
            reach(CrashPoint.SCHEDULE_BEFORE_COMMIT)
        return len(due)
