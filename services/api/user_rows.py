"""Users in the database: made, changed, removed; by requests and by ``hayabin admin``.

Promises: an address is one user of a tenant. A tenant that has an active admin keeps one: changes are made one after
the other (the rows of the active admins are locked first), so two admins cannot demote each other at the same moment.
Fails: ``UserTaken``, ``LastAdmin``; None where there is no such user.
"""

from dataclasses import dataclass
from typing import Any

from hayabin.database.engine import Connection
from hayabin.domain.address import Address
from hayabin.domain.roles import Role, UserState

COLUMNS = "id, email, name, role, state, created_at, last_seen_at"

_INSERT_SQL = f"""
INSERT INTO users (tenant_id, email, email_key, name, role) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant_id, email_key) DO NOTHING RETURNING {COLUMNS}"""  # noqa: S608 - constants of ours

_CHANGE_SQL = f"""
UPDATE users SET name = COALESCE($3, name), role = COALESCE($4, role), state = COALESCE($5, state)
WHERE tenant_id = $1 AND id = $2 RETURNING {COLUMNS}"""  # noqa: S608 - constants of ours

_LOCK_ADMINS_SQL = """
SELECT id FROM users WHERE tenant_id = $1 AND role = 'admin' AND state = 'active' ORDER BY id FOR UPDATE"""


class UserTaken(Exception):
    """The tenant has a user with this address."""


class LastAdmin(Exception):
    """Nobody would be left who may manage users."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is to be different of a user; None leaves it."""

    name: str | None = None
    role: Role | None = None
    state: UserState | None = None

    @property
    def ends_an_admin(self) -> bool:
        """Whether who was an active admin is none afterwards."""
        return self.role not in (None, Role.ADMIN) or self.state is UserState.DISABLED


async def create(connection: Connection, tenant_id: int, email: Address, name: str, role: Role) -> dict[str, Any]:
    """A new user, active.

    Raises:
        UserTaken: see there.
    """
    row = await connection.fetchrow(_INSERT_SQL, tenant_id, email.given, email.key, name, role.value)
    if row is None:
        raise UserTaken
    return dict(row)


async def change(connection: Connection, tenant_id: int, user_id: int, changed: Change) -> dict[str, Any] | None:
    """The user as changed, within the caller's transaction; None if the tenant has no such user.

    Raises:
        LastAdmin: see there.
    """
    if changed.ends_an_admin:
        await _require_another_admin(connection, tenant_id, user_id)
    row = await connection.fetchrow(
        _CHANGE_SQL,
        tenant_id,
        user_id,
        changed.name,
        changed.role and changed.role.value,
        changed.state and changed.state.value,
    )
    return None if row is None else dict(row)


async def remove(connection: Connection, tenant_id: int, user_id: int) -> bool:
    """Remove a user with all their keys, within the caller's transaction; whether there was one.

    Raises:
        LastAdmin: see there.
    """
    await _require_another_admin(connection, tenant_id, user_id)
    removed = await connection.fetchval(
        "DELETE FROM users WHERE tenant_id = $1 AND id = $2 RETURNING id", tenant_id, user_id
    )
    return removed is not None


async def _require_another_admin(connection: Connection, tenant_id: int, user_id: int) -> None:
    if [row["id"] for row in await connection.fetch(_LOCK_ADMINS_SQL, tenant_id)] == [user_id]:
        raise LastAdmin
