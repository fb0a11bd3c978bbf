"""The database: PostgreSQL killed, restarted, its disk lost to a promoted standby.

Nothing that was acknowledged is lost; the services wait and go on.
"""

import asyncio

from tests.chaos.scenario import Result, Scale, finished, until_through
from tests.chaos.world import ChaosWorld


async def database_killed(world: ChaosWorld, scale: Scale) -> Result:
    """Kill -9 of PostgreSQL again and again, then a restart in order."""
    left = 2 if scale.short else 10
    lives = world.fleet.crash_loops

    async def one_kill() -> bool:
        nonlocal left
        left -= 1
        if left < 0:
            return False
        await asyncio.sleep(1.0)
        end = world.postgres.kill if left else world.postgres.stop
        await asyncio.to_thread(end)
        await asyncio.sleep(0.5)
        await asyncio.to_thread(world.postgres.start)
        return True

    first = await world.launch(scale.people)
    ids = await until_through(world, first, one_kill)
    result = await finished(world, "PostgreSQL killed and restarted", ids)
    ended = world.fleet.crash_loops - lives
    result.hold("no process ended by itself", holds=ended == 0, but=ended)
    return result
