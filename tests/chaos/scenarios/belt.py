"""The belt: RabbitMQ killed, stopped for long, purged, wiped.

Whatever was on it is in the ledger, and is put on it again.
"""

import asyncio

import aio_pika

from hayabin.broker.topology import MARK_QUEUE, dispatch_queue, render_queue, shared_queues
from hayabin.domain.campaign import RenderBelt
from hayabin.domain.lane import lanes
from tests.chaos.scenario import Result, Scale, finished, until_through
from tests.chaos.world import POOL, ChaosWorld


async def broker_killed(world: ChaosWorld, scale: Scale) -> Result:
    """Kill -9 of RabbitMQ again and again, and one long outage."""
    left = scale.kills

    async def one_kill() -> bool:
        nonlocal left
        left -= 1
        if left < 0:
            return False
        await asyncio.sleep(1.0)
        await asyncio.to_thread(world.rabbitmq.kill)
        await asyncio.sleep(0.5)
        await asyncio.to_thread(world.rabbitmq.start)
        return True

    left = 1 if scale.short else 10
    first = await world.launch(scale.people)
    ids = await until_through(world, first, one_kill)
    last = await world.launch(scale.small if scale.short else scale.fewer)
    await asyncio.to_thread(world.rabbitmq.stop)
    await asyncio.sleep(scale.outage_s)
    await asyncio.to_thread(world.rabbitmq.start)
    result = await finished(world, f"RabbitMQ killed, and stopped for {scale.outage_s:.0f} s", [*ids, last])
    result.hold("no process ended by itself", holds=world.fleet.crash_loops == 0, but=world.fleet.crash_loops)
    return result


async def belt_emptied(world: ChaosWorld, scale: Scale) -> Result:
    """All queues purged in the middle of a run; then the node wiped and recreated empty."""
    purged = await world.launch(scale.fewer)
    await world.taken(purged, 0.2)
    connection = await aio_pika.connect(world.rabbitmq.url, timeout=10)
    channel = await connection.channel()
    names = [
        *(queue.name for queue in shared_queues()),
        *(render_queue(belt) for belt in RenderBelt),
        *(dispatch_queue(POOL, lane) for lane in lanes()),
        MARK_QUEUE,
    ]
    gone = 0
    for name in dict.fromkeys(names):
        queue = await channel.declare_queue(name, passive=True)
        gone += (await queue.purge()).message_count or 0
    await connection.close()
    result = await finished(world, "all queues purged", [purged])
    wiped = await world.launch(scale.fewer)
    await world.taken(wiped, 0.2)
    await asyncio.to_thread(world.rabbitmq.wipe)
    second = await finished(world, "RabbitMQ purged, then wiped and recreated empty", [purged, wiped])
    second.more["purged_messages"] = gone
    second.hold("there was something to purge", holds=gone > 0)
    second.more["recovery_after_purge_s"] = result.recovery_s and round(result.recovery_s, 1)
    second.broken = [*result.broken, *second.broken]
    return second
