"""API keys of programs and of people: made, rotated, revoked; the secret is shown once."""

from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field

from hayabin.database.engine import Connection
from hayabin.domain.roles import RIGHTS, Role
from hayabin.domain.scope import Scope
from services.api import key_rows
from services.api.access import Db, NewKey, Principal, TenantAdmin, new_key
from services.api.audit_trail import tell
from services.api.forms import Form, Id, Line, Moment, Name, Reference
from services.api.paging import Cursor, Limit, page_of
from services.api.peer import networks_of
from services.api.problems import Problem, not_found
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/api-keys", tags=["api keys"], route_class=TransactionRoute)
MAX_OVERLAP_S = 30 * 24 * 3600
MAX_NETWORKS = 50


class KeyForm(Form):
    """A key of a program, or with `user_id` of a person."""

    name: Name
    scopes: Annotated[
        list[Annotated[Scope, Field(strict=False)]] | None,
        Field(min_length=1, max_length=50, description="A person's key has all of their role if left out"),
    ] = None
    user_id: Reference | None = None
    cidrs: Annotated[
        list[Line],
        Field(max_length=MAX_NETWORKS, description="Networks that it may be used from (IPv4, IPv6); none: anywhere"),
    ] = []
    expires_at: Moment | None = None


class RotateForm(Form):
    """How long both keys work."""

    overlap_s: Annotated[int, Field(ge=0, le=MAX_OVERLAP_S, description="0: the old key ends at once")]


@router.post("", status_code=201, operation_id="createApiKey")
async def create(request: Request, db: Db, who: TenantAdmin, form: KeyForm) -> dict[str, Any]:
    """Make a key. `key` is shown here, once; it is kept nowhere.

    It has no right that the key which makes it lacks; networks and expiry are its own. A person's key may do no more
    than their role, and what the role loses later the key loses at that moment.
    """
    scopes = await _granted(db, who, form)
    if form.expires_at is not None and await db.fetchval("SELECT $1::timestamptz <= now()", form.expires_at):
        raise _refused("#/expires_at", "is in the past")
    spec = key_rows.KeySpec(
        name=form.name,
        scopes=scopes,
        user_id=form.user_id,
        cidrs=_networks(form.cidrs),
        expires_at=form.expires_at,
    )
    key = new_key()
    tell(request, scopes=scopes, user_id=form.user_id)
    return _once(request, key, await key_rows.create(db, who.tenant_id, key, spec))


def _once(request: Request, key: NewKey, row: dict[str, Any]) -> dict[str, Any]:
    """The answer with the secret; what is kept for a replay of its Idempotency-Key is without."""
    request.state.shown_once = "key"
    return {**row, "key": key.shown}


def _refused(pointer: str, message: str) -> Problem:
    errors = [{"pointer": pointer, "message": message}]
    return Problem(422, "invalid-request", "This key cannot be made.", errors=errors)


def _require_own(who: Principal, scopes: Iterable[str]) -> None:
    """Nobody gives what they do not have."""
    more = sorted(scope for scope in scopes if scope not in who.scopes)
    if more:
        raise Problem(403, "missing-scope", f"You cannot give what your own key may not do: {', '.join(more)}.")


async def _granted(db: Connection, who: Principal, form: KeyForm) -> list[str]:
    """The scopes of the new key.

    Raises:
        Problem: 403 for more than the caller has, 422 for more than the role has, or an unknown user.
    """
    if form.user_id is None:
        if form.scopes is None:
            raise _refused("#/scopes", "say what the program may do")
        _require_own(who, form.scopes)
        return sorted(set(form.scopes))
    role = await db.fetchval("SELECT role FROM users WHERE tenant_id = $1 AND id = $2", who.tenant_id, form.user_id)
    if role is None:
        raise _refused("#/user_id", "there is no such user")
    rights = RIGHTS[Role(role)]
    if form.scopes is None:
        return sorted(scope for scope in rights if scope in who.scopes)
    for number, scope in enumerate(form.scopes):
        if scope not in rights:
            raise _refused(f"#/scopes/{number}", f"the role {role} has no {scope}")
    _require_own(who, form.scopes)
    return sorted(set(form.scopes))


def _networks(texts: list[str]) -> list[str]:
    found = []
    for number, text in enumerate(texts):
        try:
            found.append(str(networks_of([text])[0]))
        except ValueError as error:
            raise _refused(f"#/cidrs/{number}", str(error)) from error
    return found


@router.get("", operation_id="listApiKeys")
async def listed(db: Db, who: TenantAdmin, limit: Limit = 100, cursor: Cursor = None) -> dict[str, Any]:
    """Keys in order of id, revoked ones too; without their secrets. `last_used_at` is exact to the minute."""
    select = f"SELECT {key_rows.COLUMNS} FROM api_keys WHERE tenant_id = $1"
    return await page_of(db, who.tenant_id, select, limit, cursor)


@router.get("/{key_id}", operation_id="getApiKey")
async def get(db: Db, who: TenantAdmin, key_id: Id) -> dict[str, Any]:
    """One key, without its secret."""
    return await _require(db, who, key_id)


async def _require(db: Connection, who: Principal, key_id: int) -> dict[str, Any]:
    row = await key_rows.find(db, who.tenant_id, key_id)
    if row is None:
        raise not_found("key")
    return row


@router.post("/{key_id}/rotate", status_code=201, operation_id="rotateApiKey")
async def rotate(request: Request, db: Db, who: TenantAdmin, key_id: Id, form: RotateForm) -> dict[str, Any]:
    """Make a key in place of another, which works until `overlap_s` are over. `key` is shown here, once.

    The new one may do what the old one may, and `replaces` it; both are in the list.
    """
    _require_own(who, (await _require(db, who, key_id))["scopes"])
    key = new_key()
    rotated = await key_rows.rotate(db, who.tenant_id, key_id, key, form.overlap_s)
    if rotated is None:
        raise Problem(409, "key-ended", "This key is revoked or expired: make a new one.")
    fresh, old = rotated
    return _once(request, key, {**fresh, "old_ends_at": old["expires_at"]})


@router.delete("/{key_id}", status_code=204, operation_id="revokeApiKey")
async def revoke(db: Db, who: TenantAdmin, key_id: Id) -> None:
    """Revoke a key: it ends at once, for good, and stays in the list."""
    if not await key_rows.revoke(db, who.tenant_id, key_id):
        raise not_found("key")
