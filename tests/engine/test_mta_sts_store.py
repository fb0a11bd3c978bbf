"""Policies of MTA-STS in Postgres outlive the process."""

import pytest

from hayabin.database.engine import open_pool
from services.dispatcher.mta_sts import StoredPolicy, StsMode, StsPolicy
from services.dispatcher.sts_store import PostgresStsStore

FIRST = StoredPolicy(StsPolicy(StsMode.ENFORCE, ("mx.example.jp", "*.example.net"), "1"), 4e9, 4.1e9)
LATER = StoredPolicy(StsPolicy(StsMode.TESTING, ("mx.example.jp",), "2"), 4e9 + 10, 4.1e9)


async def test_store_saved_policy_loaded_newest_wins(database_url: str) -> None:
    """What was saved comes back as it was; an older fetch does not replace a newer one; what expired is nothing."""
    pool = await open_pool(database_url, name="test", size=2)
    try:
        store = PostgresStsStore(pool)
        assert await store.load("example.jp") is None
        await store.save("example.jp", FIRST)
        assert await store.load("example.jp") == FIRST
        await store.save("example.jp", LATER)
        await store.save("example.jp", FIRST)
        assert await store.load("example.jp") == LATER
        withdrawn = StoredPolicy(StsPolicy(StsMode.NONE, (), "3"), 4e9, 4.1e9)
        await store.save("gone.example", withdrawn)
        assert await store.load("gone.example") == withdrawn
        await store.save("old.example", StoredPolicy(FIRST.policy, 1e9, 1.1e9))
        assert await store.load("old.example") is None
    finally:
        await pool.close()


async def test_store_database_away_nothing_known_nothing_raised(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the database the dispatcher goes on as after a first start, and says so."""
    pool = await open_pool(database_url, name="test", size=1)
    await pool.close()
    store = PostgresStsStore(pool)
    await store.save("example.jp", FIRST)
    assert await store.load("example.jp") is None
    said = capsys.readouterr()
    assert (said.out + said.err).count("sts_store_failed") == 2
