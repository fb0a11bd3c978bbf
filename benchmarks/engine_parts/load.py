"""What the parts used while a measure ran: CPU of each, connections, memory; and the steady part of a run.

Units: seconds of the monotonic clock; microseconds of CPU (user + system) an email; bytes.
"""

import asyncio
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from benchmarks.engine_parts.sink_watch import SinkWatch
from benchmarks.engine_parts.stage import Stage
from benchmarks.processes import cpu_of_group

SAMPLE_S = 0.25
STEADY = (0.25, 0.90)
"""From this part of the mails to that one a run counts as steady: connections have grown, nothing runs out yet."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen at one moment."""

    at_s: float
    accepted: int
    open_now: int
    most_open: int
    cpu_s: dict[str, float]


@dataclass(slots=True)
class Recorder:
    """Watches a run; call ``until`` to wait for a number of accepted mails."""

    stage: Stage
    watch: SinkWatch
    samples: list[Sample] = field(default_factory=list)

    async def sample(self) -> Sample:
        """Look once."""
        counts = await self.watch.counts()
        cpu_s = {name: cpu_of_group(pids) for name, pids in self.stage.groups().items()}
        self.samples.append(
            Sample(time.monotonic(), counts["accepted"], counts["open_now"], counts["most_open"], cpu_s)
        )
        return self.samples[-1]

    async def until(self, accepted: int, *, timeout_s: float) -> None:
        """Look a few times a second until so many mails were accepted.

        Raises: SystemExit when that takes too long.
        """
        begun = await self.sample()
        while (last := await self.sample()).accepted < accepted:
            elapsed_s = last.at_s - begun.at_s
            sys.stderr.write(
                f"\r  {last.accepted:>7} of {accepted} accepted, {last.open_now:>4} connections, {elapsed_s:5.1f} s "
            )
            if elapsed_s > timeout_s:
                logs = "\n".join(service.tail() for service in self.stage.system.services)
                raise SystemExit(f"\nnot finished after {elapsed_s:.0f} s: {last}\n{logs}")
            await asyncio.sleep(SAMPLE_S)
        sys.stderr.write("\n")

    def steady(self, mails: int) -> dict[str, Any]:
        """Give rate, CPU and connections of the steady part of a run of so many mails."""
        first = next(s for s in self.samples if s.accepted >= mails * STEADY[0])
        last = next(s for s in self.samples if s.accepted >= mails * STEADY[1])
        count, span_s = last.accepted - first.accepted, last.at_s - first.at_s
        cpu_us = {name: round((last.cpu_s[name] - first.cpu_s[name]) * 1e6 / count, 1) for name in first.cpu_s}
        within = [s for s in self.samples if first.at_s <= s.at_s <= last.at_s]
        return {
            "emails_per_s": round(count / span_s, 1),
            "seconds": round(span_s, 2),
            "cpu_us_per_email": cpu_us,
            "dispatcher_busy": round((last.cpu_s["dispatcher"] - first.cpu_s["dispatcher"]) / span_s, 3),
            "cores_busy": round(sum(last.cpu_s[n] - first.cpu_s[n] for n in first.cpu_s) / span_s, 2),
            "connections_mean": round(sum(s.open_now for s in within) / len(within), 1),
            "connections_most": max(s.most_open for s in self.samples),
        }

    def connections_by_second(self) -> list[int]:
        """Give how many connections were open, once a second from the beginning."""
        begun_s = self.samples[0].at_s
        by_second = {int(s.at_s - begun_s): s.open_now for s in self.samples}
        return [by_second[second] for second in sorted(by_second)]


def steady_rate(accepted_in: dict[str, list[list[int]]], mails: int, *, part: tuple[float, float]) -> float:
    """Give mails a second from a sink's tenths of a second by listener, between two parts of the mails."""
    tenths: dict[int, int] = {}
    for counts in accepted_in.values():
        for tenth, count in counts:
            tenths[tenth] = tenths.get(tenth, 0) + count
    so_far, first, last = 0, None, None
    for tenth, count in sorted(tenths.items()):
        so_far += count
        if first is None and so_far >= mails * part[0]:
            first = (tenth, so_far)
        if so_far >= mails * part[1]:
            last = (tenth, so_far)
            break
    if first is None or last is None or last[0] == first[0]:
        return 0.0
    return (last[1] - first[1]) / (last[0] - first[0]) * 10
