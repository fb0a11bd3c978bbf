"""A pool on a fresh database, and a launched campaign of ten."""

from collections.abc import AsyncIterator

import pytest

from hayabin.database.engine import Pool, open_pool
from hayabin.database.launch import launch
from tests.support.seed import Seeded, seed_campaign

PEOPLE = [f"user{n}@example.com" for n in range(10)]


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """Connections to a fresh, migrated database."""
    pool = await open_pool(database_url, name="test", size=8)
    yield pool
    await pool.close()


@pytest.fixture
async def seeded(pool: Pool) -> Seeded:
    """A draft campaign to ten people."""
    async with pool.acquire() as connection:
        return await seed_campaign(connection, PEOPLE)


@pytest.fixture
async def launched(pool: Pool, seeded: Seeded) -> list[int]:
    """The ledger ids of a launched campaign of ten."""
    async with pool.acquire() as connection, connection.transaction():
        await launch(connection, seeded.campaign_id, tenant_id=seeded.tenant_id)
    rows = await pool.fetch("SELECT id FROM messages ORDER BY id")
    return [row["id"] for row in rows]
