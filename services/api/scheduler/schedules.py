"""Scheduled campaigns: launched when their time comes, held for a person when they may not be any more.

Promises: one launch for each schedule, also with several replicas (row lock), each in a transaction of its own; a
schedule whose send-by has passed is never fired late. What the launch depends on is looked at again: whose audience
has grown so that an approval is missing, or is over a quota, or cannot be had, is not fired either. The campaign
becomes ``failed`` with the reason (``Held``), and a person unschedules it, does what is missing, launches it again.
Fails: errors come out, of a single campaign when the others that are due have had their turn; it stays due.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from hayabin.crash_points import CrashPoint, reach
from hayabin.database.audience_of import hold_segments
from hayabin.database.engine import AWAY, Connection, Pool
from hayabin.database.launch import EmptyAudience, change_state, launch
from hayabin.database.segments import SegmentMissing, SegmentTooDeep, TooSlow
from hayabin.domain.campaign import CampaignState
from hayabin.domain.tenant_settings import TenantSettings
from hayabin.telemetry import tracing
from hayabin.telemetry.logging import get_logger
from services.api import approving, audit_trail, quotas
from services.api.audience_size import AudienceSize, size_of

A_TURN: Final = 20
_NOT_HELD = "(SELECT i.held_reason = '' AND i.pulse >= $1 FROM installation i)"
_DUE_SQL = f"""
SELECT id FROM campaigns WHERE state = 'scheduled' AND schedule_at <= now() AND {_NOT_HELD}
ORDER BY schedule_at LIMIT $2"""  # noqa: S608 - a constant of ours

_TAKE_SQL = f"""
SELECT c.*, COALESCE(c.send_by <= now(), false) AS too_late, t.settings AS tenant_settings
FROM campaigns c JOIN tenants t ON t.id = c.tenant_id
WHERE c.id = $2 AND c.state = 'scheduled' AND c.schedule_at <= now() AND {_NOT_HELD} FOR UPDATE OF c SKIP LOCKED"""  # noqa: S608 - a constant of ours


class Held(StrEnum):
    """Why a schedule was not fired."""

    SEND_BY_PASSED = "send_by_passed"
    EMPTY_AUDIENCE = "empty_audience"
    APPROVAL_NEEDED = "approval_needed"
    QUOTA_EXCEEDED = "quota_exceeded"
    AUDIENCE_UNAVAILABLE = "audience_unavailable"
    """A segment is gone, or its rules take too long."""


class _Refused(Exception):
    """The launch is not to be; what was done of it is rolled back."""

    def __init__(self, why: Held) -> None:
        super().__init__(why)
        self.why = why


async def launch_scheduled(pool: Pool, pulse: int = 0) -> int:
    """Launch what is due; returns how many campaigns were taken up.

    Nothing is due while the installation is held, or in a database that has not come as far as ``pulse``.
    """
    taken = 0
    failure: Exception | None = None
    for row in await pool.fetch(_DUE_SQL, pulse, A_TURN):
        try:
            async with pool.acquire() as connection, connection.transaction():
                campaign = await connection.fetchrow(_TAKE_SQL, pulse, row["id"])
                if campaign is not None:
                    await _take_up(connection, campaign)
                    taken += 1
        except AWAY:
            raise
        except Exception as error:  # noqa: BLE001 - comes out when the others had their turn
            get_logger().warning("schedule_failed", campaign_id=row["id"], error=repr(error))
            failure = error
    if failure is not None:
        raise failure
    return taken


async def _take_up(connection: Connection, campaign: Any) -> None:
    with tracing.tracer().start_as_current_span("campaign.scheduled_launch"):
        try:
            async with connection.transaction():
                await _launch(connection, campaign)
        except _Refused as refused:
            reason = refused.why
            await change_state(connection, campaign["id"], campaign["tenant_id"], CampaignState.FAILED, reason)
            await _note(connection, campaign, "holdSchedule", {"reason": reason})
            get_logger().warning("schedule_held", campaign_id=campaign["id"], reason=reason)
        reach(CrashPoint.SCHEDULE_BEFORE_COMMIT)


async def _launch(connection: Connection, campaign: Any) -> None:
    """Launch it as it is now.

    Raises:
        _Refused: with the reason.
    """
    if campaign["too_late"]:
        raise _Refused(Held.SEND_BY_PASSED)
    settings = TenantSettings.of(campaign["tenant_settings"])
    whole = {name: value for name, value in campaign.items() if name not in ("too_late", "tenant_settings")}
    try:
        size = await _required(connection, whole, settings)
        page = await launch(
            connection,
            campaign["id"],
            tenant_id=campaign["tenant_id"],
            traceparent=tracing.current_traceparent(),
        )
    except EmptyAudience as error:
        raise _Refused(Held.EMPTY_AUDIENCE) from error
    except (SegmentMissing, SegmentTooDeep, TooSlow) as error:
        raise _Refused(Held.AUDIENCE_UNAVAILABLE) from error
    mails = size.will_get if size else page.people - page.suppressed
    await quotas.take(connection, campaign["tenant_id"], campaign["id"], mails)
    await _note(connection, campaign, "launchScheduled", {})


async def _required(
    connection: Connection, campaign: Mapping[str, Any], settings: TenantSettings
) -> AudienceSize | None:
    """What a launch has to have, for the audience of now, which is counted only where something depends on it.

    Raises:
        _Refused: with the reason.
    """
    asks = approving.asks_for_audience(settings)
    if not asks and not quotas.has_quota(settings):
        return None
    await hold_segments(connection, campaign["id"])  # what is counted and approved is what is launched
    size = await size_of(connection, campaign)
    if asks and (await approving.standing_of(connection, campaign, settings, size.audience)).missing:
        raise _Refused(Held.APPROVAL_NEEDED)
    try:
        await quotas.require_room(connection, campaign["tenant_id"], settings, size.will_get)
    except quotas.QuotaExceeded as error:
        raise _Refused(Held.QUOTA_EXCEEDED) from error
    return size


async def _note(connection: Connection, campaign: Any, action: str, detail: Mapping[str, Any]) -> None:
    await audit_trail.note_campaign(connection, campaign["tenant_id"], action, campaign["id"], detail)
