"""Tenants are kept apart: by every operation that there is, and by the database where a WHERE was forgotten.

The sweep goes along the walk over all documented examples: before the tenant does an operation, somebody else asks for
the very same thing by their own key, while every id in it is alive. So operations that are added are swept, too.
"""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI

from hayabin.database.engine import Database
from hayabin.database.tenancy import SERVICES_ROLE, TENANT_ROLE, enter
from services.api.access import Scope, scopes_of
from services.api.transaction import TransactionRoute
from tests.integration.api.conftest import Client, MakeClient
from tests.integration.api.rest import a_campaign, a_template, done
from tests.integration.api.test_reference import Call, walk_all

TEAM = [scope.value for scope in Scope if scope is not Scope.PLATFORM_ADMIN]
SHARED = ("listIpPools", "listLanes", "listSuspensions", "listPolicies", "getPolicy", "listWarmups", "getHealth")
"""What is there for everybody: it has nothing of a tenant."""
REFUSED = {404, 422}
OF_KEYS = {"listApiKeys": "id", "listAudit": "key_id"}
"""Lists in which everybody meets the key that they ask with, and by which member."""
ALL_TENANTS = {"ip_pools"}
"""Tables with policies whose rows everybody sees."""
COLUMNS_OF_A_TENANT = {"tenant_id", "campaign_id", "message_id", "contact_id", "list_id"}
NOT_OF_A_TENANT: frozenset[str] = frozenset()

_TABLES_SQL = f"""
SELECT c.relname::text AS name, c.relrowsecurity AND c.relforcerowsecurity AS isolated,
       has_table_privilege('{TENANT_ROLE}', c.oid, 'SELECT') AS readable,
       has_table_privilege('{TENANT_ROLE}', c.oid, 'DELETE') AS deletable,
       has_table_privilege('{TENANT_ROLE}', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE') AS writable,
       ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0) AS columns,
       ARRAY(SELECT r.relname::text FROM pg_constraint f JOIN pg_class r ON r.oid = f.confrelid
             WHERE f.conrelid = c.oid AND f.contype = 'f') AS refers_to,
       ARRAY(SELECT p.polname::text || ' ' || r.rolname FROM pg_policy p JOIN pg_roles r ON r.oid = ANY(p.polroles)
             WHERE p.polrelid = c.oid) AS policies
FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
  AND c.relname <> 'alembic_version' ORDER BY 1"""


async def tables_of(connection: Any) -> list[Any]:
    """Every table, and what the catalog says of who sees it."""
    found = await connection.fetch(_TABLES_SQL)
    assert len(found) > 40
    return list(found)


