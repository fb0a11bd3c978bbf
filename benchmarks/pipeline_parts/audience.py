"""The campaigns that are sent: who gets them, what they are signed with, a copy for each round.

Promises: every contact has the attributes that the newsletter asks for, and a domain of its own is shared by one in
``DOMAINS``; tables are vacuumed and analysed, so that no maintenance of what was seeded falls into a round.
"""

import json
from dataclasses import dataclass, replace

import asyncpg

from benchmarks.newsletter import ATTRIBUTES, newsletter
from benchmarks.pipeline_parts.signing_key import SigningKey
from hayabin.database.engine import Connection
from hayabin.database.sealing import seal
from tests.support.seed import seed_campaign

DOMAINS = 200
_COPIED = "tenant_id, name, class, template_version_id, list_id, domain_id, from_name, from_address, pool"


@dataclass(frozen=True, slots=True)
class Draft:
    """A campaign that is not launched itself: copies of it are."""

    slug: str
    emails: int
    keys: tuple[SigningKey, ...]
    campaign_id: int = 0
    tenant_id: int = 0

    @property
    def domain(self) -> str:
        """The domain that it is sent from."""
        return sending_domain(self.slug)

    async def copy(self, connection: Connection) -> int:
        """Make a draft like this one, to the same list; gives its id."""
        return int(
            await connection.fetchval(
                f"INSERT INTO campaigns ({_COPIED}) SELECT {_COPIED} FROM campaigns WHERE id = $1 RETURNING id",  # noqa: S608
                self.campaign_id,
            )
        )


def sending_domain(slug: str) -> str:
    """Give the domain that a tenant sends from, as ``seed_campaign`` makes it."""
    return f"{slug}.example"


async def seed(url: str, master_key: bytes, wanted: Draft) -> Draft:
    """Write a tenant, its list and a draft; gives the draft with its ids."""
    connection = await asyncpg.connect(url)
    addresses = [f"user{n}@d{n % DOMAINS}.example" for n in range(wanted.emails)]
    seeded = await seed_campaign(connection, addresses, slug=wanted.slug, compiled=newsletter().to_json())
    await connection.execute(
        "UPDATE contacts SET attributes = $2::jsonb WHERE tenant_id = $1", seeded.tenant_id, json.dumps(ATTRIBUTES)
    )
    for key in wanted.keys:
        name = f"dkim:{key.domain}:{key.selector}"
        await connection.execute(
            "INSERT INTO dkim_keys (domain_id, selector, algorithm, public_key, private_key) VALUES ($1,$2,$3,$4,$5)",
            seeded.domain_id,
            key.selector,
            key.key.algorithm,
            key.key.public,
            seal(master_key, seeded.tenant_id, name, key.key.private_der),
        )
    for table in ("contacts", "list_members"):
        await connection.execute(f"VACUUM (ANALYZE) {table}")
    await connection.close()
    return replace(wanted, campaign_id=seeded.campaign_id, tenant_id=seeded.tenant_id)
