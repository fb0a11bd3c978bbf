"""Campaigns: created, tried, launched, paused, resumed, cancelled; what became of them."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Query
from pydantic import Field

from hayabin.database import launch as launching
from hayabin.database.counters import read_counters
from hayabin.domain.campaign import CampaignState
from hayabin.domain.message import OPEN, MessageState
from hayabin.telemetry.tracing import current_traceparent
from services.api.access import Db, Principal, ReadCampaigns, SendCampaigns, WriteCampaigns
from services.api.forms import Attributes, Form, Id, Line, Moment, Name, Reference, address_of
from services.api.paging import Cursor, Limit, after, page
from services.api.problems import Problem, not_found
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/campaigns", tags=["campaigns"], route_class=TransactionRoute)
_COLUMNS = (
    'id, name, class AS "class", kind, state, state_reason, template_version_id, list_id, domain_id, from_name, '
    "from_address, reply_to, pool, merge_policy, schedule_at, send_by, created_at, updated_at, launched_at, "
    "completed_at, audience"
)
_FINAL = sorted(set(MessageState) - OPEN)
_EXAMPLE = {
    "name": "November",
    "template_version_id": 1,
    "list_id": 1,
    "from_name": "サンプル商事",
    "from_address": "news@mail.example.jp",
    "pool": "main",
}


class CampaignForm(Form):
    """A campaign, as a draft."""

    name: Name
    template_version_id: Reference
    list_id: Reference
    from_name: Line
    from_address: Line
    reply_to: Line = ""
    pool: Line = "main"
    message_class: Annotated[Literal["bulk", "transactional"], Field(alias="class")] = "bulk"
    merge_policy: Literal["fallback", "skip", "block"] = "fallback"
    send_by: Moment | None = None


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


async def _sender(db: Db, who: Principal, address_text: str) -> tuple[str, int]:
    address = address_of(address_text, "#/from_address")
    domain_id = await db.fetchval(
        "SELECT id FROM domains WHERE tenant_id = $1 AND name = $2", who.tenant_id, address.domain
    )
    if domain_id is None:
        raise Problem(
            422,
            "foreign-domain",
            f"{address.domain} is none of your sending domains: add it with POST /v1/domains.",
            errors=[{"pointer": "#/from_address", "message": "not one of your domains"}],
        )
    return address.given, domain_id


async def _check_references(db: Db, who: Principal, form: CampaignForm) -> None:
    published = await db.fetchrow(
        "SELECT v.published_at FROM template_versions v JOIN templates t ON t.id = v.template_id "
        "WHERE v.id = $1 AND t.tenant_id = $2",
        form.template_version_id,
        who.tenant_id,
    )
    errors = []
    if published is None:
        errors.append({"pointer": "#/template_version_id", "message": "there is no such version"})
    elif published["published_at"] is None:
        errors.append({"pointer": "#/template_version_id", "message": "this version is a draft: publish it first"})
    if not await db.fetchval("SELECT id FROM lists WHERE id = $1 AND tenant_id = $2", form.list_id, who.tenant_id):
        errors.append({"pointer": "#/list_id", "message": "there is no such list"})
    if not await db.fetchval("SELECT name FROM ip_pools WHERE name = $1", form.pool):
        errors.append({"pointer": "#/pool", "message": "there is no such pool"})
    if errors:
        raise Problem(422, "invalid-request", "The campaign names what is not there.", errors=errors)


@router.post("", status_code=201, operation_id="createCampaign")
async def create(
    db: Db, who: WriteCampaigns, form: Annotated[CampaignForm, Body(examples=[_EXAMPLE])]
) -> dict[str, Any]:
    """Create a draft."""
    from_address, domain_id = await _sender(db, who, form.from_address)
    if form.reply_to:
        address_of(form.reply_to, "#/reply_to")
    await _check_references(db, who, form)
    row = await db.fetchrow(
        f"""
        INSERT INTO campaigns (tenant_id, name, class, template_version_id, list_id, domain_id, from_name, from_address,
                               reply_to, pool, merge_policy, send_by)
        VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12) RETURNING {_COLUMNS}""",
        who.tenant_id,
        form.name,
        form.message_class,
        form.template_version_id,
        form.list_id,
        domain_id,
        form.from_name,
        from_address,
        form.reply_to,
        form.pool,
        form.merge_policy,
        form.send_by,
    )
    return dict(row or {})


@router.put("/{campaign_id}", operation_id="replaceCampaign")
async def replace(db: Db, who: WriteCampaigns, campaign_id: Id, form: CampaignForm) -> dict[str, Any]:
    """Replace the content of a draft."""
    campaign = await get(db, who, campaign_id)
    if campaign["state"] != CampaignState.DRAFT:
        raise Problem(409, "wrong-state", f"The campaign is {campaign['state']}: only a draft can be edited.")
    from_address, domain_id = await _sender(db, who, form.from_address)
    await _check_references(db, who, form)
    row = await db.fetchrow(
        f"""
        UPDATE campaigns SET name = $3, class = $4, template_version_id = $5, list_id = $6, domain_id = $7,
            from_name = $8, from_address = $9, reply_to = $10, pool = $11, merge_policy = $12, send_by = $13,
            updated_at = now()
        WHERE id = $2 AND tenant_id = $1 AND state = 'draft' RETURNING {_COLUMNS}""",
        who.tenant_id,
        campaign_id,
        form.name,
        form.message_class,
        form.template_version_id,
        form.list_id,
        domain_id,
        form.from_name,
        from_address,
        form.reply_to,
        form.pool,
        form.merge_policy,
        form.send_by,
    )
    if row is None:
        raise Problem(409, "wrong-state", "The campaign was launched meanwhile: only a draft can be edited.")
    return dict(row)


@router.get("", operation_id="listCampaigns")
async def listed(db: Db, who: ReadCampaigns, limit: Limit = 100, cursor: Cursor = None) -> dict[str, Any]:
    """Campaigns in order of id."""
    rows = await db.fetch(
        f"SELECT {_COLUMNS} FROM campaigns WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3",
        who.tenant_id,
        after(cursor),
        limit + 1,
    )
    return page(rows, limit)


@router.get("/{campaign_id}", operation_id="getCampaign")
async def get(db: Db, who: ReadCampaigns, campaign_id: Id) -> dict[str, Any]:
    """One campaign."""
    row = await db.fetchrow(
        f"SELECT {_COLUMNS} FROM campaigns WHERE id = $1 AND tenant_id = $2", campaign_id, who.tenant_id
    )
    if row is None:
        raise not_found("campaign")
    return dict(row)


@router.get("/{campaign_id}/audience", operation_id="countAudience")
async def audience(db: Db, who: ReadCampaigns, campaign_id: Id) -> dict[str, int]:
    """Who would be in the audience now, and how many of them would be suppressed."""
    await get(db, who, campaign_id)
    row = await db.fetchrow(
        """
        SELECT count(*) AS audience, count(*) FILTER (WHERE EXISTS (
            SELECT 1 FROM suppressions s WHERE s.tenant_id = p.tenant_id AND s.address_key = p.address_key
              AND s.list_id IN (0, c.list_id) AND (s.expires_at IS NULL OR s.expires_at > now()))) AS suppressed
        FROM campaigns c JOIN list_members m ON m.list_id = c.list_id AND m.state = 'subscribed'
        JOIN contacts p ON p.id = m.contact_id WHERE c.id = $1""",
        campaign_id,
    )
    return dict(row or {})


async def _require_verified(db: Db, domain_id: int, *, override: bool) -> None:
    row = await db.fetchrow("SELECT name, verified_at FROM domains WHERE id = $1", domain_id)
    if row is not None and row["verified_at"] is None and not override:
        raise Problem(
            409,
            "unverified-domain",
            f"{row['name']} is not verified: publish its DNS records and POST /v1/domains/{domain_id}/verify, or send "
            '{"allow_unverified_domain": true}.',
        )


@router.post("/{campaign_id}/launch", operation_id="launchCampaign")
async def launch(
    db: Db, who: SendCampaigns, campaign_id: Id, form: Annotated[LaunchForm | None, Body()] = None
) -> dict[str, Any]:
    """Launch now: the audience is in the ledger when this answers."""
    campaign = await get(db, who, campaign_id)
    await _require_verified(db, campaign["domain_id"], override=form is not None and form.allow_unverified_domain)
    await launching.launch(db, campaign_id, tenant_id=who.tenant_id, traceparent=current_traceparent())
    return await get(db, who, campaign_id)


@router.post("/{campaign_id}/schedule", operation_id="scheduleCampaign")
async def schedule(db: Db, who: SendCampaigns, campaign_id: Id, form: ScheduleForm) -> dict[str, Any]:
    """Launch at a time; what is past `send_by` then is held for a person, never fired late."""
    campaign = await get(db, who, campaign_id)
    if form.send_by is not None and form.send_by <= form.schedule_at:
        raise Problem(
            422,
            "invalid-request",
            "The deadline is before the launch.",
            errors=[{"pointer": "#/send_by", "message": "must be after schedule_at"}],
        )
    await _require_verified(db, campaign["domain_id"], override=form.allow_unverified_domain)
    await launching.change_state(db, campaign_id, who.tenant_id, CampaignState.SCHEDULED)
    await db.execute(
        "UPDATE campaigns SET schedule_at = $2, send_by = COALESCE($3, send_by) WHERE id = $1",
        campaign_id,
        form.schedule_at,
        form.send_by,
    )
    return await get(db, who, campaign_id)


@router.post("/{campaign_id}/pause", operation_id="pauseCampaign")
async def pause(db: Db, who: SendCampaigns, campaign_id: Id) -> dict[str, Any]:
    """No new SMTP transaction begins after this answers, but for those claimed already."""
    await launching.change_state(db, campaign_id, who.tenant_id, CampaignState.PAUSED, "by request")
    return await get(db, who, campaign_id)


@router.post("/{campaign_id}/resume", operation_id="resumeCampaign")
async def resume(db: Db, who: SendCampaigns, campaign_id: Id) -> dict[str, Any]:
    """Go on with the rest; nobody gets it twice."""
    campaign = await get(db, who, campaign_id)
    if campaign["state"] != CampaignState.PAUSED:
        raise Problem(409, "wrong-state", f"The campaign is {campaign['state']}: only a paused one can be resumed.")
    await launching.change_state(db, campaign_id, who.tenant_id, CampaignState.SENDING)
    return await get(db, who, campaign_id)


@router.post("/{campaign_id}/cancel", operation_id="cancelCampaign")
async def cancel(db: Db, who: SendCampaigns, campaign_id: Id) -> dict[str, Any]:
    """Stop for good; what was due becomes cancelled."""
    await launching.change_state(db, campaign_id, who.tenant_id, CampaignState.CANCELLED, "by request")
    return await get(db, who, campaign_id)


@router.post("/{campaign_id}/test", status_code=202, operation_id="testCampaign")
async def test(db: Db, who: SendCampaigns, campaign_id: Id, form: TestForm) -> dict[str, Any]:
    """Send the campaign's mail to up to ten addresses: a campaign of kind `test`, on the transactional belt."""
    await get(db, who, campaign_id)
    people = []
    for number, text in enumerate(form.to):
        address = address_of(text, f"#/to/{number}")
        name = str(form.variables.get("name", ""))
        people.append(launching.Person(address.given, address.wire, address.key, name, form.variables))
    test_id = await db.fetchval(
        "INSERT INTO campaigns (tenant_id, name, class, kind, template_version_id, domain_id, from_name, from_address, "
        "reply_to, pool, merge_policy) SELECT tenant_id, name, 'transactional', 'test', template_version_id, "
        "domain_id, from_name, from_address, reply_to, pool, merge_policy FROM campaigns WHERE id = $1 RETURNING id",
        campaign_id,
    )
    await launching.launch_to(db, test_id, people, tenant_id=who.tenant_id, traceparent=current_traceparent())
    return await get(db, who, test_id)


