"""Suppressions: addresses that get no mail; looked at by the gate at the moment of sending."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from hayabin.domain.suppression import SuppressionReason
from services.api.access import Db, ReadSuppressions, WriteSuppressions
from services.api.forms import Form, Line, Moment, address_of
from services.api.paging import Cursor, Limit, page, text_after
from services.api.problems import not_found
from services.api.routes.lists import require_list
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/suppressions", tags=["suppressions"], route_class=TransactionRoute)
_COLUMNS = "address_key AS email, list_id, reason, source, created_at, expires_at"


class SuppressionForm(Form):
    """Addresses to suppress, for one list or (`list_id` 0) for every mail."""

    emails: Annotated[list[Line], Field(min_length=1, max_length=1000)]
    list_id: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    expires_at: Moment | None = None


@router.post("", status_code=201, operation_id="suppress")
async def suppress(db: Db, who: WriteSuppressions, form: SuppressionForm) -> dict[str, int]:
    """Suppress addresses; from the commit on the gate lets nothing through to them."""
    keys = sorted({address_of(text, f"#/emails/{number}").key for number, text in enumerate(form.emails)})
    if form.list_id:
        await require_list(db, who, form.list_id)
    rows = await db.fetch(
        "INSERT INTO suppressions (tenant_id, address_key, list_id, reason, source, expires_at) "
        "SELECT $1, key, $3, $4, 'api', $5 FROM unnest($2::text[]) AS k(key) "
        "ON CONFLICT (tenant_id, address_key, list_id) DO UPDATE SET expires_at = excluded.expires_at "
        "RETURNING (xmax = 0) AS added",
        who.tenant_id,
        keys,
        form.list_id,
        SuppressionReason.MANUAL,
        form.expires_at,
    )
    return {"added": sum(row["added"] for row in rows), "known": sum(not row["added"] for row in rows)}


@router.get("", operation_id="listSuppressions")
async def listed(db: Db, who: ReadSuppressions, limit: Limit = 100, cursor: Cursor = None) -> dict[str, Any]:
    """Suppressed addresses in alphabetical order."""
    key, _, list_id = text_after(cursor).rpartition(" ")
    rows = await db.fetch(
        f"SELECT {_COLUMNS}, address_key || ' ' || list_id AS place FROM suppressions WHERE tenant_id = $1 "
        "AND (address_key, list_id) > ($2, $3) ORDER BY address_key, list_id LIMIT $4",
        who.tenant_id,
        key,
        int(list_id) if list_id.isascii() and list_id.isdecimal() else -1,
        limit + 1,
    )
    answer = page(rows, limit, key="place")
    for item in answer["items"]:
        del item["place"]
    return answer


@router.get("/{email}", operation_id="getSuppression")
async def get(db: Db, who: ReadSuppressions, email: str) -> dict[str, Any]:
    """Whether an address is suppressed, for what and why."""
    key = address_of(email, "path:email").key
    rows = await db.fetch(
        f"SELECT {_COLUMNS} FROM suppressions WHERE tenant_id = $1 AND address_key = $2 ORDER BY list_id",
        who.tenant_id,
        key,
    )
    if not rows:
        raise not_found("suppression")
    return {"email": key, "suppressions": [dict(row) for row in rows]}


@router.delete("/{email}", status_code=204, operation_id="unsuppress")
async def delete(
    db: Db, who: WriteSuppressions, email: str, list_id: Annotated[int, Query(ge=0, le=2**63 - 1)] = 0
) -> None:
    """Let an address have mail again."""
    key = address_of(email, "path:email").key
    if not await db.fetchval(
        "DELETE FROM suppressions WHERE tenant_id = $1 AND address_key = $2 AND list_id = $3 RETURNING 1",
        who.tenant_id,
        key,
        list_id,
    ):
        raise not_found("suppression")
