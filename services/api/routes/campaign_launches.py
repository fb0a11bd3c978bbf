"""A campaign on its way out: launched now, after an undo window or at a time, and taken back.

Promises: before a launch or a schedule does anything, ``launch_checks`` has let it pass; nobody edits the campaign
between the checks and the move. A launch with an undo window is a schedule for its end, and ``unschedule`` takes it
back: until then nobody is in the ledger, so no mail can have been sent.
"""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request
from pydantic import Field

from hayabin.database import launch as launching
from hayabin.domain.campaign import LAUNCHABLE, CampaignState, IllegalTransition
from hayabin.domain.tenant_settings import TenantSettings
from hayabin.telemetry.tracing import current_traceparent
from services.api import quotas, sending_rate
from services.api.access import Db, Principal, SendCampaigns
from services.api.audit_trail import tell
from services.api.forms import Form, Id, Moment
from services.api.launch_checks import Checked, Subject, Wish, require_all, subject_of
from services.api.problems import Problem
from services.api.routes import campaign_rows as rows
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/campaigns/{campaign_id}", tags=["campaigns"], route_class=TransactionRoute)
Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]


class SendForm(Form):
    """What a launch and a schedule may be told."""

    allow_unverified_domain: bool = False
    expected_count: Annotated[
        Annotated[int, Field(ge=0, le=10**9)] | None,
        Field(description="Refuse if the audience is not about so large; `audience` of GET …/audience"),
    ] = None
    expected_within_percent: Annotated[
        Percent | None, Field(description="How far it may be from that; the setting expected_count_percent if left out")
    ] = None
    override_legal_checks: Annotated[
        bool, Field(description="Go on against the legal checks; needs campaigns:override and is written down")
    ] = False


class LaunchForm(SendForm):
    """What a launch may be told."""

    undo_s: Annotated[
        Annotated[int, Field(ge=0, le=3600)] | None,
        Field(description="Wait so many seconds before the first mail; not less than the setting undo_s"),
    ] = None


class ScheduleForm(SendForm):
    """When to launch, and until when mail may be sent."""

    schedule_at: Moment
    send_by: Moment | None = None


async def _require_future(db: Db, moment: datetime | None, pointer: str) -> None:
    """By the database's clock, which launches and expires."""
    if moment is not None and await db.fetchval("SELECT $1::timestamptz <= now()", moment):
        errors = [{"pointer": pointer, "message": "is in the past"}]
        raise Problem(422, "deadline-passed", "This time is over: nothing would be sent.", errors=errors)


def _undo_s(settings: TenantSettings, wanted: int | None) -> int:
    """How long a launch waits.

    Raises:
        Problem: 422 for less than the tenant wants.
    """
    if wanted is not None and wanted < settings.undo_s:
        errors = [{"pointer": "#/undo_s", "message": f"must be at least {settings.undo_s}, the tenant's setting"}]
        raise Problem(422, "invalid-request", "The undo window is shorter than the tenant's.", errors=errors)
    return settings.undo_s if wanted is None else wanted


async def _held_still(db: Db, who: Principal, campaign_id: int) -> Subject:
    """The campaign, which nobody edits and whose pool nobody removes until the transaction ends.

    The pool is locked first, as who removes a pool does, so that neither waits for the other for ever.

    Raises:
        Problem: 404, 409.
    """
    seen = await rows.require_campaign(db, who, campaign_id)
    await rows.require_active_pool(db, seen["pool"])
    subject = await subject_of(db, who.tenant_id, campaign_id, lock=True)
    if subject.campaign["pool"] != seen["pool"]:
        raise Problem(409, "conflict", "The campaign was edited just now. Look at it, then ask again.")
    return subject


async def _checked(
    db: Db, who: Principal, request: Request, subject: Subject, form: SendForm, *, sends_today: bool
) -> Checked:
    """Let the launch pass all checks, or refuse it; what was overridden is written down."""
    checked = await require_all(
        db,
        who,
        subject,
        Wish(
            expected_count=form.expected_count,
            expected_within_percent=form.expected_within_percent,
            override_legal_checks=form.override_legal_checks,
            sends_today=sends_today,
        ),
    )
    if checked.overridden:
        tell(request, overridden=sorted({finding["code"] for finding in checked.findings}))
    return checked


