"""The API: requests a second and latencies of the common reads and of single sends, on a database with a past.

One command: ``python -m benchmarks.api [--short] [--out FILE]``; progress on stderr, a table of goals and
``benchmarks/out/api.json`` at the end. One API process, as in production but for the limit of requests a second, which
is off; the scheduler beside it takes what single sends leave for the belt. PostgreSQL (fsync on) and RabbitMQ are
private ones. 200,000 contacts and a campaign that was sent to all of them (``api_parts/tenant.py``). Each round asks
every operation in turn, by 16 keep-alive connections in a closed loop, so that latencies are those of a saturated API;
a bare ASGI route on the same server says what the server itself could do. Medians over the rounds.
A whole run takes about three minutes, a short one less than one.
"""

import asyncio
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.api_parts.operations import Operation, reads, sends
from benchmarks.api_parts.tenant import furnish
from benchmarks.http_load import Load, apply
from benchmarks.processes import cpu_of_group, descendants
from benchmarks.report import Report, begin, parser
from benchmarks.tracker_parts.rounds import checked
from hayabin.database.migrate import upgrade
from tests.support.instances import free_port
from tests.support.postgres import PostgresInstance, private_postgres
from tests.support.rabbitmq import private_rabbitmq
from tests.support.system import Service, helper_process, running_system

CONNECTIONS = 16
READ_P99_GOAL_MS = 100
SEND_P99_GOAL_MS = 200
"""Both of our own choosing: a screen that reads seems immediate; a send is as quick as a launch has to be."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    people: int
    seconds: float
    rounds: int


WHOLE = Size(people=200_000, seconds=1.5, rounds=3)
SHORT = Size(people=2_000, seconds=0.7, rounds=1)


@dataclass(frozen=True, slots=True)
class Place:
    """What runs, and what is asked."""

    folder: Path
    postgres: PostgresInstance
    api: Service
    port: int
    bare_port: int
    operations: list[Operation]


@contextmanager
def place(size: Size) -> Iterator[Place]:
    """Start everything and give it a past."""
    with (
        tempfile.TemporaryDirectory(prefix="hayabin-bench-") as temporary,
        private_postgres(fsync=True) as postgres,
        private_rabbitmq() as rabbitmq,
    ):
        folder = Path(temporary)
        upgrade(postgres.url)
        say(f"{size.people} contacts and a campaign sent to them")
        tenant, sender = asyncio.run(furnish(postgres.url, size.people))
        port, bare_port = free_port(), free_port()
        bare = {"port": bare_port, "location": "https://shop.example/"}
        with (
            helper_process("benchmarks.tracker_parts.bare", bare, folder),
            running_system(folder, postgres.url, rabbitmq.url) as system,
        ):
            api = system.launch("api", http_host="127.0.0.1", http_port=str(port), rate_per_s="0")
            for service in (api, system.launch("scheduler")):
                system.wait_ready(service)
            yield Place(folder, postgres, api, port, bare_port, [*reads(tenant), sends(sender)])


def measure(where: Place, operation: Operation, seconds: float) -> dict[str, float]:
    """Ask one operation."""
    load = Load(port=where.port, requests=operation.requests, connections=CONNECTIONS, seconds=seconds)
    groups = {"api": [where.api.process.pid], "postgres": descendants(where.postgres.process_ids())}
    before = {name: cpu_of_group(pids) for name, pids in groups.items()}
    found = checked(apply(load, where.folder), operation.status)
    cpu_us = {name: (cpu_of_group(pids) - before[name]) * 1e6 / found["answers"] for name, pids in groups.items()}
    return {
        **{key: found[key] for key in ("requests_per_s", "p50_ms", "p99_ms", "answers", "client_busy")},
        **{f"{name}_cpu_us": round(us, 1) for name, us in cpu_us.items()},
    }


def measure_bare(where: Place, seconds: float) -> dict[str, float]:
    """Ask the bare route."""
    load = Load(port=where.bare_port, requests=["GET /o/x HTTP/1.1\r\n\r\n"], connections=CONNECTIONS, seconds=seconds)
    found = checked(apply(load, where.folder), "200")
    return {key: found[key] for key in ("requests_per_s", "p50_ms", "p99_ms", "answers", "client_busy")}


def measure_all(where: Place, size: Size) -> dict[str, Any]:
    """Ask every operation in turn, round after round."""
    rounds: list[dict[str, dict[str, float]]] = []
    for number in range(size.rounds):
        say(f"round {number + 1} of {size.rounds}")
        found = {operation.name: measure(where, operation, size.seconds) for operation in where.operations}
        rounds.append({"bare": measure_bare(where, size.seconds), **found})
    medians = {
        name: {key: round(statistics.median(one[name][key] for one in rounds), 2) for key in figures}
        for name, figures in rounds[0].items()
    }
    return {"medians": medians, "rounds": rounds}


def judge(report: Report, operations: list[Operation], medians: dict[str, dict[str, float]]) -> None:
    """Hold the figures against the goals."""
    for operation in operations:
        figures = medians[operation.name]
        goal_ms = READ_P99_GOAL_MS if operation.status == "200" else SEND_P99_GOAL_MS
        measured = (
            f"{figures['requests_per_s']:.0f}/s, p50 {figures['p50_ms']:.1f} ms, p99 {figures['p99_ms']:.1f} ms, "
            f"CPU {figures['api_cpu_us']:.0f} us and {figures['postgres_cpu_us']:.0f} us of Postgres"
        )
        report.goal(
            operation.name, operation.what, measured, f"p99 <= {goal_ms} ms", met=figures["p99_ms"] <= goal_ms
        )  # fmt: skip


def say(text: str) -> None:
    """Tell how it goes."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def main() -> None:
    """Measure, print, write."""
    options = parser("api", __doc__).parse_args()
    report = begin("api", options)
    size = SHORT if options.short else WHOLE
    with place(size) as where:
        found = measure_all(where, size)
        operations = where.operations
    judge(report, operations, found["medians"])
    report.write(
        {
            "postgres": "fsync on, synchronous_commit on",
            "load": f"{CONNECTIONS} keep-alive connections, closed loop, one API process",
            "people": size.people,
            **found,
        }
    )


if __name__ == "__main__":
    main()
