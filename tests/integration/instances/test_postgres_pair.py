"""The database that fails over: what it said was committed is there after its primary was killed."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from tests.support import instances
from tests.support.postgres_pair import PostgresPair, postgres_pair
from tests.support.waiting import eventually

WRITERS = 4
ENOUGH = 400  # rows acknowledged before the primary dies


async def write(pair: PostgresPair, writer: int, acknowledged: set[int]) -> None:
    """Insert rows, each in a transaction of its own, until the connection dies."""
    connection = await asyncpg.connect(pair.url)
    number = writer
    try:
        while True:
            await connection.execute("INSERT INTO rows VALUES ($1)", number)
            acknowledged.add(number)
            number += WRITERS
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()


async def test_pair_whose_primary_is_killed_keeps_every_acknowledged_row() -> None:
    """Rows acknowledged before the kill are there after the promotion, at the same address, which takes writes again."""
    async with postgres_pair() as pair:
        assert {Path(f"/proc/{pid}").stat().st_uid for pid in pair.standby.process_ids()} == {
            instances.server_user().pw_uid
        }
        connection = await asyncpg.connect(pair.url)
        await connection.execute("CREATE TABLE rows (n int PRIMARY KEY)")
        await connection.close()
        acknowledged: set[int] = set()
        writing = asyncio.gather(*(write(pair, n, acknowledged) for n in range(WRITERS)))

        async def count() -> int:
            return len(acknowledged)

        await eventually(count, lambda n: n >= ENOUGH, every_s=0.01)
        await asyncio.to_thread(pair.kill_primary)
        await asyncio.wait_for(writing, 10)
        with pytest.raises((OSError, asyncpg.PostgresConnectionError)):
            await asyncpg.connect(pair.url, timeout=5)
        await asyncio.to_thread(pair.promote)
        connection = await asyncpg.connect(pair.url)
        kept = {row["n"] for row in await connection.fetch("SELECT n FROM rows")}
        assert acknowledged <= kept
        assert len(kept - acknowledged) <= WRITERS  # committed, and the answer was lost
        await connection.execute("INSERT INTO rows VALUES (-1)")
        assert await connection.fetchval("SELECT pg_is_in_recovery()") is False
        await connection.close()
        folders = [pair.primary.folder, pair.standby.folder]
    assert not any(folder.exists() for folder in folders)


async def test_pair_without_its_standby_acknowledges_nothing() -> None:
    """The primary waits for the standby: this is what makes the promise hold, and it goes on when the standby is back."""
    async with postgres_pair(fsync=False) as pair:
        connection = await asyncpg.connect(pair.url)
        await connection.execute("CREATE TABLE rows (n int)")
        await asyncio.to_thread(pair.standby.stop)
        writing = asyncio.create_task(connection.execute("INSERT INTO rows VALUES (1)"))
        done, _ = await asyncio.wait([writing], timeout=0.5)
        assert not done
        await asyncio.to_thread(pair.standby.start)
        await asyncio.wait_for(writing, 30)
        standby = await asyncpg.connect(pair.standby.url)
        assert await standby.fetchval("SELECT pg_is_in_recovery()") is True
        await standby.close()
        await connection.close()
