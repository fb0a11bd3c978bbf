"""Whom a campaign would reach, and whom not: counted and listed before it is launched."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body

from hayabin.database import audience_count
from hayabin.domain.audience import LeftOut
from services.api.access import Db, ReadCampaigns, Scope, require_scope
from services.api.forms import Form, Id
from services.api.masking import personal_names, shown
from services.api.paging import Cursor, Limit, after, page
from services.api.routes import campaign_rows as rows
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/campaigns/{campaign_id}/audience", tags=["campaigns"], route_class=TransactionRoute)
Why = Literal["will_get", "excluded", "unsubscribed", "erased", "suppressed", "no_consent", "same_content",
              "frequency_cap"]  # fmt: skip


class PreviewForm(Form):
    """Which part of the audience."""

    reason: Why = "will_get"


@router.get("", operation_id="countAudience")
async def count(db: Db, who: ReadCampaigns, campaign_id: Id) -> dict[str, Any]:
    """Who would be in the audience now: `audience` = `will_get` + those who are left out, by reason.

    Who is left out for several reasons counts for the first of: unsubscribed, erased, suppressed, no_consent,
    same_content, frequency_cap. `excluded` are not in the audience. `included_by`, `overlaps` and `excluded_by` say
    what each part of the audience's definition gives and takes; one person may be in several of these.
    """
    campaign = await rows.require_campaign(db, who, campaign_id)
    return {**await audience_count.count(db, campaign), **await audience_count.overlaps(db, campaign)}


@router.post("/preview", operation_id="previewAudience")
async def preview(
    db: Db,
    who: ReadCampaigns,
    campaign_id: Id,
    form: Annotated[PreviewForm, Body()],
    limit: Limit = 100,
    cursor: Cursor = None,
) -> dict[str, Any]:
    """People who would get the mail now (`will_get`), or who are left out for a reason, in order of contact id."""
    require_scope(who, Scope.CONTACTS_READ)
    campaign = await rows.require_campaign(db, who, campaign_id)
    personal = await personal_names(db, who)
    reason = None if form.reason == "will_get" else LeftOut(form.reason)
    found = await audience_count.left_out_people(db, campaign, reason, after_id=after(cursor), limit=limit + 1)
    answer = page([{**row, "reason": form.reason} for row in found], limit, key="contact_id")
    return {**answer, "items": [shown(item, who, personal) for item in answer["items"]]}
