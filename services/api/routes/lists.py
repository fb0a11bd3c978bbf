"""Lists and who is subscribed to them."""

from typing import Annotated, Any

from fastapi import APIRouter, Body
from pydantic import Field

from services.api.access import Db, Principal, ReadContacts, WriteContacts
from services.api.forms import Form, Id, Line, Name, Reference
from services.api.paging import Cursor, Limit, after, page
from services.api.problems import Problem, not_found
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/lists", tags=["lists"], route_class=TransactionRoute)


class ListForm(Form):
    """A list."""

    name: Name
    description: Line = ""


class MembersForm(Form):
    """Contacts to add or remove."""

    contact_ids: Annotated[list[Reference], Field(min_length=1, max_length=1000)]


async def require_list(db: Db, who: Principal, list_id: int) -> None:
    """404 unless the list is the tenant's."""
    if not await db.fetchval("SELECT id FROM lists WHERE id = $1 AND tenant_id = $2", list_id, who.tenant_id):
        raise not_found("list")


@router.post("", status_code=201, operation_id="createList")
async def create(
    db: Db,
    who: WriteContacts,
    form: Annotated[ListForm, Body(examples=[{"name": "newsletter", "description": "月刊"}])],
) -> dict[str, Any]:
    """Create a list; its name is unique."""
    row = await db.fetchrow(
        "INSERT INTO lists (tenant_id, name, description) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING "
        "RETURNING id, name, description, created_at",
        who.tenant_id,
        form.name,
        form.description,
    )
    if row is None:
        raise Problem(409, "name-taken", "There is a list of this name.")
    return dict(row)


@router.get("", operation_id="listLists")
async def listed(db: Db, who: ReadContacts, limit: Limit = 100, cursor: Cursor = None) -> dict[str, Any]:
    """Lists in order of id."""
    rows = await db.fetch(
        "SELECT id, name, description, created_at FROM lists WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3",
        who.tenant_id,
        after(cursor),
        limit + 1,
    )
    return page(rows, limit)


@router.get("/{list_id}", operation_id="getList")
async def get(db: Db, who: ReadContacts, list_id: Id) -> dict[str, Any]:
    """One list, with how many are subscribed."""
    row = await db.fetchrow(
        "SELECT l.id, l.name, l.description, l.created_at, "
        "(SELECT count(*) FROM list_members m WHERE m.list_id = l.id AND m.state = 'subscribed') AS subscribed "
        "FROM lists l WHERE l.id = $1 AND l.tenant_id = $2",
        list_id,
        who.tenant_id,
    )
    if row is None:
        raise not_found("list")
    return dict(row)


@router.get("/{list_id}/members", operation_id="listMembers")
async def members(db: Db, who: ReadContacts, list_id: Id, limit: Limit = 100, cursor: Cursor = None) -> dict[str, Any]:
    """Who is or was on a list, in order of contact id; `state` is `subscribed` or `unsubscribed`."""
    await require_list(db, who, list_id)
    rows = await db.fetch(
        # the page first: joined before, all contacts up to the cursor would be read
        "SELECT m.contact_id, c.address AS email, c.name, m.state, m.updated_at FROM ("
        "  SELECT contact_id, state, updated_at FROM list_members WHERE list_id = $1 AND contact_id > $2 "
        "  ORDER BY contact_id LIMIT $3) m JOIN contacts c ON c.id = m.contact_id ORDER BY m.contact_id",
        list_id,
        after(cursor),
        limit + 1,
    )
    return page(rows, limit, key="contact_id")


@router.post("/{list_id}/members", operation_id="addMembers")
async def add(db: Db, who: WriteContacts, list_id: Id, form: MembersForm) -> dict[str, int]:
    """Subscribe contacts; who has unsubscribed stays unsubscribed."""
    await require_list(db, who, list_id)
    rows = await db.fetch(
        "INSERT INTO list_members (list_id, contact_id) SELECT $1, id FROM contacts WHERE tenant_id = $2 "
        "AND id = ANY($3) ON CONFLICT DO NOTHING RETURNING contact_id",
        list_id,
        who.tenant_id,
        form.contact_ids,
    )
    return {"added": len(rows)}


@router.delete("/{list_id}/members/{contact_id}", status_code=204, operation_id="removeMember")
async def remove(db: Db, who: WriteContacts, list_id: Id, contact_id: Id) -> None:
    """Take a contact off a list."""
    await require_list(db, who, list_id)
    if not await db.fetchval(
        "DELETE FROM list_members WHERE list_id = $1 AND contact_id = $2 RETURNING 1", list_id, contact_id
    ):
        raise not_found("member")
