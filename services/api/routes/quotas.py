"""Quotas of a tenant: what they are, what is used, when they begin anew."""

from typing import Any

from fastapi import APIRouter

from services.api import quotas
from services.api.access import Db, ReadCampaigns
from services.api.launch_checks import settings_of
from services.api.quotas import Quota
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/quotas", tags=["quotas"], route_class=TransactionRoute)


@router.get("", operation_id="getQuotas")
async def get(db: Db, who: ReadCampaigns) -> dict[str, Any]:
    """Mails of this day and this month (UTC), and requests that send a second; `null` is any number.

    The requests are those of all keys of the tenant, whichever API process answers them. A launch takes what it is
    counted to send; when its audience is in the ledger, what it will really send.
    """
    settings = await settings_of(db, who.tenant_id)
    day, month = await quotas.quotas_of(db, who.tenant_id, settings)
    return {"day": _shown(day), "month": _shown(month), "per_s": {"limit": settings.quota_per_s or None}}


def _shown(quota: Quota) -> dict[str, Any]:
    return {
        "limit": quota.limit or None,
        "used": quota.used,
        "remaining": quota.remaining,
        "resets_at": quota.resets_at,
    }
