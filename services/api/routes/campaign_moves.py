"""What can be done to a campaign that is there: tried, paused, resumed, cancelled; what of it is unknown, settled."""

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field

from hayabin.database import launch as launching
from hayabin.database.audience import Person
from hayabin.domain.campaign import CampaignState
from hayabin.domain.tenant_settings import TenantSettings
from hayabin.telemetry.tracing import current_traceparent
from services.api import quotas, sending_rate
from services.api.access import Db, Principal, SendCampaigns
from services.api.forms import Attributes, Form, Id, Line, address_of
from services.api.launch_checks import settings_of, subject_of
from services.api.paging import Cursor
from services.api.problems import Problem
from services.api.routes import campaign_rows as rows
from services.api.routes.message_rows import ResolveForm, resolve_many
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/campaigns/{campaign_id}", tags=["campaigns"], route_class=TransactionRoute)


class TestForm(Form):
    """Who gets a test mail, with which values."""

    to: Annotated[list[Line], Field(min_length=1, max_length=10)]
    variables: Attributes = {}


@router.post("/pause", operation_id="pauseCampaign")
async def pause(db: Db, who: SendCampaigns, campaign_id: Id) -> dict[str, Any]:
    """No new SMTP transaction begins after this answers, but for those claimed already."""
    await launching.change_state(db, campaign_id, who.tenant_id, CampaignState.PAUSED, "by request")
    return await rows.require_campaign(db, who, campaign_id)


@router.post("/resume", operation_id="resumeCampaign")
async def resume(db: Db, who: SendCampaigns, request: Request, campaign_id: Id) -> dict[str, Any]:
    """Go on with the rest; nobody gets it twice."""
    subject = await subject_of(db, who.tenant_id, campaign_id)
    campaign = subject.campaign
    if campaign["state"] != CampaignState.PAUSED:
        raise Problem(409, "wrong-state", f"The campaign is {campaign['state']}: only a paused one can be resumed.")
    sending_rate.begin(request, subject.settings.quota_per_s)
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
async def test(db: Db, who: SendCampaigns, request: Request, campaign_id: Id, form: TestForm) -> dict[str, Any]:
    """Send the campaign's mail to up to ten addresses: a campaign of kind `test`, on the transactional belt."""
    campaign = await rows.require_campaign(db, who, campaign_id)
    settings = await settings_of(db, who.tenant_id)
    sending_rate.begin(request, settings.quota_per_s)
    await rows.require_active_pool(db, campaign["pool"])
    name = form.variables.get("name", "")
    people = {}
    for number, text in enumerate(form.to):
        address = address_of(text, f"#/to/{number}")
        people[address.key] = Person(
            address.given, address.wire, address.key, name if isinstance(name, str) else "", form.variables
        )
    await _require_room(db, who, settings, len(people))
    test_id = await db.fetchval(rows.COPY_FOR_TEST_SQL, campaign_id, who.tenant_id)
    await launching.launch_to(
        db, test_id, list(people.values()), tenant_id=who.tenant_id, traceparent=current_traceparent()
    )
    await quotas.take(db, who.tenant_id, test_id, len(people))
    return await rows.require_campaign(db, who, test_id)


async def _require_room(db: Db, who: Principal, settings: TenantSettings, mails: int) -> None:
    """Refuse what is over a quota; a test takes its mails, too."""
    try:
        await quotas.require_room(db, who.tenant_id, settings, mails)
    except quotas.QuotaExceeded as exceeded:
        raise exceeded.problem() from exceeded
