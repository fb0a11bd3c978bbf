"""Duplicates: who may be one person, and making one contact of two."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from hayabin.database import duplicates, merging
from hayabin.database.tenancy import as_services
from services.api.access import Db, ReadContacts, Scope, WriteContacts, require_scope
from services.api.forms import Form, Id, Reference
from services.api.masking import personal_names, shown
from services.api.paging import Limit, cursor_of, ids_after, text_after
from services.api.problems import Problem, not_found
from services.api.routes import contact_rows as rows
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/contacts", tags=["contacts"], route_class=TransactionRoute)
SHOWN_EACH = 20
GroupCursor = Annotated[str | None, Query(max_length=400, description="`next_cursor` of the page before")]
"""Longer than others: it may have an address in it."""


class MergeForm(Form):
    """Which contact goes, and whose values count where both have one."""

    from_id: Annotated[Reference, Field(alias="from")]
    prefer: Literal["kept", "from"] = "kept"


@router.get("/duplicates", operation_id="listDuplicates")
async def listed(
    db: Db,
    who: ReadContacts,
    limit: Limit = 100,
    cursor: GroupCursor = None,
    by: Annotated[Literal["address", "attribute"], Query()] = "address",
    attribute: Annotated[str | None, Query(max_length=100, description="Such as a telephone number")] = None,
) -> dict[str, Any]:
    """Groups of contacts that may be one person; takes `contacts:read_personal`. A person decides, nothing is merged.

    `by=address`: addresses that differ in a plus-tag alone, or, at Gmail, in dots. `by=attribute`: the same name,
    whatever its spaces and letter case, and the same value of `attribute`; for this all contacts are read for each
    page. A page may have fewer groups than `limit`, or none: go on until `next_cursor` is null. Of a group 20 are
    shown; `contacts` counts all.
    """
    require_scope(who, Scope.CONTACTS_READ_PERSONAL)
    if (by == "attribute") != bool(attribute) or "\x00" in (attribute or ""):
        errors = [{"pointer": "query:attribute", "message": "goes with by=attribute, and only with that"}]
        raise Problem(422, "invalid-request", "What is to be the same?", errors=errors)
    async with as_services(db):
        groups = await _groups(db, who.tenant_id, attribute, cursor, limit)
    ids = [contact_id for group in groups.found for contact_id in group.ids]
    contacts = await db.fetch(
        f"SELECT {rows.COLUMNS} FROM contacts WHERE tenant_id = $1 AND id = ANY($2) ORDER BY id", who.tenant_id, ids
    )
    by_id = {row["id"]: dict(row) for row in contacts}
    items = [
        {"contacts": group.contacts, "items": [by_id[found_id] for found_id in group.ids if found_id in by_id]}
        for group in groups.found
    ]
    return {"items": items, "next_cursor": None if groups.next_after is None else cursor_of(groups.next_after)}


async def _groups(db: Db, tenant_id: int, attribute: str | None, cursor: str | None, limit: int) -> duplicates.Groups:
    if attribute is None:
        return await duplicates.by_mailbox(db, tenant_id, text_after(cursor), limit, SHOWN_EACH)
    value, name = ids_after(cursor, 2)
    return await duplicates.by_attribute(db, tenant_id, attribute, (value, name), limit, SHOWN_EACH)


@router.post("/{contact_id}/merge", operation_id="mergeContacts")
async def merge(db: Db, who: WriteContacts, contact_id: Id, form: MergeForm) -> dict[str, Any]:
    """Merge another contact (`from`) into this one, which keeps its address; the other is deleted.

    Name, stage, time zone and attributes: this contact's own count, and what it lacks comes from the other
    (`"prefer": "from"`: the other way round). On a list, whoever complained, unsubscribed or bounced stays so. History
    goes over; what was sent stays with the address that it went to, and suppressions of both addresses stay.
    """
    if form.from_id == contact_id:
        errors = [{"pointer": "#/from", "message": "the contact itself"}]
        raise Problem(422, "same-contact", "A contact cannot be merged with itself.", errors=errors)
    merge_of = merging.Merge(
        tenant_id=who.tenant_id,
        kept_id=contact_id,
        gone_id=form.from_id,
        prefer_gone=form.prefer == "from",
        actor=rows.actor_of(who),
    )
    if not await merging.merge(db, merge_of):
        raise not_found("contact")
    row = await db.fetchrow(
        f"SELECT {rows.COLUMNS} FROM contacts WHERE id = $1 AND tenant_id = $2", contact_id, who.tenant_id
    )
    return shown(row or {}, who, await personal_names(db, who))
