"""The application on a fresh database, and clients with keys of two tenants."""

from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest

from hayabin.database.engine import Database
from services.api.access import Scope, new_key
from services.api.app import make_app
from services.api.settings import ApiSettings
from tests.support.system import new_secret

Client = httpx.AsyncClient


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An open, migrated database with a pool `main`."""
    async with Database(database_url, name="test", size=30) as database:
        await database.pool.execute("INSERT INTO ip_pools (name) VALUES ('main')")
        yield database


@pytest.fixture
async def make_client(database: Database, database_url: str) -> AsyncIterator[Callable[..., Awaitable[Client]]]:
    """Give a tenant's slug and scopes (all by default); get a client with a key of it."""
    settings = ApiSettings(
        database_url=database_url,
        broker_url=database_url,
        token_secret=new_secret(),
        master_key=new_secret(),
        return_path_domain="bounce.hayabin.example",
    )
    app = make_app(settings, database)
    clients: list[Client] = []

    async def make(slug: str, *scopes: str) -> Client:
        tenant_id = await database.pool.fetchval(
            "INSERT INTO tenants (slug, name) VALUES ($1, $1) ON CONFLICT (slug) DO UPDATE SET name = $1 RETURNING id",
            slug,
        )
        key = new_key()
        await database.pool.execute(
            "INSERT INTO api_keys (tenant_id, name, prefix, secret_hash, scopes) VALUES ($1, '', $2, $3, $4)",
            tenant_id,
            key.prefix,
            key.secret_hash,
            list(scopes or [scope.value for scope in Scope]),
        )
        client = Client(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False),
            base_url="http://api.test",
            headers={"Authorization": f"Bearer {key.shown}"},
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.aclose()


@pytest.fixture
async def client(make_client: Callable[..., Awaitable[Client]]) -> Client:
    """A client of the tenant `acme` with every scope."""
    return await make_client("acme")
