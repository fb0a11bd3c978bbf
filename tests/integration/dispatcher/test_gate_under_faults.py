"""The gathered gate and outcome writer while the database's connections are cut; on a real PostgreSQL behind a proxy."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from typing import cast

import pytest
from opentelemetry.context import Context

from hayabin.broker import Delivery
from hayabin.contracts.dispatch_pb2 import Mail, MailBatch
from hayabin.database.counters import read_counters
from hayabin.database.engine import Pool, open_pool
from hayabin.database.launch import launch
from hayabin.database.ledger import Outcome
from hayabin.domain.message import MessageState
from services.dispatcher.batch import Job, take_in_hand
from services.dispatcher.gate import HELD_BEYOND_LEASE_S, Gate, GateClosed, admitted, stop
from services.dispatcher.outcomes import OutcomeWriter, Report
from services.dispatcher.reporting import Reporter
from services.dispatcher.reporting import Way as SmtpWay
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
        seeded = await seed_campaign(connection, [f"u{n}@x.example" for n in range(PEOPLE)])
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
            writer.put(Report(outcome, "other", suppress=False, done=partial(told.append, i)))
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


def in_hand(seeded: Seeded, message_id: int, *, lease_s: float) -> Job:
    """A mail as it comes off the belt, whose lease ends so many seconds from now."""
    batch = MailBatch(
        campaign_id=seeded.campaign_id,
        lane="bulk-0",
        lease_expires_ms=int((time.time() + lease_s) * 1000),
        mails=[Mail(message_id=message_id, recipient="u0@x.example", return_path="b@x.example", content=b"x")],
    )
    (job,) = take_in_hand(cast("Delivery", None), batch, Context(), 0.0)
    return job


async def test_mail_at_which_we_failed_ourselves_becomes_unknown(direct: Pool, seeded: Seeded) -> None:
    """A fault of ours in the middle of a transaction leaves no claim open, and the row may be claimed again later."""
    message_id = await direct.fetchval("SELECT min(id) FROM messages")
    gate, writer = Gate(direct, "d1"), OutcomeWriter(direct)
    running = [asyncio.create_task(gate.run()), asyncio.create_task(writer.run())]
    (job,) = await admitted(gate, [in_hand(seeded, message_id, lease_s=300)])
    Reporter(writer).lost_sight(job, SmtpWay("other"))
    await asyncio.wait_for(writer.flushed(), 20)
    row = await direct.fetchrow("SELECT state, reason FROM messages WHERE id = $1", message_id)
    assert tuple(row or ()) == ("unknown", "dispatcher_failed")
    assert gate._told == set(), "what is settled is not remembered for ever"
    for part in running:
        await stop(part)


async def test_mail_whose_lease_ended_long_ago_is_not_claimed(direct: Pool, seeded: Seeded) -> None:
    """Nobody would look for such a claim if we died: it is let go, and comes again under a new lease."""
    message_id = await direct.fetchval("SELECT min(id) FROM messages")
    gate = Gate(direct, "d1")
    running = asyncio.create_task(gate.run())
    old = in_hand(seeded, message_id, lease_s=-HELD_BEYOND_LEASE_S - 1)
    assert await admitted(gate, [old]) == []
    assert old.batch.all_settled.is_set()
    assert await direct.fetchval("SELECT state FROM messages WHERE id = $1", message_id) == "due"
    late = in_hand(seeded, message_id, lease_s=-HELD_BEYOND_LEASE_S + 30)
    assert await admitted(gate, [late]) == [late]
    await stop(running)
