"""The first rows of a standalone run: the IP pool, and a tenant with an API key.

Promises: a tenant's key has every scope but platform:admin; the pool exists before the dispatcher reports its IPs.
"""

from dataclasses import dataclass

import asyncpg

from services.api.access import Scope, new_key
from services.standalone.environment import POOL


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant of this run; ``number`` counts tenants of the folder."""

    number: int
    slug: str
    api_key: str


async def create_pool(url: str) -> None:
    """Make sure that the pool is there."""
    connection = await asyncpg.connect(url, timeout=10)
    try:
        await connection.execute(
            "INSERT INTO ip_pools (name, description) VALUES ($1, 'loopback') ON CONFLICT DO NOTHING", POOL
        )
    finally:
        await connection.close()


async def create_tenant(url: str, stem: str) -> Tenant:
    """A new tenant with a key."""
    key = new_key()
    scopes = sorted(scope.value for scope in Scope if scope is not Scope.PLATFORM_ADMIN)
    connection = await asyncpg.connect(url, timeout=10)
    try:
        async with connection.transaction():
            number = await connection.fetchval("SELECT COALESCE(max(id), 0) + 1 FROM tenants")
            slug = f"{stem}-{number}"
            tenant_id = await connection.fetchval("INSERT INTO tenants (slug, name) VALUES ($1, $1) RETURNING id", slug)
            await connection.execute(
                "INSERT INTO api_keys (tenant_id, name, prefix, secret_hash, scopes) VALUES ($1, $2, $3, $4, $5)",
                tenant_id,
                "standalone",
                key.prefix,
                key.secret_hash,
                scopes,
            )
    finally:
        await connection.close()
    return Tenant(number, slug, key.shown)
