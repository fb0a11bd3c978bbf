"""The people of a tenant and their roles; they act with personal keys (``/v1/api-keys``)."""

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field

from hayabin.database.engine import Connection
from hayabin.domain.roles import RIGHTS, Role, UserState
from services.api import user_rows
from services.api.access import Db, TenantAdmin
from services.api.audit_trail import tell
from services.api.forms import Form, Id, Line, address_of
from services.api.paging import Cursor, Limit, page_of
from services.api.problems import Problem, not_found
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/users", tags=["users"], route_class=TransactionRoute)

AnyRole = Annotated[Role, Field(strict=False)]


class UserForm(Form):
    """A person."""

    email: Line
    name: Line = ""
    role: AnyRole


class UserChange(Form):
    """What is to be different."""

    name: Line | None = None
    role: AnyRole | None = None
    state: Annotated[UserState | None, Field(strict=False, description="`disabled`: their keys end at once")] = None


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "scopes": sorted(RIGHTS[Role(row["role"])])}


def last_admin() -> Problem:
    """409: nobody would be left."""
    return Problem(409, "last-admin", "This is the last active admin. Make somebody else admin first.")


@router.post("", status_code=201, operation_id="createUser")
async def create(request: Request, db: Db, who: TenantAdmin, form: UserForm) -> dict[str, Any]:
    """Add a person. There is no password: give them a personal key with `POST /v1/api-keys`.

    Roles: `viewer` (sees, personal data masked), `editor` (also writes contacts, templates, campaigns; sees whom),
    `approver` (viewer who approves), `sender` (viewer who launches, pauses, stops), `admin` (everything of the tenant).
    """
    email = address_of(form.email, "#/email")
    tell(request, role=form.role)
    try:
        return _shown(await user_rows.create(db, who.tenant_id, email, form.name, form.role))
    except user_rows.UserTaken as error:
        raise Problem(409, "name-taken", "There is a user with this address.") from error


@router.get("", operation_id="listUsers")
async def listed(db: Db, who: TenantAdmin, limit: Limit = 100, cursor: Cursor = None) -> dict[str, Any]:
    """Users in order of id; `scopes` are what their role may do, `last_seen_at` is exact to the minute."""
    answer = await page_of(
        db, who.tenant_id, f"SELECT {user_rows.COLUMNS} FROM users WHERE tenant_id = $1", limit, cursor
    )
    return {**answer, "items": [_shown(item) for item in answer["items"]]}


@router.get("/{user_id}", operation_id="getUser")
async def get(db: Db, who: TenantAdmin, user_id: Id) -> dict[str, Any]:
    """One user."""
    return _shown(await require_user(db, who.tenant_id, user_id))


async def require_user(db: Connection, tenant_id: int, user_id: int) -> dict[str, Any]:
    """The user.

    Raises:
        Problem: 404.
    """
    row = await db.fetchrow(
        f"SELECT {user_rows.COLUMNS} FROM users WHERE tenant_id = $1 AND id = $2", tenant_id, user_id
    )
    if row is None:
        raise not_found("user")
    return dict(row)


@router.patch("/{user_id}", operation_id="changeUser")
async def change(request: Request, db: Db, who: TenantAdmin, user_id: Id, form: UserChange) -> dict[str, Any]:
    """Change name, role or state; it holds from the next request of any of their keys on.

    The last active admin can be neither demoted nor disabled.
    """
    changed = user_rows.Change(name=form.name, role=form.role, state=form.state)
    try:
        row = await user_rows.change(db, who.tenant_id, user_id, changed)
    except user_rows.LastAdmin as error:
        raise last_admin() from error
    if row is None:
        raise not_found("user")
    tell(request, **form.model_dump(include={"role", "state"}, exclude_none=True))
    return _shown(row)


@router.delete("/{user_id}", status_code=204, operation_id="deleteUser")
async def delete(db: Db, who: TenantAdmin, user_id: Id) -> None:
    """Remove a person with all their keys. To keep them in the list, disable them instead."""
    try:
        removed = await user_rows.remove(db, who.tenant_id, user_id)
    except user_rows.LastAdmin as error:
        raise last_admin() from error
    if not removed:
        raise not_found("user")
