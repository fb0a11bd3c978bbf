"""A tenant with a past: contacts, a campaign that was sent, opens and clicks of it, suppressions, lists, templates.

Promises: whatever production writes with more than an INSERT (launch, outcomes, events and their counters) is written
by production's own functions. Of the mails three in ten were opened and one in ten clicked. The mails of single sends
are another tenant's, so that reads find the same however many were sent.
"""

import random
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg

from benchmarks.newsletter import newsletter
from benchmarks.sent_campaign import send_campaign
from hayabin.database import counters
from services.api.access import Scope, new_key
from services.tracker.projection import Fact, project
from tests.support.seed import seed_campaign

LISTS, TEMPLATES, DRAFTS = 30, 30, 60
SUPPRESSED_SHARE = 0.02
_BATCH = 2000
_OCCURRED = datetime(2026, 4, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Tenant:
    """Ids of what there is, and a key that may do all."""

    key: str
    campaign_id: int
    list_id: int
    template_id: int
    message_ids: list[int]
    contact_ids: list[int]
    addresses: list[str]
    suppressed: list[str]


@dataclass(frozen=True, slots=True)
class Sender:
    """The tenant of single sends."""

    key: str
    campaign_id: int


async def furnish(url: str, people: int) -> tuple[Tenant, Sender]:
    """Write everything."""
    addresses = [f"user{n}@d{n % 40}.example" for n in range(people)]
    seeded, message_ids = await send_campaign(url, addresses, slug="reader")
    suppressed = addresses[:: round(1 / SUPPRESSED_SHARE)]
    connection = await asyncpg.connect(url)
    await _engage(connection, message_ids)
    await _surround(connection, seeded.tenant_id, seeded.campaign_id, suppressed)
    contacts = await connection.fetch("SELECT id FROM contacts WHERE tenant_id = $1 ORDER BY id", seeded.tenant_id)
    template_id = await connection.fetchval(
        "SELECT template_id FROM template_versions WHERE id = $1", seeded.template_version_id
    )
    sender = await seed_campaign(
        connection, ["one@sender.example"], slug="sender", compiled=newsletter().to_json(), message_class="bulk"
    )
    keys = [await _key(connection, tenant_id) for tenant_id in (seeded.tenant_id, sender.tenant_id)]
    await connection.execute("VACUUM ANALYZE")
    await connection.close()
    reader = Tenant(
        key=keys[0],
        campaign_id=seeded.campaign_id,
        list_id=seeded.list_id,
        template_id=template_id,
        message_ids=message_ids,
        contact_ids=[row["id"] for row in contacts],
        addresses=addresses,
        suppressed=suppressed,
    )
    return reader, Sender(keys[1], sender.campaign_id)


async def _engage(connection: asyncpg.Connection, message_ids: list[int]) -> None:
    chance = random.Random(1)
    facts = [
        Fact(chance.randbytes(16), message_id, kind, link, "Mozilla/5.0 (iPhone)", _OCCURRED)
        for message_id in message_ids
        for kind, link, share in (("open", None, 0.3), ("click", 3, 0.1))
        if chance.random() < share
    ]
    for start in range(0, len(facts), _BATCH):
        async with connection.transaction():
            await project(connection, facts[start : start + _BATCH])
    await counters.fold(connection)


async def _surround(connection: asyncpg.Connection, tenant_id: int, campaign_id: int, suppressed: list[str]) -> None:
    await connection.execute(
        "INSERT INTO suppressions (tenant_id, address_key, list_id, reason, source) "
        "SELECT $1, a, 0, 'manual', 'benchmark' FROM unnest($2::text[]) AS s(a)",
        tenant_id,
        suppressed,
    )
    await connection.execute(
        "INSERT INTO lists (tenant_id, name) SELECT $1, 'list ' || n FROM generate_series(1, $2) AS s(n)",
        tenant_id,
        LISTS,
    )
    await connection.execute(
        """
        WITH made AS (
            INSERT INTO templates (tenant_id, name) SELECT $1, 'template ' || n FROM generate_series(1, $2) AS s(n)
            RETURNING id)
        INSERT INTO template_versions (template_id, number, kind, subject, source, compiled, published_at)
        SELECT made.id, 1, v.kind, v.subject, v.source, v.compiled, now()
        FROM made, template_versions v JOIN campaigns c ON c.template_version_id = v.id WHERE c.id = $3""",
        tenant_id,
        TEMPLATES,
        campaign_id,
    )
    await connection.execute(
        "INSERT INTO campaigns (tenant_id, name, class, template_version_id, list_id, domain_id, from_name, "
        "from_address, pool) SELECT tenant_id, 'draft ' || n, class, template_version_id, list_id, domain_id, "
        "from_name, from_address, pool FROM campaigns, generate_series(1, $2) AS s(n) WHERE id = $1",
        campaign_id,
        DRAFTS,
    )


async def _key(connection: asyncpg.Connection, tenant_id: int) -> str:
    key = new_key()
    await connection.execute(
        "INSERT INTO api_keys (tenant_id, name, prefix, secret_hash, scopes) VALUES ($1, '', $2, $3, $4)",
        tenant_id,
        key.prefix,
        key.secret_hash,
        [scope.value for scope in Scope],
    )
    return key.shown
