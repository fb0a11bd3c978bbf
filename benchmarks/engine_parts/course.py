"""The course of a run: looks at the sink's count, at CPU and memory of each part, and at the belt's queues.

Promises: memory of a part is what belongs to each of its processes alone, summed, and once what they share (the most
that any of them has of it): for a part of one process that is its RSS, and PostgreSQL's shared buffers count once.
Depth of a queue is what a passive declaration says (ready messages), as the feeder sees it, in mails at the most: a
batch counts 50, a chunk 500.
Fails: SystemExit where what is waited for takes too long, with the ends of the logs.
"""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.engine_parts.belt import MAILS_PER_BATCH
from benchmarks.engine_parts.running import World
from benchmarks.engine_parts.windows import Look
from benchmarks.processes import TICKS, cpu_of_group
from hayabin.broker import Broker
from hayabin.broker.topology import pool_queues, shared_queues
from hayabin.database.feeds import CHUNK_ROWS

REGROUP_S = 2.0
"""How old the list of processes may be; looking for them costs more than looking at them."""


@dataclass(slots=True)
class Course:
    """See the module; with a ``broker`` the belt is looked at as well."""

    world: World
    broker: Broker | None = None
    looks: list[Look] = field(default_factory=list)
    _groups: dict[str, list[int]] = field(default_factory=dict)
    _grouped_s: float = float("-inf")

    async def look(self, *, exactly: bool = False) -> Look:
        """Look once; ``exactly``: at all processes that there are now."""
        depth = await self.broker.depth(self._queues()) if self.broker is not None else None
        now_s = time.monotonic()
        if exactly or now_s > self._grouped_s + REGROUP_S:
            self._groups, self._grouped_s = self.world.place.groups(), now_s
        groups = self._groups
        accepted = (await self.world.watch.counts())["accepted"]
        look = Look(
            at_s=time.monotonic(),
            accepted=accepted,
            cpu_s={name: cpu_of_group(pids) for name, pids in groups.items()},
            memory_bytes={name: memory_bytes(pids) for name, pids in groups.items()},
            machine_busy_s=machine_busy_s(),
            belt_mails=None if depth is None else {queue: n * most_mails(queue) for queue, n in depth.items()},
        )
        self.looks.append(look)
        return look

    async def until(
        self, holds: Callable[[Look], bool], *, timeout_s: float, every_s: float = 0.25, aim: str = ""
    ) -> Look:
        """Look again and again until ``holds`` says yes; the look that it holds for is an exact one.

        Raises: SystemExit.
        """
        begun = await self.look()
        while not holds(last := await self.look()):
            elapsed_s = last.at_s - begun.at_s
            sys.stderr.write(f"\r  {last.accepted - begun.accepted:>8} accepted{aim}, {elapsed_s:5.1f} s ")
            if elapsed_s > timeout_s:
                logs = "\n".join(service.tail() for service in self.world.place.system.services)
                raise SystemExit(f"\nnot finished after {elapsed_s:.0f} s: {last}\n{logs}")
            await asyncio.sleep(every_s)
        sys.stderr.write("\n")
        return await self.look(exactly=True)

    async def until_accepted(self, total: int, *, timeout_s: float, every_s: float = 0.25) -> Look:
        """Wait until the sink has accepted so many in all."""
        return await self.until(lambda look: look.accepted >= total, timeout_s=timeout_s, every_s=every_s)

    def _queues(self) -> Sequence[str]:
        shared = [queue.name for queue in shared_queues() if queue.name.startswith("render.")]
        return [*shared, *(queue.name for queue in pool_queues(self.world.place.pool))]


def most_mails(queue: str) -> int:
    """Give how many mails a message of this queue has at the most."""
    return CHUNK_ROWS if queue.startswith("render.") else MAILS_PER_BATCH


def memory_bytes(pids: Sequence[int]) -> int:
    """Give the resident memory of a group of processes; see the module."""
    alone, shared = 0, 0
    for pid in pids:
        with contextlib.suppress(OSError):  # ended meanwhile
            kib = {"RssAnon": 0, "RssFile": 0, "RssShmem": 0}
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                name, _, value = line.partition(":")
                if name in kib:
                    kib[name] = int(value.split()[0])
            alone += kib["RssAnon"]
            shared = max(shared, kib["RssFile"] + kib["RssShmem"])
    return (alone + shared) * 1024


def machine_busy_s() -> float:
    """Give the CPU seconds that the whole machine has spent on anything."""
    fields = [int(value) for value in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    idle = fields[3] + fields[4]
    return (sum(fields[:8]) - idle) / TICKS


def cores() -> int:
    """Give how many cores there are."""
    return os.cpu_count() or 1
