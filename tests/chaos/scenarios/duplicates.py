"""Everything twice and more: launches, keys, deliveries of the belt, reports, events. One effect each.

8. Double launch, launch by two API replicas at once, the same key from 20 clients, replayed deliveries ×5, each DSN,
   complaint and event ×5.
"""

import asyncio
import contextlib
from collections import Counter

import aio_pika
import httpx

from hayabin.broker.topology import DISPATCH, EVENTS, RENDER, dispatch_queue, events_queue, render_queue
from hayabin.domain.campaign import RenderBelt
from hayabin.domain.lane import lanes
from tests.chaos.judge import Allowed, Launch
from tests.chaos.people import Acts, complain, give_back, missing
from tests.chaos.scenario import Result, Scale, finished
from tests.chaos.world import GREY, POOL, ChaosWorld

TIMES = 5
CLIENTS = 20
KINDS = ("delivery", "engagement", "bounce")


async def one_effect(world: ChaosWorld, scale: Scale) -> Result:
    """Launch in every doubled way, replay all that the belt carries, report everything five times."""
    campaign, addresses = await world.campaign(
        scale.small // 2 if scale.short else scale.fewer, domains=("d0.example", "d1.example", GREY)
    )
    async with asyncio.TaskGroup() as group:
        replayed: Counter[str] = Counter()
        copying = group.create_task(_replay_for_ever(world, replayed))
        await asyncio.sleep(0.5)
        answers = await _launches(world, campaign)
        world.launches.append(Launch(campaign, addresses))
        acts, opened = Acts(), Counter[int]()
        await world.completed([campaign], timeout_s=120)
        rows = await world.query(
            "SELECT id FROM messages WHERE campaign_id = $1 AND state = 'accepted' LIMIT 60", campaign
        )
        for row in rows[:20]:
            await give_back(world, row["id"], acts, times=TIMES)
        for row in rows[20:40]:
            await complain(world, row["id"], acts, times=TIMES)
        for row in rows[40:]:
            opened[row["id"]] += await _open(world, row["id"])
        lost = await missing(world, acts)
        copying.cancel()
    result = await finished(
        world, "everything doubled: launches, deliveries, reports", [campaign],
        allowed=Allowed(bounced_later=frozenset(acts.sent_back)),
    )  # fmt: skip
    result.more["launch_answers"] = {str(status): n for status, n in answers.items()}
    result.hold(
        "each key had one effect", holds=answers[200] == CLIENTS and set(answers) <= {200, 409}, but=dict(answers)
    )
    result.more["replayed"] = dict(replayed)
    result.hold(
        "chunks, batches and events were replayed", holds=set(replayed) == {RENDER, DISPATCH, EVENTS}, but=replayed
    )
    result.hold("no confirmed report is lost", holds=not any(lost.values()), but=lost)
    await _hold_events(world, result, acts, opened)
    return result


async def _launches(world: ChaosWorld, campaign: int) -> Counter[int]:
    """Launch by 20 clients with one key until each has an answer, and by two more with keys of their own."""
    statuses: Counter[int] = Counter()

    async def client(key: str, url: str) -> None:
        async with httpx.AsyncClient(base_url=url, timeout=60) as http:
            while True:
                answer = await http.post(
                    f"/v1/campaigns/{campaign}/launch",
                    json={"allow_unverified_domain": True},
                    headers={"Authorization": f"Bearer {world.key}", "Idempotency-Key": key},
                )
                if answer.status_code != 409 or "in-flight" not in answer.text:
                    statuses[answer.status_code] += 1
                    return
                await asyncio.sleep(0.2)

    urls = world.fleet.urls("api")
    await asyncio.gather(*(client("the-same", urls[n % len(urls)]) for n in range(CLIENTS)))
    await asyncio.gather(*(client(f"other-{n}", urls[n % len(urls)]) for n in range(4)))
    return statuses


async def _replay_for_ever(world: ChaosWorld, replayed: Counter[str]) -> None:
    """Take a copy of whatever is published and put it on the same queue five times more, until cancelled; count it."""
    connection = await aio_pika.connect(world.rabbitmq.url, timeout=10)
    channel = await connection.channel(publisher_confirms=False)
    bindings: dict[tuple[str, str], str] = {
        **{(RENDER, str(belt)): render_queue(belt) for belt in RenderBelt},
        **{(DISPATCH, f"{POOL}.{lane}"): dispatch_queue(POOL, lane) for lane in lanes()},
        **{(EVENTS, kind): events_queue(kind) for kind in KINDS},
    }
    copies = await channel.declare_queue(exclusive=True)
    for exchange, key in bindings:
        await copies.bind(exchange, key)

    async def replay(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        queue = bindings[message.exchange or "", message.routing_key or ""]
        for _ in range(TIMES):
            again = aio_pika.Message(message.body, headers=message.headers)
            await channel.default_exchange.publish(again, queue)
        replayed[message.exchange or ""] += TIMES
        await message.ack()

    try:
        await copies.consume(replay)
        await asyncio.Event().wait()
    except asyncio.CancelledError:  # the end of the block, not of the group
        pass
    finally:
        await connection.close()


async def _open(world: ChaosWorld, message_id: int) -> int:
    async with httpx.AsyncClient(base_url=world.fleet.urls("tracker")[0], timeout=10) as client:
        with contextlib.suppress(httpx.HTTPError):
            return int((await client.get(f"/o/{world.ring.issue_tracking(message_id)}")).status_code == 200)
    return 0


async def _hold_events(world: ChaosWorld, result: Result, acts: Acts, opened: Counter[int]) -> None:
    """Each report and each open is one event, although each came several times."""
    rows = await world.query(
        "SELECT message_id, kind, count(*) AS n FROM events WHERE message_id = ANY($1) GROUP BY 1, 2",
        [*acts.returned, *acts.complained, *opened],
    )
    more = [(row["message_id"], row["kind"], row["n"]) for row in rows if row["n"] > 1]
    result.hold("each report and each open is one event", holds=not more and bool(rows), but=more[:3])
