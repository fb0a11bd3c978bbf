"""What can be done to a campaign: tried, launched, scheduled, paused, resumed, cancelled; what of it is unknown."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body
from pydantic import Field

from hayabin.database import launch as launching
from hayabin.database.audience import Person
from hayabin.database.engine import Connection
from hayabin.domain.campaign import LAUNCHABLE, CampaignState, IllegalTransition
from hayabin.telemetry.tracing import current_traceparent
from services.api.access import Db, SendCampaigns
from services.api.forms import Attributes, Form, Id, Line, Moment, address_of
from services.api.paging import Cursor
from services.api.problems import Problem
from services.api.routes import campaign_rows as rows
from services.api.routes.message_rows import ResolveForm, resolve_many
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/campaigns/{campaign_id}", tags=["campaigns"], route_class=TransactionRoute)


class LaunchForm(Form):
    """What a launch may be told."""

    allow_unverified_domain: bool = False


class ScheduleForm(LaunchForm):
    """When to launch, and until when mail may be sent."""

    schedule_at: Moment
    send_by: Moment | None = None


class TestForm(Form):
    """Who gets a test mail, with which values."""

    to: Annotated[list[Line], Field(min_length=1, max_length=10)]
    variables: Attributes = {}


async def _require_future(db: Connection, moment: datetime | None, pointer: str) -> None:
    """By the database's clock, which launches and expires."""
    if moment is not None and await db.fetchval("SELECT $1::timestamptz <= now()", moment):
        errors = [{"pointer": pointer, "message": "is in the past"}]
        raise Problem(422, "deadline-passed", "This time is over: nothing would be sent.", errors=errors)


@router.post("/launch", operation_id="launchCampaign")
async def launch(
    db: Db, who: SendCampaigns, campaign_id: Id, form: Annotated[LaunchForm | None, Body()] = None
) -> dict[str, Any]:
    """Launch now. The first 1,000 of the audience are in the ledger when this answers, the others follow at once.

    While `filling` is true, `audience` is what has come in so far. Who is subscribed now is in the audience; who leaves
    the list before their turn is counted as `suppressed`.
    """
    campaign = await rows.require_campaign(db, who, campaign_id)
    if campaign["state"] not in LAUNCHABLE:  # a completed one may be sending again, but never be launched again
        raise IllegalTransition(CampaignState(campaign["state"]), CampaignState.SENDING)
    await _require_future(db, campaign["send_by"], "campaign:send_by")
    await rows.require_verified(db, campaign["domain_id"], override=form is not None and form.allow_unverified_domain)
    await rows.require_active_pool(db, campaign["pool"])
    await launching.launch(db, campaign_id, tenant_id=who.tenant_id, traceparent=current_traceparent())
    return await rows.require_campaign(db, who, campaign_id)


@router.post("/schedule", operation_id="scheduleCampaign")
async def schedule(db: Db, who: SendCampaigns, campaign_id: Id, form: ScheduleForm) -> dict[str, Any]:
    """Launch at a time; what is past `send_by` then is held for a person, never fired late."""
    campaign = await rows.require_campaign(db, who, campaign_id)
    await _require_future(db, form.schedule_at, "#/schedule_at")
    send_by = form.send_by or campaign["send_by"]
    if send_by is not None and send_by <= form.schedule_at:
        errors = [{"pointer": "#/send_by", "message": "must be after schedule_at"}]
        raise Problem(422, "invalid-request", "The deadline is before the launch.", errors=errors)
    await rows.require_verified(db, campaign["domain_id"], override=form.allow_unverified_domain)
    await rows.require_active_pool(db, campaign["pool"])
    await launching.change_state(db, campaign_id, who.tenant_id, CampaignState.SCHEDULED)
    await db.execute(
        "UPDATE campaigns SET schedule_at = $2, send_by = $3 WHERE id = $1", campaign_id, form.schedule_at, send_by
    )
    return await rows.require_campaign(db, who, campaign_id)


@router.post("/unschedule", operation_id="unscheduleCampaign")
async def unschedule(db: Db, who: SendCampaigns, campaign_id: Id) -> dict[str, Any]:
    """Make a draft again of a scheduled campaign, or of one that was held because its time had passed."""
    await launching.change_state(db, campaign_id, who.tenant_id, CampaignState.DRAFT)
    await db.execute("UPDATE campaigns SET schedule_at = NULL WHERE id = $1", campaign_id)
    return await rows.require_campaign(db, who, campaign_id)


@router.post("/pause", operation_id="pauseCampaign")
async def pause(db: Db, who: SendCampaigns, campaign_id: Id) -> dict[str, Any]:
    """No new SMTP transaction begins after this answers, but for those claimed already."""
    await launching.change_state(db, campaign_id, who.tenant_id, CampaignState.PAUSED, "by request")
    return await rows.require_campaign(db, who, campaign_id)


@router.post("/resume", operation_id="resumeCampaign")
async def resume(db: Db, who: SendCampaigns, campaign_id: Id) -> dict[str, Any]:
    """Go on with the rest; nobody gets it twice."""
    campaign = await rows.require_campaign(db, who, campaign_id)
    if campaign["state"] != CampaignState.PAUSED:
        raise Problem(409, "wrong-state", f"The campaign is {campaign['state']}: only a paused one can be resumed.")
    await launching.change_state(db, campaign_id, who.tenant_id, CampaignState.SENDING)
    return await rows.require_campaign(db, who, campaign_id)


@router.post("/cancel", operation_id="cancelCampaign")
async def cancel(db: Db, who: SendCampaigns, campaign_id: Id) -> dict[str, Any]:
    """Stop for good; what was due becomes cancelled."""
    await launching.change_state(db, campaign_id, who.tenant_id, CampaignState.CANCELLED, "by request")
    return await rows.require_campaign(db, who, campaign_id)


@router.post("/resolve-unknown", operation_id="resolveUnknown")
async def resolve_unknown(
    db: Db, who: SendCampaigns, campaign_id: Id, form: ResolveForm, cursor: Cursor = None
) -> dict[str, Any]:
    """Settle the `unknown` messages of a campaign, up to 20,000 in a request: `accepted`, or `resend`.

    While there is a `next_cursor`, send the same again with `?cursor=` and an Idempotency-Key of its own: so each
    message is settled once, though one that was sent again may be unknown anew. `remaining` are unknown now. A
    completed campaign is `sending` again until what was resent is through; in a paused one it waits. In a cancelled
    campaign only `accepted` is possible.
    """
    return await resolve_many(db, who, campaign_id, form.resolution, cursor)


@router.post("/test", status_code=202, operation_id="testCampaign")
async def test(db: Db, who: SendCampaigns, campaign_id: Id, form: TestForm) -> dict[str, Any]:
    """Send the campaign's mail to up to ten addresses: a campaign of kind `test`, on the transactional belt."""
    campaign = await rows.require_campaign(db, who, campaign_id)
    await rows.require_active_pool(db, campaign["pool"])
    name = form.variables.get("name", "")
    people = {}
    for number, text in enumerate(form.to):
        address = address_of(text, f"#/to/{number}")
        people[address.key] = Person(
            address.given, address.wire, address.key, name if isinstance(name, str) else "", form.variables
        )
    test_id = await db.fetchval(rows.COPY_FOR_TEST_SQL, campaign_id, who.tenant_id)
    await launching.launch_to(
        db, test_id, list(people.values()), tenant_id=who.tenant_id, traceparent=current_traceparent()
    )
    return await rows.require_campaign(db, who, test_id)
