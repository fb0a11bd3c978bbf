"""A transaction as one tenant: the role that sees the tenant's rows and no others.

Promises: what ``enter`` sets ends with the transaction, so a connection goes back to its pool as it came (``SET LOCAL``
only). ``as_services`` leaves the role for a few statements that have to see all tenants, and enters it again.
Fails: database errors come out. Inside the role a statement that reaches for what is not the tenant's finds nothing, or
fails with ``InsufficientPrivilegeError``.

The role guards against a forgotten WHERE, not against SQL of an attacker: whoever may run any statement can leave it.
"""

import contextlib
from collections.abc import AsyncIterator

import asyncpg

from hayabin.database.engine import AWAY, Connection

TENANT_ROLE = "hayabin_tenant"
SERVICES_ROLE = "hayabin_services"


def enter_sql(tenant_id: str) -> str:
    """The columns of a SELECT that enters the role; ``tenant_id`` is an SQL expression of ours."""
    return f"set_config('role', '{TENANT_ROLE}', true), set_config('hayabin.tenant_id', ({tenant_id})::text, true)"


_ENTER_SQL = f"SELECT {enter_sql('$1::bigint')}"
_LEAVE_SQL = "SELECT current_setting('role') AS was, set_config('role', 'none', true)"
_RETURN_SQL = "SELECT set_config('role', $1, true)"


async def enter(connection: Connection, tenant_id: int) -> None:
    """Be this tenant until the end of the transaction that is open."""
    await connection.execute(_ENTER_SQL, tenant_id)


@contextlib.asynccontextmanager
async def as_services(connection: Connection) -> AsyncIterator[None]:
    """See all tenants' rows within the block, in a transaction; afterwards its role is what it was.

    What the block does must name the tenant itself.
    """
    was: str = await connection.fetchval(_LEAVE_SQL)
    try:
        yield
    except BaseException:
        # In a transaction that the block has broken this fails, as all does but the rollback, which ends the role too.
        with contextlib.suppress(asyncpg.PostgresError, *AWAY):
            await connection.execute(_RETURN_SQL, was)
        raise
    await connection.execute(_RETURN_SQL, was)
