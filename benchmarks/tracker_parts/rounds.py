"""How many opens and clicks a tracker takes for a second of its CPU, against the bare route; and how late clicks are.

Two cores hold the load, the tracker, the broker and the database, so requests a second tell of the machine; requests
for each CPU second of the server's process (user and system, all its threads) tell of the server. The tracker is
measured twice: handing over alone (its projection finds the table of events locked, and waits with it), and with all
that it does, until every event of the load is projected.
Fails: an answer that is not the expected one, or a broken connection, ends the run: figures of refusals say nothing.
"""

import asyncio
import statistics
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.http_load import Load, apply
from benchmarks.processes import cpu_of_group
from tests.support.waiting import eventually

CONNECTIONS = 256
STEADY_CONNECTIONS = 64
STEADY_SHARE = 0.5
"""Of the saturated rate: what is offered, evenly, while latencies are measured."""
PROJECTED_WITHIN_S = 120.0


@dataclass(frozen=True, slots=True)
class Target:
    """A server under load."""

    name: str
    port: int
    pid: int


@dataclass(frozen=True, slots=True)
class Measured:
    """One load on one target."""

    target: str
    requests: int
    requests_per_s: float
    requests_per_cpu_s: float
    cpu_us: float
    server_busy: float
    client_busy: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Ground:
    """Where loads are applied; ``status`` is what each request of the load is answered."""

    folder: Path
    database: asyncpg.Connection
    seconds: float

    async def bare(self, target: Target, requests: Sequence[str], status: str) -> Measured:
        """Saturate the bare route."""
        return await self._saturate(target, requests, status, None)

    async def handing_over(self, target: Target, requests: Sequence[str], status: str) -> Measured:
        """Saturate the tracker while its projection waits."""
        before = await self.projected()
        async with self.projection_waits():
            measured = await self._saturate(target, requests, status, None)
        await self.all_projected(before + measured.requests)
        return measured

    async def whole(self, target: Target, requests: Sequence[str], status: str) -> Measured:
        """Saturate the tracker, and count its CPU until every event is projected."""
        return await self._saturate(target, requests, status, await self.projected())

    async def steady(self, target: Target, requests: Sequence[str], status: str, rate_per_s: float) -> dict[str, Any]:
        """Apply an even rate, whatever the answers do."""
        load = Load(
            port=target.port, requests=requests, connections=STEADY_CONNECTIONS, seconds=self.seconds,
            rate_per_s=rate_per_s,
        )  # fmt: skip
        return checked(await asyncio.to_thread(apply, load, self.folder), status)

    async def projected(self) -> int:
        """Count the events in the database."""
        return int(await self.database.fetchval("SELECT count(*) FROM events"))

    async def all_projected(self, count: int) -> None:
        """Wait until so many events are in the database.

        Raises:
            SystemExit: there are more: an event was counted twice.
        """
        found = await eventually(self.projected, lambda seen: seen >= count, timeout_s=PROJECTED_WITHIN_S)
        if found > count:
            raise SystemExit(f"{found} events of {count} answered requests")

    @asynccontextmanager
    async def projection_waits(self) -> AsyncIterator[None]:
        """Keep the projection waiting: readers of the table go on, who writes to it waits."""
        async with self.database.transaction():
            await self.database.execute("LOCK TABLE events IN SHARE MODE")
            yield

    async def _saturate(self, target: Target, requests: Sequence[str], status: str, before: int | None) -> Measured:
        """Apply as many requests as the connections can; told how many events there were, wait for the new ones."""
        load = Load(port=target.port, requests=requests, connections=CONNECTIONS, seconds=self.seconds)
        cpu_s = cpu_of_group([target.pid])
        found = checked(await asyncio.to_thread(apply, load, self.folder), status)
        busy = (cpu_of_group([target.pid]) - cpu_s) / found["seconds"]
        if before is not None:
            await self.all_projected(before + found["answers"])
        used_s, answers = cpu_of_group([target.pid]) - cpu_s, found["answers"]
        return Measured(
            target=target.name,
            requests=answers,
            requests_per_s=found["requests_per_s"],
            requests_per_cpu_s=round(answers / used_s, 1),
            cpu_us=round(used_s * 1e6 / answers, 1),
            server_busy=round(busy, 2),
            client_busy=found["client_busy"],
            p50_ms=found["p50_ms"],
            p99_ms=found["p99_ms"],
        )


def checked(found: dict[str, Any], status: str) -> dict[str, Any]:
    """Give a result that holds only the expected answers.

    Raises:
        SystemExit: it does not.
    """
    if set(found["statuses"]) != {status} or found["broken"] or found["unanswered"]:
        raise SystemExit(f"a load was not answered as expected: {found | {'answered': '…'}}")
    return found


def ratio(rounds: Sequence[Sequence[Measured]], name: str) -> float:
    """Give the median over rounds of requests for each CPU second, as a part of the bare route's of the same round."""
    shares = []
    for measured in rounds:
        by_name = {one.target: one.requests_per_cpu_s for one in measured}
        shares.append(by_name[name] / by_name["bare"])
    return round(statistics.median(shares), 3)


def summary(rounds: Sequence[Sequence[Measured]]) -> dict[str, Any]:
    """Give the medians by target, and all rounds."""
    names = [one.target for one in rounds[0]]
    medians = {}
    for name in names:
        of_name = [one for measured in rounds for one in measured if one.target == name]
        figures = [asdict(one) for one in of_name]
        medians[name] = {
            key: round(statistics.median(one[key] for one in figures), 2) for key in figures[0] if key != "target"
        }
        medians[name]["of_bare"] = ratio(rounds, name)
    return {"medians": medians, "rounds": [[asdict(one) for one in measured] for measured in rounds]}
