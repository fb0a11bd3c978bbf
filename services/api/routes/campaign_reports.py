"""What became of a campaign."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from hayabin.database.counters import read_counters
from hayabin.domain.message import OPEN, MessageState
from services.api.access import Db, ReadCampaigns
from services.api.forms import Id
from services.api.masking import shown
from services.api.paging import Cursor, Limit, after, page
from services.api.routes import campaign_rows as rows
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/campaigns/{campaign_id}", tags=["campaigns"], route_class=TransactionRoute)
_FINAL = sorted(set(MessageState) - OPEN)
_COUNTED = ("deferrals", "accepted_after_retry", "opened", "opens", "clicked", "clicks", "unsubscribed")


@router.get("/stats", operation_id="getCampaignStats")
async def stats(db: Db, who: ReadCampaigns, campaign_id: Id) -> dict[str, Any]:
    """What happened so far, from counters kept with every change; the equation is part of the answer:
    accepted + failed + suppressed + cancelled + expired + unknown + due = audience.

    While `filling` is true, more of the audience is to come, and `audience` grows.
    """  # noqa: D205 - the reference shows all of it
    campaign = await rows.require_campaign(db, who, campaign_id)
    counted = await read_counters(db, campaign_id)
    states = {state.value: counted.get(state, 0) for state in _FINAL}
    return {
        "campaign_id": campaign_id,
        "state": campaign["state"],
        "audience": campaign["audience"],
        "filling": campaign["filling"],
        "accepted": states["accepted"] + states["complained"],
        "failed": states["bounced"] + states["failed"],
        "suppressed": states["suppressed"],
        "suppressed_by_reason": _suppressed(counted),
        "cancelled": states["cancelled"],
        "expired": states["expired"],
        "unknown": states["unknown"],
        "due": campaign["audience"] - sum(states.values()),
        "bounced": states["bounced"],
        "bounced_by_reason": _by_reason(counted, "bounced"),
        "render_failed": states["failed"],
        "render_failed_by_reason": _by_reason(counted, "failed"),
        "complained": states["complained"],
        "deferrals_by_reason": _by_reason(counted, "deferred"),
        **{name: counted.get(name, 0) for name in _COUNTED},
    }


def _suppressed(counted: dict[str, int]) -> dict[str, int]:
    """Who was left out when the audience entered the ledger, by reason; all others were suppressed at the gate."""
    found = _by_reason(counted, "suppressed")
    later = counted.get("suppressed", 0) - sum(found.values())
    return {**found, "suppressed": found.get("suppressed", 0) + later} if later > 0 else found


def _by_reason(counted: dict[str, int], what: str) -> dict[str, int]:
    prefix = f"{what}:"
    return {name.removeprefix(prefix): n for name, n in sorted(counted.items()) if name.startswith(prefix) and n}


@router.get("/messages", operation_id="listCampaignMessages")
async def messages(
    db: Db,
    who: ReadCampaigns,
    campaign_id: Id,
    limit: Limit = 100,
    cursor: Cursor = None,
    state: Annotated[MessageState | None, Query(description="Only messages in this state")] = None,
) -> dict[str, Any]:
    """Every recipient of the campaign and what is known of each."""
    await rows.require_campaign(db, who, campaign_id)
    found = await db.fetch(rows.MESSAGES_SQL, campaign_id, after(cursor), limit + 1, state, who.tenant_id)
    answer = page(found, limit)
    return {**answer, "items": [shown(item, who, frozenset()) for item in answer["items"]]}
