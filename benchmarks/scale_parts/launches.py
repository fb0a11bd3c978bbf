"""How long the launch request takes: one campaign after the other is launched by the API and cancelled.

Nothing is sent meanwhile: only the API and the servers run, so that the request is measured and not what follows it.
Promises: how many there were is told, since a p99 of few is their longest.
Units: seconds.
"""

import time
from typing import Any

from benchmarks.engine_parts.running import World
from benchmarks.engine_parts.windows import summary_ms
from benchmarks.processes import cpu_of_group


async def launches(world: World, list_id: int, recipients: int, *, most: int, within_s: float) -> dict[str, Any]:
    """Launch up to ``most`` campaigns to a list, as many as begin within the time given, at least one."""
    times_s: list[float] = []
    begun_s = time.monotonic()
    cpu_s = _postgres_cpu_s(world)
    while len(times_s) < most and (not times_s or time.monotonic() - begun_s < within_s):
        campaign_id = await world.draft(list_id)
        times_s.append(await world.move(campaign_id, "launch"))
        await world.move(campaign_id, "cancel")
    spent_s = _postgres_cpu_s(world) - cpu_s
    return {
        "recipients": recipients,
        **summary_ms(times_s),
        "postgres_cpu_us_per_recipient": round(spent_s * 1e6 / recipients / len(times_s), 1),
    }


def _postgres_cpu_s(world: World) -> float:
    return cpu_of_group(world.place.groups()["postgres"])
