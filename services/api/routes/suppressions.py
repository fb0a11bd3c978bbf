"""Suppressions: addresses and domains that get no mail; looked at by the gate at the moment of sending.

Promises: from the commit on the gate lets nothing through to them. What is lifted by hand for a mailbox that had
bounced puts its subscriptions back to what they were; an expired suppression counts for nothing at once, and is removed
(with the same effect) within ten minutes.
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import AwareDatetime, Field

from hayabin.database import subscriptions
from hayabin.domain.suppression import SuppressionReason
from services.api import suppression_rows as rows
from services.api.access import Db, ReadSuppressions, WriteSuppressions
from services.api.consent_form import source_of
from services.api.forms import Form, Line
from services.api.masking import shown
from services.api.paging import Limit
from services.api.problems import not_found
from services.api.routes.lists import require_list
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/suppressions", tags=["suppressions"], route_class=TransactionRoute)
ListId = Annotated[int, Query(ge=0, le=2**63 - 1)]


class SuppressionForm(Form):
    """Addresses and whole domains to suppress, for one list or (`list_id` 0) for every mail."""

    emails: Annotated[list[Line] | None, Field(min_length=1, max_length=1000)] = None
    domains: Annotated[
        list[Line] | None, Field(min_length=1, max_length=1000, description="All their addresses; not those below them")
    ] = None
    list_id: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    reason: Annotated[Literal["manual", "imported"], Field(description="`imported`: it comes from another system")] = (
        "manual"
    )
    expires_at: rows.Later | None = None


@router.post("", status_code=201, operation_id="suppress")
async def suppress(db: Db, who: WriteSuppressions, form: SuppressionForm) -> dict[str, int]:
    """Suppress addresses; from the commit on the gate lets nothing through to them.

    One that is suppressed already stays so for as long as it was, or longer: `PATCH` and `DELETE` end it sooner.
    """
    keys = rows.keys_of(form.emails, form.domains)
    if form.list_id:
        await require_list(db, who, form.list_id)
    reason = SuppressionReason(form.reason)
    return await rows.add(db, who.tenant_id, keys, form.list_id, reason, form.expires_at)


@router.get("", operation_id="listSuppressions")
async def listed(
    db: Db,
    who: ReadSuppressions,
    request: Request,
    reason: Annotated[SuppressionReason | None, Query(description="Only those of this reason")] = None,
    domain: Annotated[
        str | None, Query(min_length=1, max_length=255, description="Only addresses of this domain, and itself")
    ] = None,
    source: Annotated[str | None, Query(min_length=1, max_length=200, description="Only those from there")] = None,
    list_id: Annotated[int | None, Query(ge=0, le=2**63 - 1, description="Only those of this list")] = None,
    expires_before: Annotated[AwareDatetime | None, Query(description="Only those that end before")] = None,
    limit: Limit = 100,
    cursor: rows.LongCursor = None,
) -> dict[str, Any]:
    """Suppressed addresses and domains (`@example.jp`) in alphabetical order, with whatever you filter by.

    Of who was erased, `erased` is true and `email` null.
    """
    which = rows.Which(reason=reason, domain=domain, source=source, list_id=list_id, expires_before=expires_before)
    place = rows.Place(request, who)
    found = await rows.page_of(db, who.tenant_id, which, place.after(cursor), limit + 1)
    return place.page(found, limit)


@router.get("/{email:path}", operation_id="getSuppression")
async def get(db: Db, who: ReadSuppressions, email: str) -> dict[str, Any]:
    """Whether an address (or `@` and a domain) is suppressed, for what and why.

    Its domain is looked for too, and what holds for the whole platform (`scope`).
    """
    key = rows.key_of(email, "path:email")
    found = await rows.standing(db, who.tenant_id, key)
    if not found:
        raise not_found("suppression")
    return shown({"email": key, "suppressions": [shown(row, who, frozenset()) for row in found]}, who, frozenset())


@router.patch("/{email:path}", operation_id="changeSuppression")
async def change(
    db: Db, who: WriteSuppressions, email: str, form: rows.SuppressionChange, list_id: ListId = 0
) -> dict[str, Any]:
    """Say when a suppression ends by itself; null: never."""
    row = await rows.change(db, who.tenant_id, rows.key_of(email, "path:email"), list_id, form.expires_at)
    if row is None:
        raise not_found("suppression")
    return shown(row, who, frozenset())


@router.delete("/{email:path}", status_code=204, operation_id="unsuppress")
async def delete(db: Db, who: WriteSuppressions, email: str, list_id: ListId = 0) -> None:
    """Let an address (or `@` and a domain) have mail again.

    Who was `bounced` on lists for it stands there as before the bounce; who unsubscribed or complained stays off them.
    """
    key = rows.key_of(email, "path:email")
    reason = await rows.remove(db, who.tenant_id, key, list_id)
    if reason is None:
        raise not_found("suppression")
    if reason == SuppressionReason.HARD_BOUNCE:
        await subscriptions.reinstate(db, who.tenant_id, [key], source_of(who))
