"""A pool on a fresh database, and a tenant with a list of ten."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import pytest

from hayabin.database.consent import Evidence
from hayabin.database.engine import Pool, open_pool
from hayabin.database.subscriptions import move
from hayabin.domain.consent import ConsentAction, ConsentBasis, SubscriptionState
from tests.support.seed import Seeded, seed_campaign

PEOPLE = [f"user{n}@example.com" for n in range(10)]
SOURCE = "test:1"


def evidence(action: ConsentAction, basis: ConsentBasis = ConsentBasis.FORM) -> Evidence:
    """Evidence from nowhere in particular."""
    return Evidence(
        action=action,
        basis=basis,
        source=SOURCE,
        wording="v1",
        ip="192.0.2.7",
        user_agent="Mozilla/5.0",
        note="counter 3",
    )


@dataclass(frozen=True, slots=True)
class People:
    """Ten people on a list, without evidence of consent."""

    pool: Pool
    seeded: Seeded
    ids: list[int]

    async def move(self, ids: Sequence[int], to: SubscriptionState, action: ConsentAction) -> list[int]:
        """Move in a transaction of its own."""
        async with self.pool.acquire() as connection, connection.transaction():
            return await move(connection, self.seeded.tenant_id, self.seeded.list_id, ids, to, evidence(action))

    async def states(self) -> list[str | None]:
        """The state of each, in the order of ``ids``."""
        rows = await self.pool.fetch(
            "SELECT lm.state FROM contacts c LEFT JOIN list_members lm ON lm.contact_id = c.id AND lm.list_id = $1 "
            "WHERE c.tenant_id = $2 ORDER BY c.id",
            self.seeded.list_id,
            self.seeded.tenant_id,
        )
        return [row["state"] for row in rows]

    async def history(self) -> list[tuple[int, str | None, str | None, str, str]]:
        """Contact, states before and after, action and source of each change."""
        rows = await self.pool.fetch(
            "SELECT contact_id, was, state, action, source FROM subscription_changes ORDER BY id"
        )
        return [tuple(row) for row in rows]

    async def ledger(self) -> list[tuple[str, int, str, str]]:
        """Address, list, action and basis of each row of the consent ledger."""
        rows = await self.pool.fetch("SELECT address_key, list_id, action, basis FROM consents ORDER BY id")
        return [tuple(row) for row in rows]

    async def suppressions(self) -> list[tuple[str, int, str]]:
        """Address, list and reason of each suppression."""
        rows = await self.pool.fetch(
            "SELECT address_key, list_id, reason FROM suppressions ORDER BY address_key, list_id"
        )
        return [tuple(row) for row in rows]


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """Connections to a fresh, migrated database."""
    pool = await open_pool(database_url, name="test", size=4)
    yield pool
    await pool.close()


@pytest.fixture
async def people(pool: Pool) -> People:
    """Ten people on a list."""
    async with pool.acquire() as connection:
        seeded = await seed_campaign(connection, PEOPLE)
    rows = await pool.fetch("SELECT id FROM contacts ORDER BY id")
    return People(pool, seeded, [row["id"] for row in rows])
