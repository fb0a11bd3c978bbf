"""A pool on a fresh database, and people in it."""

from collections.abc import AsyncIterator

import pytest

from hayabin.database import audience
from hayabin.database.engine import Pool, open_pool
from tests.integration.segments.place import PEOPLE, Place
from tests.support.seed import seed_campaign


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """Connections to a fresh, migrated database."""
    pool = await open_pool(database_url, name="test", size=8)
    yield pool
    await pool.close()


@pytest.fixture
async def place(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Forty people, all on the campaign's list; pages of a few, so that every audience takes several."""
    monkeypatch.setattr(audience, "FIRST_PAGE_ROWS", 5)
    monkeypatch.setattr(audience, "PAGE_ROWS", 3)
    monkeypatch.setattr(audience, "WINDOW_PAGES", 2)
    async with pool.acquire() as connection:
        seeded = await seed_campaign(connection, [f"u{n}@x.example" for n in range(PEOPLE)])
    rows = await pool.fetch("SELECT id FROM contacts ORDER BY id")
    await pool.execute("UPDATE list_members SET consent = 'form'")
    return Place(pool, seeded, [row["id"] for row in rows])
