"""The transaction of a request: in which role it is, whether it may write, and what is left of it on the connection."""

import os
import subprocess
import sys
from typing import Any

import asyncpg
import pytest
from fastapi import APIRouter

from hayabin.database.engine import Database
from hayabin.database.tenancy import TENANT_ROLE, as_services, enter
from services.api.access import Anybody, Db, PlatformAdmin
from services.api.app import make_app
from services.api.transaction import TransactionRoute
from tests.conftest import new_database, with_database
from tests.integration.api.conftest import a_key, client_of, settings_of
from tests.integration.api.rest import done
from tests.support.postgres import private_postgres

_ASK_SQL = """
SELECT current_user::text AS role, current_setting('transaction_read_only') AS read_only,
       current_setting('hayabin.tenant_id', true) AS tenant"""


async def _ask(db: Db, _who: Anybody) -> dict[str, Any]:
    """What the database thinks of this request."""
    return dict(await db.fetchrow(_ASK_SQL) or {})


async def _ask_platform(db: Db, _who: PlatformAdmin) -> dict[str, Any]:
    """The same for what needs platform:admin."""
    return dict(await db.fetchrow(_ASK_SQL) or {})


async def test_requests_are_in_the_tenants_role_and_reads_are_read_only(database: Database, database_url: str) -> None:
    """GET: READ ONLY; POST: not; both as the tenant. What needs platform:admin is done as the services do it."""
    app = make_app(settings_of(database_url), database)
    probe = APIRouter(prefix="/v1/probe", route_class=TransactionRoute)
    probe.get("/it", operation_id="probeRead")(_ask)
    probe.post("/it", operation_id="probeChange")(_ask)
    probe.get("/platform", operation_id="probePlatform")(_ask_platform)
    app.include_router(probe)
    login = await database.pool.fetchval("SELECT current_user::text")
    async with client_of(app, await a_key(database, "acme")) as client:
        tenant = str(await database.pool.fetchval("SELECT id FROM tenants WHERE slug = 'acme'"))
        read = await done(await client.get("/v1/probe/it"), 200)
        assert read == {"role": TENANT_ROLE, "read_only": "on", "tenant": tenant}
        change = await done(await client.post("/v1/probe/it"), 200)
        assert change == {"role": TENANT_ROLE, "read_only": "off", "tenant": tenant}
        assert (await done(await client.get("/v1/probe/platform"), 200))["role"] == login


async def test_role_ends_with_the_transaction_and_is_left_for_a_block(database: Database) -> None:
    """``as_services`` sees all and comes back, after a failure too; nothing of it is there after the rollback."""
    await database.pool.execute("INSERT INTO tenants (slug, name) VALUES ('a', 'a'), ('b', 'b')")
    ids = [row["id"] for row in await database.pool.fetch("SELECT id FROM tenants WHERE slug IN ('a', 'b')")]
    all_ = await database.pool.fetchval("SELECT count(*) FROM tenants")
    count = "SELECT count(*) FROM tenants"
    async with database.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await enter(connection, ids[0])
        assert await connection.fetchval(count) == 1
        async with as_services(connection):
            assert await connection.fetchval(count) == all_
        assert await connection.fetchval(count) == 1
        with pytest.raises(LookupError):
            async with as_services(connection):
                raise LookupError
        assert await connection.fetchval(count) == 1
        with pytest.raises(asyncpg.DivisionByZeroError):
            async with connection.transaction(), as_services(connection):
                await connection.execute("SELECT 1/0")
        assert await connection.fetchval(count) == 1
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with connection.transaction():
                await connection.execute("INSERT INTO lists (tenant_id, name) VALUES ($1, 'x')", ids[1])
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with connection.transaction():
                await connection.execute("DELETE FROM outbox")
        await transaction.rollback()
        async with connection.transaction():
            async with as_services(connection):
                pass
            assert await connection.fetchval(count) == all_


@pytest.mark.slow
def test_databases_of_one_cluster_are_migrated_at_the_same_moment() -> None:
    """The roles are the cluster's, and not there yet: whoever comes second takes those of the first."""
    with (
        private_postgres(fsync=False, settings={"max_connections": "20"}) as cluster,
        new_database(cluster.url) as one,
        new_database(cluster.url) as two,
    ):
        running = [
            subprocess.Popen(
                [sys.executable, "-m", "hayabin.database.migrate"],
                env={**os.environ, "HAYABIN_DATABASE_URL": with_database(cluster.url, name)},
            )
            for name in (one, two)
        ]
        assert [process.wait(timeout=60) for process in running] == [0, 0]
