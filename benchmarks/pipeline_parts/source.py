"""Mail that Debian's ``smtp-source`` puts into a relay, or straight into the sink, until the sink has the last one.

Promises: measured from the start of ``smtp-source`` to the moment when the sink's own counter has risen by the number
of mails; beside it how long the relay took to take them in. Sessions stay open for all their mails (``-d``), and each
mail has a recipient of its own. The CPU of all who took part is counted.
Fails: ``SystemExit`` where a mail is refused or lost (the sink's counter stands still), or where one comes twice.
Units: seconds; microseconds of CPU (user + system) a mail.
"""

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.pipeline_parts.counting_sink import CountingSink, postfix_program
from benchmarks.processes import cpu_of_group

SESSIONS = 100
STANDSTILL_S = 60.0
_POLL_S = 0.01

Processes = Callable[[], Mapping[str, list[int]]]


@dataclass(frozen=True, slots=True)
class Relay:
    """Where mail is put in; ``processes`` gives its processes by name. The sink itself has none."""

    name: str
    port: int
    processes: Processes


@dataclass(frozen=True, slots=True)
class Load:
    """What is put in: ``mails`` times the mail in ``file``, to ``SESSIONS`` connections."""

    mails: int
    file: Path
    sender: str

    def command(self, port: int) -> list[str]:
        """Give the command."""
        return [
            postfix_program("smtp-source"),
            *("-d", "-N", "-s", str(min(SESSIONS, self.mails)), "-m", str(self.mails), "-F", str(self.file)),
            *("-f", self.sender, "-t", "reader@reader.example", f"127.0.0.1:{port}"),
        ]


def put_through(relay: Relay, load: Load, counted: Callable[[], int]) -> tuple[float, float, float]:
    """Put mails into ``relay`` until ``counted`` has risen by their number; gives both times, and the source's CPU."""
    base = counted()
    started_s = moved_s = time.monotonic()
    source = subprocess.Popen(load.command(relay.port), stdout=subprocess.DEVNULL)
    taken_in_s = cpu_s = 0.0
    arrived = 0
    while arrived < load.mails or not taken_in_s:
        now_s = time.monotonic()
        if not taken_in_s:
            pid, status, usage = os.wait4(source.pid, os.WNOHANG)
            if pid:
                source.returncode = os.waitstatus_to_exitcode(status)
                taken_in_s, cpu_s = now_s - started_s, usage.ru_utime + usage.ru_stime
                if source.returncode:
                    raise SystemExit(f"{relay.name}: smtp-source ended with {source.returncode}")
        seen = counted() - base
        if seen != arrived:
            arrived, moved_s = seen, now_s
        elif now_s - moved_s > STANDSTILL_S:
            source.kill()
            raise SystemExit(f"{relay.name}: {arrived} of {load.mails} mails arrived, and no more")
        time.sleep(_POLL_S)
    if arrived > load.mails:
        raise SystemExit(f"{relay.name}: {arrived} mails arrived of {load.mails}")
    return moved_s - started_s, taken_in_s, cpu_s


def measure(relay: Relay, load: Load, sink: CountingSink) -> dict[str, Any]:
    """Measure one round."""
    before = {name: cpu_of_group(pids) for name, pids in _groups(relay, sink).items()}
    elapsed_s, taken_in_s, source_cpu_s = put_through(relay, load, sink.mails)
    after = {name: cpu_of_group(pids) for name, pids in _groups(relay, sink).items()}
    used_s = {name: after[name] - before.get(name, 0.0) for name in after} | {"smtp-source": source_cpu_s}
    cpu_us = {name: round(value * 1e6 / load.mails, 1) for name, value in used_s.items()}
    return {
        "mails": load.mails,
        "seconds": round(elapsed_s, 3),
        "emails_per_s": round(load.mails / elapsed_s, 1),
        "taken_in_per_s": round(load.mails / taken_in_s, 1),
        "cpu_us_per_email": cpu_us,
        "cpu_us_per_email_total": round(sum(cpu_us.values()), 1),
    }


def _groups(relay: Relay, sink: CountingSink) -> dict[str, list[int]]:
    return {**relay.processes(), "sink": [sink.pid]}
