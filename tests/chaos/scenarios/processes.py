"""Processes that die, and processes that are told to go.

1. kill -9 of every kind of service, again and again, with several replicas running.
5. SIGTERM and rolling restart of everything, twice.
"""

import asyncio

from tests.chaos.fleet import GRACE_S, KINDS
from tests.chaos.scenario import Result, Scale, finished, until_through
from tests.chaos.world import ChaosWorld

PAUSE_S = 0.35


async def _kills(world: ChaosWorld, scale: Scale, message_class: str) -> tuple[list[int], int]:
    """Kill replicas of every kind in random order while campaigns run; give these and what was in flight."""
    victims = [kind for kind in KINDS for _ in range(scale.kills)]
    world.random.shuffle(victims)
    in_flight = 0

    async def one_kill() -> bool:
        nonlocal in_flight
        if not victims:
            return False
        await asyncio.sleep(PAUSE_S)
        world.fleet.bury()
        replica = world.random.choice(world.fleet.of(victims.pop()))
        life = world.fleet.kill(replica)
        in_flight += await world.in_flight(life)
        world.fleet.revive(replica)
        return True

    first = await world.launch(scale.people, message_class=message_class)
    return await until_through(world, first, one_kill), in_flight


async def kill_everything(world: ChaosWorld, scale: Scale) -> Result:
    """Bulk: a lost reply is ``unknown`` and held; nobody gets it twice."""
    ids, in_flight = await _kills(world, scale, "bulk")
    result = await finished(world, "kill -9 of every service (bulk: hold)", ids, in_flight=in_flight)
    result.more["kills"] = scale.kills * len(KINDS)
    return result


async def kill_dispatchers_resend(world: ChaosWorld, scale: Scale) -> Result:
    """Transactional: what is unknown is sent once more; so at most what was in flight is repeated."""
    campaign = await world.launch(scale.small, message_class="transactional")
    in_flight = 0
    for _ in range(scale.kills):
        await asyncio.sleep(PAUSE_S)
        replica = world.random.choice(world.fleet.of("dispatcher"))
        life = world.fleet.kill(replica)
        in_flight += await world.in_flight(life)
        world.fleet.revive(replica)
    result = await finished(
        world, "kill -9 of dispatchers (transactional: resend once)", [campaign], in_flight=in_flight, twice=in_flight
    )
    result.more["kills"] = scale.kills
    return result


async def rolling_restart(world: ChaosWorld, scale: Scale) -> Result:
    """Every replica is told to go, one of each kind at a time; nothing is left unknown."""
    await world.fleet.ready()
    campaign = await world.launch(scale.people)
    slowest_s = 0.0
    waves = max(len(world.fleet.of(kind)) for kind in KINDS)
    for _ in range(2 if scale.rounds > 10 else 1):
        for number in range(waves):
            wave = [replica for replica in world.fleet.replicas if replica.number == number]
            slowest_s = max(slowest_s, *await asyncio.gather(*(world.fleet.stop(replica) for replica in wave)))
            for replica in wave:
                world.fleet.revive(replica)
            await world.fleet.ready()
    result = await finished(world, "rolling restart of everything", [campaign])
    result.more["slowest_exit_s"] = round(slowest_s, 1)
    result.hold("every process ends within its grace time", holds=slowest_s <= GRACE_S, but=slowest_s)
    return result
