"""The application on a fresh database, and clients with keys of two tenants."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from hayabin.database.engine import Database
from services.api.access import Scope, new_key
from services.api.app import make_app
from services.api.settings import ApiSettings
from tests.support.system import new_secret

Client = httpx.AsyncClient
MakeClient = Callable[..., Awaitable[Client]]


@pytest.fixture(scope="session", autouse=True)
def _spans() -> None:
    """Spans with ids, as every process has them; exported nowhere."""
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        trace.set_tracer_provider(TracerProvider())


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An open, migrated database with a pool `main`."""
    async with Database(database_url, name="test", size=30) as database:
        await database.pool.execute("INSERT INTO ip_pools (name) VALUES ('main')")
        yield database


def settings_of(database_url: str, **more: Any) -> ApiSettings:
    """Settings of the API on a database."""
    return ApiSettings(
        database_url=database_url,
        broker_url=database_url,
        token_secret=new_secret(),
        master_key=new_secret(),
        return_path_domain="bounce.hayabin.example",
        **more,
    )


async def a_key(database: Database, slug: str, *scopes: str) -> str:
    """A new key of a tenant, with every scope by default."""
    key = new_key()
    await database.pool.execute(
        "WITH t AS (INSERT INTO tenants (slug, name) VALUES ($1, $1) ON CONFLICT (slug) DO UPDATE SET name = $1 "
        "RETURNING id) INSERT INTO api_keys (tenant_id, name, prefix, secret_hash, scopes) SELECT id, '', $2, $3, $4 FROM t",
        slug,
        key.prefix,
        key.secret_hash,
        list(scopes or [scope.value for scope in Scope]),
    )
    return key.shown


def client_of(app: FastAPI, key: str) -> Client:
    """A client of an application in this process."""
    return Client(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False),
        base_url="http://api.test",
        headers={"Authorization": f"Bearer {key}"},
        timeout=30,
    )


@pytest.fixture
async def make_client(database: Database, database_url: str) -> AsyncIterator[MakeClient]:
    """Give a tenant's slug and scopes (all by default); get a client with a key of it."""
    app = make_app(settings_of(database_url), database)
    clients: list[Client] = []

    async def make(slug: str, *scopes: str) -> Client:
        clients.append(client_of(app, await a_key(database, slug, *scopes)))
        return clients[-1]

    yield make
    for client in clients:
        await client.aclose()


@pytest.fixture
async def client(make_client: MakeClient) -> Client:
    """A client of the tenant `acme` with every scope."""
    return await make_client("acme")
