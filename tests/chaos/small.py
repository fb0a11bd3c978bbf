"""Scenarios of the suite in their small form: a few hundred people, only the faults that matter, over in seconds.

Promises: each passes on code that keeps its promises, on a slow machine too: what is waited for is that nothing moves
any more (``STILL_S``), not a time. Dispatchers are started anew where they do not run the world's code.
Fails: ``TimeoutError`` where a dispatcher does not come to its crash point.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aio_pika

from hayabin.broker.topology import DISPATCH, dispatch_queue
from hayabin.crash_points import CrashPoint
from hayabin.database import feeds
from hayabin.database.installation import READ_S
from hayabin.domain.lane import lanes
from tests.chaos.fleet import Replica
from tests.chaos.scenario import Result, finished
from tests.chaos.world import GREY, POOL, ChaosWorld
from tests.support.waiting import eventually

PEOPLE = 300
PEOPLE_IN_TIME = 40
STILL_S = 6.0
"""Where nothing has moved for so long, nothing will: three times what it takes to mourn a dispatcher in haste."""
DONE_WITHIN_S = 60.0
DEATH_WITHIN_S = 15.0
AGAIN_S = 0.5
AGAIN_TIMES = 8
"""After so many, nobody is in doubt; and what is sent each time that it comes has an end."""
STATEMENT_S = 0.5
"""A claim that began before the pulse went back has its answer after so long."""
WATCH_S = 1.5


async def replayed(world: ChaosWorld) -> Result:
    """Greylisted mail, and every batch that was ever delivered comes again and again (as scenario 8)."""
    await current(world)
    async with stale_deliveries(world):
        campaign = await world.launch(PEOPLE, domains=("d0.example", GREY))
        return await through(world, "stale deliveries", campaign)


async def killed(world: ChaosWorld) -> Result:
    """Each dispatcher dies by SIGKILL, one before a claimed mail was begun, one after a server took it (as 1a, 13)."""
    await current(world, CrashPoint.SMTP_BEFORE_MAIL, CrashPoint.SMTP_REPLIED)
    campaign = await world.launch(PEOPLE)
    in_flight = 0
    end_s = time.monotonic() + DEATH_WITHIN_S
    for replica in world.fleet.of("dispatcher"):
        while replica.running:
            if time.monotonic() > end_s:
                raise TimeoutError(f"{replica.name} did not come to its crash point")
            await asyncio.sleep(0.05)
        in_flight += await world.in_flight(world.fleet.kill(replica))
    for replica in world.fleet.of("dispatcher"):
        world.fleet.revive(replica)
    return await through(world, "kill -9 of dispatchers", campaign, in_flight=in_flight)


async def taken_back(world: ChaosWorld) -> Result:
    """The database goes back behind the dispatchers' backs, and no scheduler is there to hold (as 9b)."""
    await current(world)
    pulse = await eventually(
        lambda: world.pool.fetchval("SELECT pulse FROM installation"), lambda beaten: beaten > 1, timeout_s=10
    )
    await asyncio.sleep(READ_S * 1.2)  # each dispatcher knows of it
    campaign = await world.launch(PEOPLE)
    await world.taken(campaign, 0.05)
    (scheduler,) = world.fleet.of("scheduler")
    world.fleet.kill(scheduler)
    await world.pool.execute("UPDATE installation SET pulse = 1")
    await asyncio.sleep(STATEMENT_S)
    due = {row["wire"] for row in await world.query(
        "SELECT r.wire FROM messages m JOIN recipients r ON r.message_id = m.id "
        "WHERE m.campaign_id = $1 AND m.state = 'due'", campaign)}  # fmt: skip
    await asyncio.sleep(WATCH_S)
    sent = sum(entry.rcpt_to in due for entry in world.journal())
    await world.pool.execute("UPDATE installation SET pulse = $1", pulse + 100)
    async with world.pool.acquire() as connection:
        await feeds.end_leases(connection)
    world.fleet.revive(scheduler)
    result = await through(world, "a database from before", campaign)
    result.hold("mail waited when the database went back", holds=bool(due))
    result.hold("nothing passes in a database from before", holds=not sent, but=sent)
    return result


