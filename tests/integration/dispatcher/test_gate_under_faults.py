"""The gathered gate and outcome writer while the database's connections are cut; on a real PostgreSQL behind a proxy."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from hayabin.database.counters import read_counters
from hayabin.database.engine import Pool, open_pool
from hayabin.database.launch import launch
from hayabin.database.ledger import Outcome
from hayabin.domain.message import MessageState
from services.dispatcher.gate import Gate, GateClosed, stop
from services.dispatcher.outcomes import OutcomeWriter, Report
from tests.support.fault_proxy import FaultProxy, Way, fault_proxy_before
from tests.support.seed import Seeded, seed_campaign

PEOPLE = 600


@pytest.fixture
async def direct(database_url: str) -> AsyncIterator[Pool]:
    """Connections that are not cut."""
    pool = await open_pool(database_url, name="direct", size=3)
    yield pool
    await pool.close()


@pytest.fixture
async def seeded(direct: Pool) -> Seeded:
    """A launched campaign."""
    async with direct.acquire() as connection, connection.transaction():
        seeded = await seed_campaign(connection, [f"u{n}@x.example" for n in range(PEOPLE)])  # type: ignore[arg-type]
        await launch(connection, seeded.campaign_id, tenant_id=seeded.tenant_id)
    return seeded


async def keep_cutting(proxy: FaultProxy) -> None:
    """Cut again and again."""
    while True:
        await asyncio.sleep(0.05)
        proxy.cut()


async def test_gate_while_connections_are_cut_grants_each_row_once(
    database_url: str, direct: Pool, seeded: Seeded
) -> None:
    """A claim whose answer was lost is recognised afterwards: nobody is granted twice, nobody is forgotten."""
    ids = [row["id"] for row in await direct.fetch("SELECT id FROM messages ORDER BY id")]
    granted: Counter[int] = Counter()
    async with fault_proxy_before(database_url) as (url, proxy):
        pool = await open_pool(url, name="gate", size=2)
        gate = Gate(pool, "d1")
        running = asyncio.create_task(gate.run())
        cutting = asyncio.create_task(keep_cutting(proxy))

        async def ask(part: list[int]) -> None:
            for start in range(0, len(part), 5):
                granted.update(list(await gate.claim([(i, 0) for i in part[start : start + 5]])))

        asking = asyncio.gather(*(ask(ids[n::8]) for n in range(8)))
        await asyncio.sleep(3)
        cutting.cancel()
        await asyncio.wait_for(asking, 60)
        await stop(running)
        pool.terminate()
    assert set(granted.values()) == {1}
    assert set(granted) == set(ids)
    assert await direct.fetchval("SELECT count(*) FROM messages WHERE state = 'claimed' AND attempt = 1") == PEOPLE


async def test_gate_the_same_row_asked_for_by_two_connections_is_granted_to_one(
    database_url: str, direct: Pool, seeded: Seeded
) -> None:
    """Two connections of one dispatcher with the same row at the same moment: one statement holds an id once."""
    ids = [row["id"] for row in await direct.fetch("SELECT id FROM messages ORDER BY id LIMIT 50")]
    gate = Gate(direct, "d1")
    running = asyncio.create_task(gate.run())
    answers = await asyncio.gather(*(gate.claim([(i, 0) for i in ids]) for _ in range(6)))
    assert sorted(i for answer in answers for i in answer) == ids
    with pytest.raises(ValueError, match="twice"):
        await gate.claim([(ids[0], 0), (ids[0], 0)])
    await stop(running)
    with pytest.raises(GateClosed):
        await gate.claim([(ids[0], 0)])


async def test_gate_a_row_in_hand_twice_is_granted_once_although_the_database_goes_away(
    database_url: str, direct: Pool, seeded: Seeded
) -> None:
    """A batch came again while its mail is being sent; the second claim's answer is lost: the grant is the first one's."""
    row = (await direct.fetchval("SELECT min(id) FROM messages"), 0)
    async with fault_proxy_before(database_url) as (url, proxy):
        pool = await open_pool(url, name="gate", size=1)
        gate = Gate(pool, "d1")
        running = asyncio.create_task(gate.run())
        first = await gate.claim([row])
        proxy.cut_after(0, Way.TO_CLIENT)
        asking = asyncio.create_task(gate.claim([row]))
        await asyncio.sleep(1)
        proxy.heal()
        second = await asyncio.wait_for(asking, 30)
        await stop(running)
        pool.terminate()
    assert (set(first), second) == ({row[0]}, {})


async def test_outcomes_while_connections_are_cut_are_written_once(
    database_url: str, direct: Pool, seeded: Seeded
) -> None:
    """Each outcome reaches the ledger and the counters exactly once, and only then is its batch told."""
    ids = [row["id"] for row in await direct.fetch("SELECT id FROM messages ORDER BY id")]
    await direct.execute("UPDATE messages SET state = 'claimed', attempt = 1, claimed_by = 'd1'")
    told: list[int] = []
    async with fault_proxy_before(database_url) as (url, proxy):
        pool = await open_pool(url, name="outcomes", size=2)
        writer = OutcomeWriter(pool)
        running = asyncio.create_task(writer.run())
        cutting = asyncio.create_task(keep_cutting(proxy))
        for i in ids:
            outcome = Outcome(i, 1, MessageState.ACCEPTED, code=250)
            writer.put(Report(outcome, "other", suppress=False, done=lambda i=i: told.append(i)))
            if i % 20 == 0:
                await asyncio.sleep(0.05)
        cutting.cancel()
        with suppress(TimeoutError):
            await asyncio.wait_for(writer.flushed(), 60)
        await stop(running)
        pool.terminate()
    assert sorted(told) == ids
    async with direct.acquire() as connection:
        assert await read_counters(connection, seeded.campaign_id) == {"accepted": PEOPLE}
    assert await direct.fetchval("SELECT count(*) FROM attempts") == PEOPLE


async def test_outcomes_that_the_database_refuses_do_not_hold_up_the_others(direct: Pool, seeded: Seeded) -> None:
    """One outcome with words that no column takes is written without them, and logged; its neighbours keep theirs."""
    ids = [row["id"] for row in await direct.fetch("SELECT id FROM messages ORDER BY id LIMIT 9")]
    await direct.execute("UPDATE messages SET state = 'claimed', attempt = 1, claimed_by = 'd1'")
    writer = OutcomeWriter(direct)
    running = asyncio.create_task(writer.run())
    for i in ids:
        outcome = Outcome(i, 1, MessageState.ACCEPTED, code=250, reply="\ud800" if i == ids[4] else "ok")
        writer.put(Report(outcome, "other", suppress=False, done=lambda: None))
    await asyncio.wait_for(writer.flushed(), 20)
    await stop(running)
    assert await direct.fetchval("SELECT count(*) FROM messages WHERE state = 'accepted'") == 9
    assert await direct.fetchval("SELECT count(*) FROM attempts WHERE reply = 'ok'") == 8
