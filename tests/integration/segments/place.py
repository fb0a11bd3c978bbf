"""A tenant with people, whose campaign a test gives an audience, counts and launches."""

from typing import Any

from hayabin.database import audience_count
from hayabin.database.engine import Pool
from tests.support.seed import Seeded, launch_whole

PEOPLE = 40


class Place:
    """A tenant with forty people on its first list, and what a test changes of it."""

    def __init__(self, pool: Pool, seeded: Seeded, ids: list[int]) -> None:
        self.pool, self.seeded, self.ids = pool, seeded, ids

    async def a_list(self, name: str, numbers: range, state: str = "subscribed", consent: str = "form") -> int:
        """Another list, with some of the people."""
        list_id: int = await self.pool.fetchval(
            "INSERT INTO lists (tenant_id, name) VALUES ($1, $2) RETURNING id", self.seeded.tenant_id, name
        )
        await self.pool.execute(
            "INSERT INTO list_members (list_id, contact_id, state, consent) SELECT $1, unnest($2::bigint[]), $3, $4",
            list_id, [self.ids[n] for n in numbers], state, consent,
        )  # fmt: skip
        return list_id

    async def a_segment(self, numbers: range, name: str = "s") -> int:
        """A segment that some of the people meet."""
        await self.pool.execute(
            "UPDATE contacts SET attributes = attributes || jsonb_build_object($2::text, true) WHERE id = ANY($1)",
            [self.ids[n] for n in numbers], name,
        )  # fmt: skip
        segment_id: int = await self.pool.fetchval(
            "INSERT INTO segments (tenant_id, name, rules) VALUES ($1, $2, $3) RETURNING id",
            self.seeded.tenant_id, name, {"attribute": name, "is": "equals", "value": True},
        )  # fmt: skip
        return segment_id

    async def define(self, **definition: list[int]) -> None:
        """Give the campaign an audience."""
        await self.pool.execute(
            "UPDATE campaigns SET audience_definition = $2 WHERE id = $1", self.seeded.campaign_id, definition
        )

    async def settings(self, **values: Any) -> None:
        """What the tenant has set."""
        await self.pool.execute("UPDATE tenants SET settings = $2 WHERE id = $1", self.seeded.tenant_id, values)

    async def another(self) -> Seeded:
        """A copy of the campaign, as a draft."""
        campaign_id = await self.pool.fetchval(
            "INSERT INTO campaigns (tenant_id, name, template_version_id, list_id, domain_id, from_name, from_address, "
            "pool) SELECT tenant_id, 'd', template_version_id, list_id, domain_id, from_name, from_address, pool "
            "FROM campaigns WHERE id = $1 RETURNING id",
            self.seeded.campaign_id,
        )
        one = self.seeded
        return Seeded(one.tenant_id, one.list_id, one.domain_id, one.template_version_id, campaign_id)

    async def counted(self, seeded: Seeded | None = None) -> dict[str, int]:
        """What the count says before the launch."""
        async with self.pool.acquire() as connection, connection.transaction():
            return await audience_count.count(connection, {"id": (seeded or self.seeded).campaign_id})

    async def launched(self, seeded: Seeded | None = None) -> dict[int, str]:
        """Launch all of it; give the reason ('' for none) by number of the person, in the order of the ledger."""
        one = seeded or self.seeded
        async with self.pool.acquire() as connection:
            await launch_whole(connection, one)
        return await self.in_ledger(one)

    async def in_ledger(self, seeded: Seeded | None = None) -> dict[int, str]:
        """The reason ('' for none) by number of the person; each once, in order."""
        rows = await self.pool.fetch(
            "SELECT r.contact_id, m.state, m.reason FROM messages m JOIN recipients r ON r.message_id = m.id "
            "WHERE m.campaign_id = $1 ORDER BY m.id",
            (seeded or self.seeded).campaign_id,
        )
        assert all((row["state"] == "due") == (row["reason"] is None) for row in rows)
        assert [row["contact_id"] for row in rows] == sorted({row["contact_id"] for row in rows})
        return {self.ids.index(row["contact_id"]): row["reason"] or "" for row in rows}
