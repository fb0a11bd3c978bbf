"""Processes that die, and processes that are told to go.

1. kill -9 of every kind of service, again and again, with several replicas running.
5. SIGTERM and rolling restart of everything, twice.
"""

import asyncio

from tests.chaos.fleet import GRACE_S, KINDS
from tests.chaos.scenario import Result, Scale, finished, until_through
from tests.chaos.world import ChaosWorld

PAUSE_S = 0.35


async def kill_everything(world: ChaosWorld, scale: Scale) -> Result:
    """Kill -9 of replicas of every kind in random order, while a bulk and a transactional campaign run.

    Bulk: a lost reply is ``unknown`` and held; nobody gets it twice. Transactional: what is unknown is sent once more, so
    at most what was in flight is repeated.
    """
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

    urgent = await world.launch(scale.small, message_class="transactional")
    first = await world.launch(scale.people)
    ids = await until_through(world, first, one_kill)
    result = await finished(world, "kill -9 of every service", ids, in_flight=in_flight)
    again = await finished(world, "transactional", [urgent], in_flight=in_flight, twice=in_flight)
    result.broken += [f"transactional: {what}" for what in again.broken]
    result.more |= {
        "kills": scale.kills * len(KINDS),
        "transactional_twice": again.verdict.twice,
        "transactional_unknown": again.verdict.unknown,
    }
    return result


async def rolling_restart(world: ChaosWorld, scale: Scale) -> Result:
    """Every replica is told to go, one of each kind at a time; nothing is left unknown."""
    await world.fleet.ready()
    campaign = await world.launch(scale.fewer if scale.short else scale.people)
    slowest_s = 0.0
    waves = max(len(world.fleet.of(kind)) for kind in KINDS)
    for _ in range(1 if scale.short else 2):
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
