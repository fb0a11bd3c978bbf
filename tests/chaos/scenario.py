"""What a scenario is: faults while a campaign runs, and the promises that must hold all the same.

Promises: ``finished`` waits for the campaigns, asks the judge, and holds the verdict against the promises; what does not
hold is named in ``Result.broken``. Nothing is passed over because something else failed first.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.chaos.judge import Allowed, Verdict
from tests.chaos.world import ChaosWorld

RECOVERY_S = 120.0
"""After the last fault everything gets through by itself, and never stands still for so long."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is sent and how often something is broken."""

    people: int
    kills: int  # of each kind of process
    rounds: int  # of what is repeated otherwise
    outage_s: float  # of the long outage
    soak_s: float
    slow_s: float  # how long slow things are watched

    @property
    def short(self) -> bool:
        """Whether this is the run beside the other tests: what is many is sampled by the seed."""
        return self.rounds < FULL.rounds

    @property
    def fewer(self) -> int:
        """For what takes several times the work of a plain run."""
        return self.people // 3

    @property
    def small(self) -> int:
        """For what needs a run beside it, but no large one."""
        return max(300, self.people // 10)


SHORT = Scale(people=3_000, kills=1, rounds=2, outage_s=10.0, soak_s=15.0, slow_s=10.0)
FULL = Scale(people=100_000, kills=20, rounds=20, outage_s=600.0, soak_s=300.0, slow_s=1800.0)


class Skipped(Exception):
    """The scenario cannot be run on this machine; the message says why."""


@dataclass(slots=True)
class Result:
    """What a scenario came to."""

    name: str
    verdict: Verdict = field(default_factory=Verdict)
    in_flight_at_kills: int = 0
    recovery_s: float | None = None
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)
    skipped: str = ""
    more: dict[str, Any] = field(default_factory=dict)

    def hold(self, promise: str, *, holds: bool, but: object = "") -> None:
        """Hold a promise; one that does not hold is broken."""
        if not holds:
            self.broken.append(f"{promise}: {but}" if but != "" else promise)

    def as_json(self) -> dict[str, Any]:
        """For the file of results."""
        verdict = asdict(self.verdict)
        examples = verdict.pop("examples")
        return {
            **verdict,
            "in_flight_at_kills": self.in_flight_at_kills,
            "recovery_s": None if self.recovery_s is None else round(self.recovery_s, 1),
            "seconds": round(self.seconds, 1),
            "broken": self.broken,
            **({"skipped": self.skipped} if self.skipped else {}),
            "examples": examples if self.broken else [],
            **self.more,
        }


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario; ``makes`` names the world that it needs."""

    number: str
    name: str
    run: Callable[[ChaosWorld, Scale], Awaitable[Result]]


async def finished(
    world: ChaosWorld,
    name: str,
    campaign_ids: Sequence[int],
    *,
    in_flight: int = 0,
    within_s: float = RECOVERY_S,
    allowed: Allowed | None = None,
    twice: int = 0,
) -> Result:
    """Wait, judge, and hold the promises that every scenario makes.

    ``twice``: how many may be repeated, where a policy says to resend.
    """
    result = Result(name, in_flight_at_kills=in_flight)
    result.recovery_s = await world.completed(campaign_ids, timeout_s=within_s)
    states = {campaign_id: await world.states(campaign_id) for campaign_id in campaign_ids}
    result.hold(f"through by itself, never still for {within_s:.0f} s", holds=result.recovery_s is not None, but=states)
    verdict = result.verdict = await world.judged(campaign_ids, allowed)
    result.hold("nothing is lost", holds=verdict.lost == 0, but=verdict.lost)
    result.hold("nothing is sent twice", holds=verdict.twice <= twice, but=verdict.twice)
    result.hold("ledger and receivers agree", holds=verdict.contradicted == 0, but=verdict.contradicted)
    result.hold("the equation holds", holds=verdict.equation)
    result.hold(
        "unknown is at most what was in flight",
        holds=verdict.unknown <= in_flight,
        but=f"{verdict.unknown} > {in_flight}",
    )
    return result


async def until_through(
    world: ChaosWorld, campaign_id: int, faults: Callable[[], Awaitable[object]], *, people: int = 0
) -> list[int]:
    """Repeat ``faults`` (one round each) until they say that they are done; campaigns run all the while.

    ``people``: recipients of the campaigns that follow the first one; as many as that has if 0.
    Returns: the campaigns that ran.
    """
    running, ids = campaign_id, [campaign_id]
    people = people or len(world.launches[-1].addresses)
    while await faults():
        states = await world.states(running)
        if not states.get("due"):
            running = await world.launch(people)
            ids.append(running)
        await asyncio.sleep(0)
    return ids


async def ended(task: asyncio.Future[Any]) -> None:
    """End what went on beside a scenario; a failure of its own comes out.

    Asked again until it ends: a library under it may take one cancellation for the loss of its connection.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=1.0)
    for end in await asyncio.gather(task, return_exceptions=True):
        if isinstance(end, Exception):
            raise end


def clock_s() -> float:
    """Seconds of the monotonic clock."""
    return time.monotonic()