@asynccontextmanager
async def tenant_on(connection: Any, tenant_id: int) -> AsyncIterator[Any]:
    """A transaction as a tenant, which is taken back."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await enter(connection, tenant_id)
        yield connection
    finally:
        await transaction.rollback()


class Snapshot:
    """The rows of a tenant, table by table, as its own role sees them."""

    def __init__(self, database: Database, tenant_id: int, names: list[str]) -> None:
        """Of which tables."""
        self._database = database
        self._tenant_id = tenant_id
        sums = ", ".join(
            f"(SELECT md5(string_agg(md5(t::text), '' ORDER BY md5(t::text))) FROM {name} t) AS {name}"
            for name in names
        )
        self._sql = f"SELECT {sums}"

    async def taken(self) -> dict[str, Any]:
        """A checksum for each table."""
        async with self._database.pool.acquire() as connection, tenant_on(connection, self._tenant_id):
            return dict(await connection.fetchrow(self._sql) or {})


def references_in(value: Any, name: str = "") -> bool:
    """Whether a body speaks of something by id."""
    match value:
        case dict():
            return any(references_in(member, key) for key, member in value.items())
        case list():
            return any(references_in(item, name) for item in value)
        case bool():
            return False
        case int():
            return value > 0 and name.endswith(("_id", "_ids", "lists", "segments", "campaigns", "contacts"))
        case _:
            return False


class Stranger:
    """Asks for what is another tenant's, in the other's own words, and holds what comes of it against the promise."""

    def __init__(self, client: Client, app: FastAPI, snapshot: Snapshot, key_id: int, own: Mapping[str, Any]) -> None:
        """``own``: the stranger's own things, by the name of the member or path parameter that refers to one."""
        self._platform = {
            route.operation_id
            for included in app.routes
            for route in getattr(getattr(included, "original_router", None), "routes", ())
            if isinstance(route, TransactionRoute)
            and Scope.PLATFORM_ADMIN in scopes_of(dependency.call for dependency in route.dependant.dependencies)
        }
        assert self._platform
        self._client = client
        self._key_id = key_id
        self._snapshot = snapshot
        self._own = own
        self.secrets: set[str] = set()
        self.asked: set[str] = set()
        self.refused: set[str] = set()

    async def before(self, call: Call) -> None:
        """Ask for the same."""
        if call.name in SHARED or call.name in self._platform:
            return
        body = call.arguments.get("json")
        refers = "{" in call.path or "_id" in call.query or references_in(body)
        if not refers and call.method != "get":
            return  # it makes something of the stranger's own: nothing of another is in it
        self.asked.add(call.name)
        was = await self._snapshot.taken()
        for ids, arguments in self._variants(call, body):
            where = call.path.format(**ids) + call.query
            answer = await self._client.request(call.method, where, **arguments)
            told = f"{call.name} {call.method} {where} {arguments} -> {answer.status_code} {answer.text[:500]}"
            assert answer.status_code < 500, told
            assert not {word for word in self.secrets if word in answer.text}, told
            if refers and answer.status_code not in REFUSED:
                assert answer.status_code < 300, told
                assert self._empty(answer), told
            elif refers:
                self.refused.add(call.name)
            elif answer.status_code < 300 and "items" in answer.text:
                member = OF_KEYS.get(call.name, "")
                assert {item.get(member) for item in answer.json().get("items", [])} <= {self._key_id}, told
            now = await self._snapshot.taken()
            assert now == was, (told, {name for name in was if was[name] != now[name]})

    def _variants(self, call: Call, body: Any) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """The call as it is, and with all but one of its references replaced by the stranger's own."""
        yield call.ids, call.arguments
        mine = {name: value for name, value in self._own.items() if f"{{{name}}}" in call.path}
        if isinstance(body, dict):
            if mine and references_in(body):
                yield {**call.ids, **mine}, call.arguments
            referring = [name for name in body if references_in(body[name], name) and name in self._own]
            for kept in referring:
                swapped = {name: self._own[name] for name in referring if name != kept}
                if swapped or mine:
                    yield {**call.ids, **mine}, {"json": {**body, **swapped}}
        for kept in mine:
            if len(mine) > 1:
                yield {**call.ids, **{name: value for name, value in mine.items() if name != kept}}, call.arguments

    def _empty(self, answer: Any) -> bool:
        """Whether a success says that nothing was done or found: what it counts is nothing."""
        if not answer.content:
            return False
        found = answer.json()
        numbers = [value for name, value in found.items() if type(value) is int and not name.endswith("id")]
        return found.get("items", []) == [] and not any(numbers) and "id" not in found


async def own_things(client: Client) -> dict[str, Any]:
    """One of each thing that requests refer to."""
    campaign = await a_campaign(client, 1)
    contact = (await done(await client.get("/v1/contacts"), 200))["items"][0]["id"]
    template = await a_template(client, "own")
    return {
        "campaign_id": campaign["id"], "list_id": campaign["list_id"], "contact_id": contact,
        "contact_ids": [contact], "template_id": template["id"], "template_version_id": template["version"]["id"],
        "domain_id": campaign["domain_id"],
    }  # fmt: skip


