"""Row-level security where the database's user is no superuser, as in production."""

import asyncpg
import pytest

from hayabin.database.engine import Database
from hayabin.database.migrate import RolesMissing, upgrade
from hayabin.database.tenancy import SERVICES_ROLE, TENANT_ROLE
from services.api.app import make_app
from tests.conftest import execute, new_database, run, with_database
from tests.integration.api.conftest import a_key, client_of, settings_of
from tests.integration.api.rest import OVERRIDE, a_campaign, done

_JOIN_SQL = f"""
DO $block$ BEGIN
    IF current_setting('server_version_num')::int >= 160000
       AND EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{TENANT_ROLE}') THEN
        GRANT {TENANT_ROLE}, {SERVICES_ROLE} TO hayabin_owner;
    END IF;
END $block$"""
"""From 16 on CREATEROLE does not reach roles that somebody else has made, such as those of other tests."""

_LEAVE_SQL = f"""
DO $block$ DECLARE giver regrole; BEGIN
    FOR giver IN SELECT grantor::regrole FROM pg_auth_members
              WHERE roleid = '{SERVICES_ROLE}'::regrole AND member = 'hayabin_owner'::regrole LOOP
        EXECUTE format('REVOKE {SERVICES_ROLE} FROM hayabin_owner GRANTED BY %s CASCADE', giver);
    END LOOP;
END $block$"""


async def test_owner_without_superuser_keeps_tenants_apart_and_serves(postgres_url: str) -> None:
    """Migrated by a user with CREATEROLE alone, the API works, tenants are apart, and FORCE binds the owner, too."""
    owner = "hayabin_owner"
    run(lambda: execute(postgres_url, f"CREATE ROLE {owner} LOGIN CREATEROLE PASSWORD 'owner'"))
    try:
        with new_database(postgres_url) as name:
            run(lambda: execute(postgres_url, f'ALTER DATABASE "{name}" OWNER TO {owner}'))
            url = with_database(postgres_url, name)
            own_url = url.replace(url.split("//")[1].split("@")[0], f"{owner}:owner")
            run(lambda: execute(postgres_url, _JOIN_SQL))
            upgrade(own_url)
            run(lambda: execute(url, "UPDATE installation SET pulsed_at = now()"))
            await _serves_as_owner(own_url)
            run(lambda: execute(postgres_url, _LEAVE_SQL))
            connection = await asyncpg.connect(own_url)
            try:
                for table in ("contacts", "messages", "tenants", "api_keys", "list_members", "counters"):
                    assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0, table
            finally:
                await connection.close()
    finally:
        run(lambda: execute(postgres_url, f"DROP ROLE {owner}"))


async def _serves_as_owner(url: str) -> None:
    async with Database(url, name="test", size=4) as database:
        await database.pool.execute("INSERT INTO ip_pools (name) VALUES ('main')")
        app = make_app(settings_of(url), database)
        async with (
            client_of(app, await a_key(database, "acme")) as client,
            client_of(app, await a_key(database, "b")) as b,
        ):
            campaign = await a_campaign(client)
            where = f"/v1/campaigns/{campaign['id']}"
            assert (await done(await client.post(f"{where}/launch", json=OVERRIDE), 200))["audience"] == 3
            assert (await b.get(where)).status_code == 404
            assert (await done(await b.get("/v1/contacts"), 200))["items"] == []
            await done(await client.post("/v1/ip-pools", json={"name": "second"}), 201)
            await database.pool.execute("UPDATE messages SET state = 'accepted'")  # as the services do
            assert await database.pool.fetchval("SELECT count(*) FROM messages WHERE state = 'accepted'") == 3


def test_login_user_without_rights_is_told_what_an_administrator_runs(postgres_url: str) -> None:
    """Who may neither make the roles nor join them gets the statements, and a schema that is as it was."""
    run(lambda: execute(postgres_url, "CREATE ROLE hayabin_plain LOGIN PASSWORD 'plain'"))
    try:
        with new_database(postgres_url) as name:
            run(lambda: execute(postgres_url, f'ALTER DATABASE "{name}" OWNER TO hayabin_plain'))
            url = with_database(postgres_url, name)
            plain_url = url.replace(url.split("//")[1].split("@")[0], "hayabin_plain:plain")
            with pytest.raises(RolesMissing, match=f"GRANT {TENANT_ROLE} TO hayabin_plain; GRANT {SERVICES_ROLE} TO"):
                upgrade(plain_url)
            run(lambda: execute(postgres_url, f"GRANT {TENANT_ROLE}, {SERVICES_ROLE} TO hayabin_plain"))
            upgrade(plain_url)
    finally:
        run(lambda: execute(postgres_url, "DROP ROLE hayabin_plain"))