@router.get("/{campaign_id}/stats", operation_id="getCampaignStats")
async def stats(db: Db, who: ReadCampaigns, campaign_id: Id) -> dict[str, Any]:
    """What happened so far, from counters kept with every change; the equation is part of the answer."""
    campaign = await get(db, who, campaign_id)
    counted = await read_counters(db, campaign_id)
    states = {state.value: counted.get(state, 0) for state in _FINAL}
    accepted = states["accepted"] + states["complained"]
    failed = states["bounced"] + states["failed"]
    due = campaign["audience"] - sum(states.values())
    bounced = {name.partition(":")[2]: n for name, n in counted.items() if name.startswith("bounced:") and n}
    deferred = {name.partition(":")[2]: n for name, n in counted.items() if name.startswith("deferred:") and n}
    return {
        "campaign_id": campaign_id,
        "state": campaign["state"],
        "audience": campaign["audience"],
        "accepted": accepted,
        "failed": failed,
        "suppressed": states["suppressed"],
        "cancelled": states["cancelled"],
        "expired": states["expired"],
        "unknown": states["unknown"],
        "due": due,
        "bounced": states["bounced"],
        "bounced_by_reason": bounced,
        "render_failed": states["failed"],
        "complained": states["complained"],
        "deferrals": counted.get("deferrals", 0),
        "deferrals_by_reason": deferred,
        "accepted_after_retry": counted.get("accepted_after_retry", 0),
        "opened": counted.get("opened", 0),
        "opens": counted.get("opens", 0),
        "clicked": counted.get("clicked", 0),
        "clicks": counted.get("clicks", 0),
        "unsubscribed": counted.get("unsubscribed", 0),
    }


@router.get("/{campaign_id}/messages", operation_id="listCampaignMessages")
async def messages(
    db: Db,
    who: ReadCampaigns,
    campaign_id: Id,
    limit: Limit = 100,
    cursor: Cursor = None,
    state: Annotated[MessageState | None, Query(description="Only messages in this state")] = None,
) -> dict[str, Any]:
    """Every recipient of the campaign and what is known of each."""
    await get(db, who, campaign_id)
    rows = await db.fetch(
        "SELECT m.id, r.wire AS recipient, r.contact_id, m.state, m.attempt AS attempts, m.next_attempt_at, m.reason, "
        "m.changed_at FROM messages m JOIN recipients r ON r.message_id = m.id WHERE m.campaign_id = $1 AND m.id > $2 "
        "AND ($4::text IS NULL OR m.state = $4) ORDER BY m.id LIMIT $3",
        campaign_id,
        after(cursor),
        limit + 1,
        state,
    )
    return page(rows, limit)