@pytest.mark.slow
async def test_other_tenants_things_are_not_there(client: Client, make_client: MakeClient, database: Database) -> None:
    """Each call of the walk, made by a stranger first: 404, or 422 naming the reference; A's rows stay as they are."""
    app: FastAPI = client._transport.app  # type: ignore[attr-defined]
    poor, rich = await make_client("poor", *TEAM), await make_client("rich", *TEAM)
    own = await own_things(rich)
    tenant_id = await database.pool.fetchval("SELECT id FROM tenants WHERE slug = 'acme'")
    names = [row["name"] for row in await tables_of(database.pool) if row["isolated"] and row["readable"]]
    snapshot = Snapshot(database, tenant_id, names)
    key_ids = [(await done(await who.get("/v1/me"), 200))["key"]["id"] for who in (poor, rich)]
    strangers = [Stranger(poor, app, snapshot, key_ids[0], {}), Stranger(rich, app, snapshot, key_ids[1], own)]
    key = await database.pool.fetchval("SELECT prefix FROM api_keys WHERE tenant_id = $1", tenant_id)
    await done(await client.get("/v1/me"), 200)  # the use of the key is noted, once a minute

    async def before(call: Call) -> None:
        for stranger in strangers:
            said = json.dumps(call.arguments, ensure_ascii=False, default=str)
            stranger.secrets = {word for word in ("acme", key, "docomo.ne.jp", "田中") if word not in said}
            if stranger is strangers[0] or "{" in call.path or call.method != "get":
                await stranger.before(call)

    await walk_all(client, database, before=before, compares=False)
    assert len(strangers[0].asked) > 60
    assert len(strangers[0].refused) > 40
    await nothing_foreign_is_seen_without_where(database, tenant_id)


async def nothing_foreign_is_seen_without_where(database: Database, tenant_id: int) -> None:
    """Reads and deletes of whole tables, as two tenants: nobody meets a row of the other."""
    other = await database.pool.fetchval("SELECT id FROM tenants WHERE slug = 'poor'")
    filled = set()
    async with database.pool.acquire() as connection:
        for table in await tables_of(connection):
            name = table["name"]
            if not table["isolated"] or not table["readable"] or name in ALL_TENANTS:
                continue
            platform = "WHERE tenant_id <> 0" if name == "suppressions" else ""
            async with tenant_on(connection, tenant_id):
                theirs = {row[0] for row in await connection.fetch(f"SELECT t::text FROM {name} t {platform}")}
            async with tenant_on(connection, other):
                seen = {row[0] for row in await connection.fetch(f"SELECT t::text FROM {name} t {platform}")}
                deleted = "DELETE 0"
                if table["deletable"]:
                    deleted = await connection.execute(f"DELETE FROM {name}")
            async with connection.transaction():
                await connection.execute(f"SET LOCAL ROLE {TENANT_ROLE}")  # no tenant named
                assert not await connection.fetch(f"SELECT 1 FROM {name} t {platform}"), name
            assert not seen & theirs, name
            assert int(deleted.split()[1]) <= len(seen), name
            filled |= {name} if theirs else set()
    assert len(filled) >= 20, filled


async def test_every_table_of_a_tenant_is_isolated(database: Database) -> None:
    """What has a tenant, or refers to what has one, has forced policies; what has none cannot be written by tenants."""
    tables = {row["name"]: row for row in await tables_of(database.pool)}
    of_tenant = {name for name, row in tables.items() if COLUMNS_OF_A_TENANT & set(row["columns"])} | {"tenants"}
    while more := {n for n, row in tables.items() if of_tenant & set(row["refers_to"])} - of_tenant:
        of_tenant |= more
    of_tenant -= NOT_OF_A_TENANT
    closed = {name for name, row in tables.items() if not row["readable"] and not row["writable"]}
    open_ = {name for name in of_tenant - closed if not tables[name]["isolated"]}
    assert not open_, f"call isolate() in a migration for {open_}"
    for name in of_tenant - closed:
        policies = tables[name]["policies"]
        assert f"services {SERVICES_ROLE}" in policies, name
        assert any(policy.endswith(TENANT_ROLE) for policy in policies), name
    written = {n for n, row in tables.items() if row["writable"] and not row["isolated"]}
    assert not written, "tenants may write tables without policies"
