"""A pool on a fresh database."""

from collections.abc import AsyncIterator

import pytest

from hayabin.database.engine import Pool, open_pool


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """Connections to a fresh database."""
    pool = await open_pool(database_url, name="test", size=8)
    yield pool
    await pool.close()