@router.post("/launch", operation_id="launchCampaign")
async def launch(
    db: Db,
    who: SendCampaigns,
    request: Request,
    campaign_id: Id,
    given: Annotated[LaunchForm | None, Body()] = None,
) -> dict[str, Any]:
    """Launch now. The first 1,000 of the audience are in the ledger when this answers, the others follow at once.

    While `filling` is true, `audience` is what has come in so far. Who is subscribed now is in the audience; who leaves
    the list before their turn is counted as `suppressed`. With an undo window (`undo_s`, or the tenant's setting) the
    campaign is `scheduled` for `undo_until`: until then `POST …/unschedule` takes it back, and no mail has been sent.
    """
    form = given or LaunchForm()
    subject = await _held_still(db, who, campaign_id)
    campaign, settings = subject.campaign, subject.settings
    if campaign["state"] not in LAUNCHABLE:  # a completed one may be sending again, but never be launched again
        raise IllegalTransition(CampaignState(campaign["state"]), CampaignState.SENDING)
    sending_rate.begin(request, settings.quota_per_s)
    undo_s = _undo_s(settings, form.undo_s)
    await _require_future(db, campaign["send_by"], "campaign:send_by")
    await rows.require_verified(db, campaign["domain_id"], override=form.allow_unverified_domain)
    checked = await _checked(db, who, request, subject, form, sends_today=True)
    undo_until = None
    if undo_s:
        undo_until = await _wait(db, campaign, undo_s)
    else:
        page = await launching.launch(db, campaign_id, tenant_id=who.tenant_id, traceparent=current_traceparent())
        mails = checked.size.will_get if checked.size else page.people - page.suppressed
        await quotas.take(db, who.tenant_id, campaign_id, mails)
    shown = await rows.require_campaign(db, who, campaign_id)
    return {**shown, "undo_until": undo_until, "legal_findings": checked.findings}


async def _wait(db: Db, campaign: Any, undo_s: int) -> datetime:
    """Let the scheduler launch it when the undo window is over; when that is."""
    if campaign["state"] != CampaignState.SCHEDULED:
        await launching.change_state(db, campaign["id"], campaign["tenant_id"], CampaignState.SCHEDULED)
    until: datetime = await db.fetchval(
        "UPDATE campaigns SET schedule_at = clock_timestamp() + make_interval(secs => $2) WHERE id = $1 "
        "RETURNING schedule_at",
        campaign["id"],
        undo_s,
    )
    await _require_after(campaign["send_by"], until, "campaign:send_by")
    return until


async def _require_after(send_by: datetime | None, moment: datetime, pointer: str) -> None:
    if send_by is not None and send_by <= moment:
        errors = [{"pointer": pointer, "message": "must be after the launch"}]
        raise Problem(422, "invalid-request", "The deadline is before the launch.", errors=errors)


@router.post("/schedule", operation_id="scheduleCampaign")
async def schedule(db: Db, who: SendCampaigns, request: Request, campaign_id: Id, form: ScheduleForm) -> dict[str, Any]:
    """Launch at a time; what is past `send_by` then is held for a person, never fired late.

    What the launch depends on is looked at now and again at that time: a campaign whose audience has grown so that it
    lacks an approval then, or is over a quota, is held for a person (`failed` with the reason).
    """
    subject = await _held_still(db, who, campaign_id)
    campaign = subject.campaign
    await _require_future(db, form.schedule_at, "#/schedule_at")
    await _require_undo(db, subject.settings, form.schedule_at)
    send_by = form.send_by or campaign["send_by"]
    await _require_after(send_by, form.schedule_at, "#/send_by")
    await rows.require_verified(db, campaign["domain_id"], override=form.allow_unverified_domain)
    now_so = Subject({**campaign, "send_by": send_by}, subject.settings)
    checked = await _checked(db, who, request, now_so, form, sends_today=False)
    await launching.change_state(db, campaign_id, who.tenant_id, CampaignState.SCHEDULED)
    await db.execute(
        "UPDATE campaigns SET schedule_at = $2, send_by = $3 WHERE id = $1", campaign_id, form.schedule_at, send_by
    )
    shown = await rows.require_campaign(db, who, campaign_id)
    return {**shown, "legal_findings": checked.findings}


async def _require_undo(db: Db, settings: TenantSettings, schedule_at: datetime) -> None:
    """A schedule leaves as much time to take it back as a launch does."""
    if settings.undo_s and await db.fetchval(
        "SELECT $1::timestamptz < now() + make_interval(secs => $2)", schedule_at, settings.undo_s
    ):
        errors = [{"pointer": "#/schedule_at", "message": f"must be at least {settings.undo_s} s from now (undo_s)"}]
        raise Problem(422, "invalid-request", "The tenant wants a longer undo window.", errors=errors)


@router.post("/unschedule", operation_id="unscheduleCampaign")
async def unschedule(db: Db, who: SendCampaigns, campaign_id: Id) -> dict[str, Any]:
    """Make a draft again of a scheduled campaign, or of one that was held because its time had passed."""
    await launching.change_state(db, campaign_id, who.tenant_id, CampaignState.DRAFT)
    await db.execute("UPDATE campaigns SET schedule_at = NULL WHERE id = $1", campaign_id)
    return await rows.require_campaign(db, who, campaign_id)
