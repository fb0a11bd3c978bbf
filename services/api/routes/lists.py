"""Lists, which are the topics that people subscribe to; who is on them: ``subscriptions``.

Promises: a list that something still uses (campaigns that may send, segments, sign-up forms) is not deleted. What was
agreed to and the history of who was on it outlive it.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Body
from pydantic import Field

from hayabin.database.engine import Connection
from hayabin.domain.consent import SubscriptionState
from services.api.access import Db, Principal, ReadContacts, WriteContacts
from services.api.forms import Form, Id, Line, Name
from services.api.paging import Cursor, Limit, page_of
from services.api.problems import Problem, not_found
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/lists", tags=["lists"], route_class=TransactionRoute)
_COLUMNS = "id, name, description, public, public_name, created_at"

_CHANGE_SQL = f"""
UPDATE lists l SET name = COALESCE($3, l.name), description = COALESCE($4, l.description),
    public = COALESCE($5, l.public), public_name = COALESCE($6, l.public_name)
WHERE l.id = $2 AND l.tenant_id = $1 RETURNING {_COLUMNS}"""

_USED_SQL = """
SELECT (SELECT count(*) FROM campaigns c
        WHERE c.tenant_id = $1 AND (c.state NOT IN ('completed', 'cancelled') OR (
            -- what is unknown may be sent again
            SELECT COALESCE(sum(k.n), 0) > 0 FROM (
                SELECT n FROM counters WHERE campaign_id = c.id AND name = 'unknown'
                UNION ALL SELECT n FROM counter_deltas WHERE campaign_id = c.id AND name = 'unknown') k))
          AND (c.list_id = $2 OR c.audience_definition -> 'include_lists' @> to_jsonb($2::bigint)
               OR c.audience_definition -> 'exclude_lists' @> to_jsonb($2::bigint))) AS campaigns,
       (SELECT count(*) FROM segments s WHERE s.tenant_id = $1
          AND jsonb_path_exists(s.rules, '$.**.list ? (@ == $id)', jsonb_build_object('id', $2::bigint))) AS segments,
       (SELECT count(*) FROM sign_up_forms f
        WHERE f.tenant_id = $1 AND f.list_ids @> ARRAY[$2::bigint]) AS "sign-up forms"
"""


class ListForm(Form):
    """A list."""

    name: Name
    description: Line = ""
    public: Annotated[bool, Field(description="Shown to recipients in their preference centre")] = False
    public_name: Annotated[Line, Field(description="What recipients read; empty: the name")] = ""


class ListChange(Form):
    """What changes of a list; what is left out stays."""

    name: Name | None = None
    description: Line | None = None
    public: bool | None = None
    public_name: Line | None = None


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
    """Create a list; its name is unique.

    Recipients see a `public` list in their preference centre, by its `public_name` and `description`.
    """
    row = await db.fetchrow(
        "INSERT INTO lists (tenant_id, name, description, public, public_name) VALUES ($1, $2, $3, $4, $5) "
        f"RETURNING {_COLUMNS}",
        who.tenant_id,
        form.name,
        form.description,
        form.public,
        form.public_name,
    )
    return dict(row or {})


@router.get("", operation_id="listLists")
async def listed(db: Db, who: ReadContacts, limit: Limit = 100, cursor: Cursor = None) -> dict[str, Any]:
    """Lists in order of id."""
    return await page_of(db, who.tenant_id, f"SELECT {_COLUMNS} FROM lists WHERE tenant_id = $1", limit, cursor)


@router.get("/{list_id}", operation_id="getList")
async def get(db: Db, who: ReadContacts, list_id: Id) -> dict[str, Any]:
    """One list, with how many are subscribed, and how many stand where."""
    row = await db.fetchrow(f"SELECT {_COLUMNS} FROM lists WHERE id = $1 AND tenant_id = $2", list_id, who.tenant_id)
    if row is None:
        raise not_found("list")
    states = await _states(db, list_id)
    return {**row, "subscribed": states[SubscriptionState.SUBSCRIBED], "states": states}


async def _states(db: Connection, list_id: int) -> dict[str, int]:
    rows = await db.fetch("SELECT state, count(*) AS n FROM list_members WHERE list_id = $1 GROUP BY state", list_id)
    return {state.value: 0 for state in SubscriptionState} | {row["state"]: row["n"] for row in rows}


@router.patch("/{list_id}", operation_id="changeList")
async def change(db: Db, who: WriteContacts, list_id: Id, form: Annotated[ListChange, Body()]) -> dict[str, Any]:
    """Change the name of a list, what it is, or whether recipients see it."""
    row = await db.fetchrow(
        _CHANGE_SQL, who.tenant_id, list_id, form.name, form.description, form.public, form.public_name
    )
    if row is None:
        raise not_found("list")
    return dict(row)


@router.delete("/{list_id}", status_code=204, operation_id="deleteList")
async def delete(db: Db, who: WriteContacts, list_id: Id) -> None:
    """Delete a list with who is on it; contacts, consents and the history of subscriptions stay.

    Refused (409 `list-in-use`) while campaigns that may still send, segments or sign-up forms use it.
    """
    if not await db.fetchval(
        "SELECT id FROM lists WHERE id = $1 AND tenant_id = $2 FOR UPDATE", list_id, who.tenant_id
    ):
        raise not_found("list")
    used = await db.fetchrow(_USED_SQL, who.tenant_id, list_id)
    users = [f"{n} {what}" for what, n in (used or {}).items() if n]
    if users:
        raise Problem(409, "list-in-use", f"The list is used by {', '.join(users)}.")
    await db.execute(
        "UPDATE campaigns SET list_id = NULL WHERE tenant_id = $1 AND list_id = $2", who.tenant_id, list_id
    )
    await db.execute("DELETE FROM lists WHERE id = $1 AND tenant_id = $2", list_id, who.tenant_id)
