"""Rows that a campaign needs, written straight into the database: for tests of the ledger and of single services.

Promises: the same call gives the same rows but for their ids.
"""

import json
from dataclasses import dataclass
from typing import Any

from hayabin.database.audience import fill_page
from hayabin.database.engine import Connection
from hayabin.database.launch import launch

COMPILED = {
    "kind": "html",
    "subject": "Hello {{ name }}",
    "html": "<p>Hello {{ name }}</p>",
    "text": "Hello {{ name }}",
    "links": [],
    "fields": ["name"],
}


@dataclass(frozen=True, slots=True)
class Seeded:
    """Ids of what was written."""

    tenant_id: int
    list_id: int
    domain_id: int
    template_version_id: int
    campaign_id: int


async def seed_campaign(
    connection: Connection,
    addresses: list[str],
    *,
    slug: str = "acme",
    message_class: str = "bulk",
    compiled: dict[str, Any] | None = None,
    pool: str = "main",
) -> Seeded:
    """A tenant with a list of subscribed contacts, a published template and a draft campaign to that list."""
    tenant_id = await connection.fetchval("INSERT INTO tenants (slug, name) VALUES ($1, $1) RETURNING id", slug)
    list_id = await connection.fetchval(
        "INSERT INTO lists (tenant_id, name) VALUES ($1, 'everybody') RETURNING id", tenant_id
    )
    await connection.execute(
        """
        WITH people AS (
            INSERT INTO contacts (tenant_id, address, wire, address_key, name)
            SELECT $1, a, a, lower(a), 'Name ' || n FROM unnest($2::text[]) WITH ORDINALITY AS p(a, n) RETURNING id)
        INSERT INTO list_members (list_id, contact_id) SELECT $3, id FROM people""",
        tenant_id,
        addresses,
        list_id,
    )
    template_id = await connection.fetchval(
        "INSERT INTO templates (tenant_id, name) VALUES ($1, 'hello') RETURNING id", tenant_id
    )
    version_id = await connection.fetchval(
        "INSERT INTO template_versions (template_id, number, kind, subject, source, compiled, published_at) "
        "VALUES ($1, 1, 'html', 'Hello', '', $2, now()) RETURNING id",
        template_id,
        json.dumps(compiled or COMPILED),
    )
    domain_id = await connection.fetchval(
        "INSERT INTO domains (tenant_id, name, verified_at) VALUES ($1, $2, now()) RETURNING id",
        tenant_id,
        f"{slug}.example",
    )
    await connection.execute("INSERT INTO ip_pools (name) VALUES ($1) ON CONFLICT DO NOTHING", pool)
    campaign_id = await connection.fetchval(
        "INSERT INTO campaigns (tenant_id, name, class, template_version_id, list_id, domain_id, from_name, "
        "from_address, pool) VALUES ($1, 'c', $2, $3, $4, $5, 'Acme', $6, $7) RETURNING id",
        tenant_id,
        message_class,
        version_id,
        list_id,
        domain_id,
        f"news@{slug}.example",
        pool,
    )
    return Seeded(tenant_id, list_id, domain_id, version_id, campaign_id)


async def launch_whole(connection: Connection, seeded: Seeded) -> None:
    """Launch, and do what the scheduler would: the whole audience is in the ledger then."""
    async with connection.transaction():
        await launch(connection, seeded.campaign_id, tenant_id=seeded.tenant_id)
    while await fill_page(connection):
        pass
