"""One campaign of a size: launched through the REST API and sent, or cancelled after a while.

Promises: what the sink accepted is what the ledger has as accepted, and the ledger's rows are the audience.
Fails: SystemExit where that does not hold, or where the campaign does not end.
Units: seconds; the time of the first accepted mail is seen every ``FIRST_SEEN_S``.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from benchmarks.engine_parts.course import Course
from benchmarks.engine_parts.running import World
from benchmarks.engine_parts.stage import say
from benchmarks.engine_parts.windows import Look, between, memory_windows, part_of, thinned, within
from tests.support.waiting import eventually

STEADY = (0.25, 0.90)
"""From this part of the mails to that one a run counts as steady: nothing begins any more, nothing runs out yet. Of one
that is cut off it is what comes after its audience is in the ledger, as nearly all of it would."""
EARLY, LATE = (0.05, 0.25), (0.80, 1.0)
"""The parts of the time whose rate and memory are compared."""
FIRST_SEEN_S, FILLED_SEEN_S = 0.01, 0.2
_FIRST_TIMEOUT_S = 300.0
_SETTLED_TIMEOUT_S = 120.0
_PLOTTED = 60


@dataclass(frozen=True, slots=True)
class Size:
    """So many recipients; sending is cut off ``most_s`` after all of them are in the ledger, if that is not 0."""

    recipients: int
    most_s: float = 0.0

    @property
    def timeout_s(self) -> float:
        """How long sending may take: three hundred a second is a broken system, not a slow one."""
        return 120 + self.recipients / 300


async def send(world: World, list_id: int, size: Size) -> dict[str, Any]:
    """Launch a campaign to this list and measure it."""
    campaign_id = await world.draft(list_id)
    course = Course(world)
    begun = (await course.look(exactly=True)).accepted
    asked_s = time.monotonic()
    launching = asyncio.create_task(world.move(campaign_id, "launch"))
    first_s = await _first_accepted(world, begun, launching)
    launch_s = await launching
    say(f"  launch answered after {launch_s:.2f} s, first mail accepted after {first_s - asked_s:.2f} s")
    course.looks.clear()
    filling = asyncio.create_task(_filled(world, campaign_id))

    def over(look: Look) -> bool:
        late = bool(size.most_s) and filling.done() and look.at_s > filling.result() + size.most_s
        return late or look.accepted >= begun + size.recipients

    every_s = 0.1 if size.recipients <= 20_000 else 0.5
    last = await course.until(over, timeout_s=size.timeout_s, every_s=every_s, aim=f" of {size.recipients}")
    looks = list(course.looks)
    sent = min(last.accepted - begun, size.recipients)
    filled_s = await filling
    steady = part_of(looks, begun, sent, STEADY)
    if size.most_s and looks[-1].at_s > filled_s:
        steady = next(look for look in looks if look.at_s >= filled_s), looks[-1]
    before = [look for look in looks if look.at_s < filled_s]
    ledger = await _settled(world, campaign_id, size, begun)
    return {
        "recipients": size.recipients,
        "sent": sent,
        "whole": sent == size.recipients,
        "launch_request_s": round(launch_s, 3),
        "first_accepted_s": round(first_s - asked_s, 3),
        "first_to_last_s": round(last.at_s - first_s, 2),
        "filled_s": round(filled_s - asked_s, 2),
        "steady": between(*steady),
        "while_filled": between(before[0], before[-1]) if len(before) > 1 else {},
        "early": _window(looks, EARLY),
        "late": _window(looks, LATE),
        "memory": memory_windows(looks, EARLY, LATE),
        "course": thinned(looks, _PLOTTED),
        "ledger": ledger,
    }


async def _first_accepted(world: World, begun: int, launching: asyncio.Task[float]) -> float:
    """Wait for the first mail at the sink; a launch that failed says so at once."""
    deadline_s = time.monotonic() + _FIRST_TIMEOUT_S
    while (await world.watch.counts())["accepted"] <= begun:
        if launching.done():
            launching.result()
        if time.monotonic() > deadline_s:
            raise SystemExit(f"nothing was accepted within {_FIRST_TIMEOUT_S:.0f} s of the launch")
        await asyncio.sleep(FIRST_SEEN_S)
    return time.monotonic()


async def _filled(world: World, campaign_id: int) -> float:
    """Wait until the whole audience is in the ledger; gives the time."""
    while await world.pool.fetchval("SELECT filling FROM campaigns WHERE id = $1", campaign_id):  # noqa: ASYNC110
        await asyncio.sleep(FILLED_SEEN_S)
    return time.monotonic()


def _window(looks: list[Look], part: tuple[float, float]) -> dict[str, Any]:
    """Give what a part of the time says; of the shortest runs there may be too few looks in it."""
    mine = within(looks, part)
    return between(mine[0], mine[-1]) if len(mine) > 1 else {}


async def _settled(world: World, campaign_id: int, size: Size, begun: int) -> dict[str, int]:
    """Cancel what was cut off, wait until nothing is under way, and compare the ledger with the sink."""
    if size.most_s and (await world.watch.counts())["accepted"] < begun + size.recipients:
        await world.move(campaign_id, "cancel")

    async def ledger() -> dict[str, int]:
        return await world.ledger(campaign_id)

    def over(rows: dict[str, int]) -> bool:
        return not any(rows.get(state) for state in ("due", "claimed", "deferred"))

    rows = await eventually(ledger, over, timeout_s=_SETTLED_TIMEOUT_S, every_s=1.0)
    accepted = (await world.watch.counts())["accepted"] - begun
    if accepted != rows.get("accepted", 0) or sum(rows.values()) != size.recipients:
        raise SystemExit(f"the sink accepted {accepted} mails of {size.recipients}, the ledger has {rows}")
    return rows
