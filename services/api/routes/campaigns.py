"""Campaigns: created, looked at, changed while they are drafts."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body
from pydantic import Field

from hayabin.domain.campaign import CampaignState
from services.api.access import Db, Principal, ReadCampaigns, WriteCampaigns
from services.api.approving import note_editor
from services.api.audience_form import AudienceForm, audience_columns
from services.api.forms import Form, Id, Line, Moment, Name, Reference, changes_of, mailbox_of
from services.api.paging import Cursor, Limit, page_of
from services.api.problems import Problem
from services.api.routes import campaign_rows as rows
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/campaigns", tags=["campaigns"], route_class=TransactionRoute)
_MAY_BE_NULL = frozenset({"send_by", "list_id", "audience"})
MessageClass = Annotated[Literal["bulk", "transactional"], Field(alias="class")]


class CampaignForm(Form):
    """A campaign, as a draft."""

    name: Name
    template_version_id: Reference
    list_id: Reference | None = None
    audience: AudienceForm | None = None
    from_name: Line
    from_address: Line
    reply_to: Line = ""
    pool: Line = "main"
    message_class: MessageClass = "bulk"
    merge_policy: Literal["fallback", "skip", "block"] = "fallback"
    send_by: Moment | None = None


class CampaignChange(Form):
    """What may change of a draft; what is left out stays."""

    name: Name | None = None
    template_version_id: Reference | None = None
    list_id: Reference | None = None
    audience: AudienceForm | None = None
    from_name: Line | None = None
    from_address: Line | None = None
    reply_to: Line | None = None
    pool: Line | None = None
    message_class: Annotated[Literal["bulk", "transactional"] | None, Field(alias="class")] = None
    merge_policy: Literal["fallback", "skip", "block"] | None = None
    send_by: Moment | None = None


async def _content(db: Db, who: Principal, form: CampaignForm) -> list[Any]:
    """The values of ``rows.CONTENT``, each checked."""
    sender = mailbox_of(form.from_address, "#/from_address")
    reply_to = mailbox_of(form.reply_to, "#/reply_to").wire if form.reply_to else ""
    domain_id = await rows.require_domain_of(db, who, sender)
    await rows.require_references(db, who, form.template_version_id, form.list_id, form.pool)
    list_id, definition = await audience_columns(db, who, form.list_id, form.audience)
    values = {
        **form.model_dump(by_alias=True),
        "list_id": list_id,
        "audience_definition": definition,
        "domain_id": domain_id,
        "from_address": sender.wire,
        "reply_to": reply_to,
    }
    return [values[name] for name in rows.CONTENT]


def _form_of(campaign: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The draft as the form that would make it; a list that only was the first included one goes with its audience."""
    fields = {field.alias or name for name, field in CampaignForm.model_fields.items()}
    found = {name: campaign[name] for name in fields - {"audience"}}
    definition = campaign["audience_definition"]
    if "audience" in changes and definition.get("include_lists", [])[:1] == [campaign["list_id"]]:
        found["list_id"] = None
    return {**found, "audience": definition or None}


@router.post("", status_code=201, operation_id="createCampaign")
async def create(db: Db, who: WriteCampaigns, form: Annotated[CampaignForm, Body()]) -> dict[str, Any]:
    """Create a draft.

    It goes to the members of `list_id`, or to an `audience` made of lists, segments and exclusions; `list_id` is then
    the list that unsubscribing is for, the first included one if you leave it out.
    """
    row = dict(await db.fetchrow(rows.INSERT_SQL, who.tenant_id, *await _content(db, who, form)) or {})
    await note_editor(db, who, row["id"])
    return row


@router.patch("/{campaign_id}", operation_id="changeCampaign")
async def change(db: Db, who: WriteCampaigns, campaign_id: Id, form: CampaignChange) -> dict[str, Any]:
    """Change some of a draft; `null` takes a deadline, a list or an audience away."""
    campaign = await rows.require_campaign(db, who, campaign_id)
    _require_draft(campaign)
    changes = changes_of(form, _MAY_BE_NULL)
    whole = CampaignForm.model_validate({**_form_of(campaign, changes), **changes})
    content = await _content(db, who, whole)
    row = await db.fetchrow(rows.UPDATE_SQL, who.tenant_id, campaign_id, *content, campaign["updated_at"])
    if row is None:
        _require_draft(await rows.require_campaign(db, who, campaign_id))
        raise Problem(409, "conflict", "The campaign was edited just now. Look at it, then ask again.")
    if {**row, "updated_at": None} != {**campaign, "updated_at": None}:  # or who changes nothing would be its editor
        await note_editor(db, who, campaign_id)
    return dict(row)


def _require_draft(campaign: dict[str, Any]) -> None:
    if campaign["state"] != CampaignState.DRAFT or campaign["kind"] != "campaign":
        raise Problem(409, "wrong-state", f"The campaign is {campaign['state']}: only a draft can be edited.")


@router.get("", operation_id="listCampaigns")
async def listed(db: Db, who: ReadCampaigns, limit: Limit = 100, cursor: Cursor = None) -> dict[str, Any]:
    """Campaigns in order of id, without the mails that ask people to confirm a sign-up."""
    found = f"SELECT {rows.COLUMNS} FROM campaigns WHERE tenant_id = $1 AND kind <> 'confirmation'"
    return await page_of(db, who.tenant_id, found, limit, cursor)


@router.get("/{campaign_id}", operation_id="getCampaign")
async def get(db: Db, who: ReadCampaigns, campaign_id: Id) -> dict[str, Any]:
    """One campaign."""
    return await rows.require_campaign(db, who, campaign_id)
