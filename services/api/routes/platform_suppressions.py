"""Suppressions of the whole platform: addresses and domains that no tenant mails to.

Promises: from the commit on no gate lets anything through to them, whoever sends. Tenants see that an address is
suppressed by the platform and why, not who said so.
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import Field

from hayabin.database.suppressing import ALL_LISTS, PLATFORM_TENANT
from hayabin.domain.suppression import SuppressionReason
from services.api import suppression_rows as rows
from services.api.access import Db, PlatformAdmin
from services.api.forms import Form, Line
from services.api.masking import shown
from services.api.paging import Limit
from services.api.problems import not_found
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/platform/suppressions", tags=["suppressions"], route_class=TransactionRoute)


class PlatformSuppressionForm(Form):
    """Addresses and whole domains that nobody mails to."""

    emails: Annotated[list[Line] | None, Field(min_length=1, max_length=1000)] = None
    domains: Annotated[list[Line] | None, Field(min_length=1, max_length=1000)] = None
    reason: Literal["manual", "imported", "complaint", "hard_bounce"] = "manual"
    expires_at: rows.Later | None = None


@router.post("", status_code=201, operation_id="suppressForAll")
async def suppress(db: Db, _who: PlatformAdmin, form: PlatformSuppressionForm) -> dict[str, int]:
    """Suppress addresses or domains for every tenant."""
    keys = rows.keys_of(form.emails, form.domains)
    return await rows.add(db, PLATFORM_TENANT, keys, ALL_LISTS, SuppressionReason(form.reason), form.expires_at)


@router.get("", operation_id="listPlatformSuppressions")
async def listed(
    db: Db,
    who: PlatformAdmin,
    request: Request,
    reason: Annotated[SuppressionReason | None, Query(description="Only those of this reason")] = None,
    domain: Annotated[
        str | None, Query(min_length=1, max_length=255, description="Only addresses of this domain, and itself")
    ] = None,
    limit: Limit = 100,
    cursor: rows.LongCursor = None,
) -> dict[str, Any]:
    """What is suppressed for every tenant, in alphabetical order."""
    place = rows.Place(request, who)
    which = rows.Which(reason=reason, domain=domain)
    return place.page(await rows.page_of(db, PLATFORM_TENANT, which, place.after(cursor), limit + 1), limit)


@router.patch("/{email:path}", operation_id="changePlatformSuppression")
async def change(db: Db, who: PlatformAdmin, email: str, form: rows.SuppressionChange) -> dict[str, Any]:
    """Say when a suppression of the platform ends by itself; null: never."""
    key = rows.key_of(email, "path:email")
    row = await rows.change(db, PLATFORM_TENANT, key, ALL_LISTS, form.expires_at)
    if row is None:
        raise not_found("suppression")
    return shown(row, who, frozenset())


@router.delete("/{email:path}", status_code=204, operation_id="unsuppressForAll")
async def delete(db: Db, _who: PlatformAdmin, email: str) -> None:
    """Let tenants mail to an address (or `@` and a domain) again, as far as each of them does."""
    if await rows.remove(db, PLATFORM_TENANT, rows.key_of(email, "path:email"), ALL_LISTS) is None:
        raise not_found("suppression")