async def suppressed(world: ChaosWorld) -> Result:
    """Addresses are suppressed while a campaign is paused, and it goes on (as 6, 7)."""
    await current(world)
    campaign = await world.launch(PEOPLE)
    paused = await world.call("POST", f"/v1/campaigns/{campaign}/pause")
    assert paused.status_code == 200, paused.text
    rows = await world.query(
        "SELECT r.wire FROM messages m JOIN recipients r ON r.message_id = m.id "
        "WHERE m.campaign_id = $1 AND m.state = 'due' LIMIT $2", campaign, PEOPLE_IN_TIME)  # fmt: skip
    gone = {row["wire"] for row in rows}
    added = await world.call("POST", "/v1/suppressions", json={"emails": sorted(gone)})
    assert added.status_code == 201, added.text
    await world.call("POST", f"/v1/campaigns/{campaign}/resume")
    result = await through(world, "suppressions", campaign)
    sent = sum(entry.rcpt_to in gone for entry in world.journal())
    result.hold("some were suppressed in time", holds=len(gone) == PEOPLE_IN_TIME, but=len(gone))
    result.hold("nobody who was suppressed before gets it", holds=not sent, but=sent)
    return result


async def through(world: ChaosWorld, name: str, campaign: int, *, in_flight: int = 0) -> Result:
    """Wait until the campaign is complete, or nothing moves any more, and judge."""
    seen, moved_s, end_s = None, time.monotonic(), time.monotonic() + DONE_WITHIN_S
    while time.monotonic() < min(moved_s + STILL_S, end_s):
        if await world.completed([campaign], timeout_s=0.3) is not None:
            break
        if (states := await world.states(campaign)) != seen:
            seen, moved_s = states, time.monotonic()
    return await finished(world, name, [campaign], in_flight=in_flight, within_s=1.0)


async def current(world: ChaosWorld, *crash_points: CrashPoint) -> None:
    """Start those dispatchers anew that do not run the world's code, or are to be armed (the tenth time each)."""
    arms = [f"{point}@10" for point in crash_points]
    for replica in world.fleet.of("dispatcher"):
        if arms or code_of(replica) != world.fleet.system.code:
            world.fleet.kill(replica)
            world.fleet.revive(replica, crash_at=arms.pop() if arms else "")
    await world.fleet.ready()


def code_of(replica: Replica) -> Path | None:
    """The tree of which a replica runs; None if it has ended."""
    if replica.service is None or not replica.running:
        return None
    return Path(f"/proc/{replica.service.process.pid}/cwd").readlink()


@asynccontextmanager
async def stale_deliveries(world: ChaosWorld) -> AsyncIterator[None]:
    """Keep a copy of each batch that is published, and deliver it again every moment, ``AGAIN_TIMES``."""
    connection = await aio_pika.connect(world.rabbitmq.url, timeout=10)
    async with connection:
        channel = await connection.channel()
        queues = {f"{POOL}.{lane}": dispatch_queue(POOL, lane) for lane in lanes()}
        copies = await channel.declare_queue(exclusive=True)
        for key in queues:
            await copies.bind(DISPATCH, key)
        kept: list[tuple[aio_pika.Message, str]] = []
        comes_again: list[int] = []  # how often, of each

        async def keep(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            kept.append((aio_pika.Message(message.body, headers=message.headers), queues[message.routing_key or ""]))
            comes_again.append(AGAIN_TIMES)
            await message.ack()

        async def again() -> None:
            while True:
                await asyncio.sleep(AGAIN_S)
                for number, (message, queue) in enumerate(kept):
                    if comes_again[number]:
                        comes_again[number] -= 1
                        await channel.default_exchange.publish(message, queue)

        await copies.consume(keep)
        repeating = asyncio.create_task(again())
        yield
        repeating.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await repeating
