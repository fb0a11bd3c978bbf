"""Ten thousand, a hundred thousand, a million recipients: the same rate, the same memory, the same start.

One command: ``python -m benchmarks.scale [--short] [--whole] [--out FILE]``; progress on stderr, a table of goals and
``benchmarks/out/scale.json`` at the end. The whole system runs (API, scheduler, two renderers, one dispatcher, private
PostgreSQL with fsync and RabbitMQ with quorum queues), its processes started once; campaigns of the sizes take turns,
each launched by ``POST /v1/campaigns/{id}/launch``. The sink is ours, which answers at once and counts, because it is
cheaper: fed by smtp-source it takes about a fifth of the CPU that Debian's smtp-sink takes for a mail. What it takes
here stands under ``cpu_us_per_email``.

Measured for each: the launch request; the time from asking for the launch to the first mail accepted at the sink; the
rate of the steady part of what was sent (25 % to 90 % of the mails; medians of the rounds); memory of each process over
time, early and late in the run. The largest size is cancelled ``CUT_OFF_S`` after its audience is in the ledger, and
its rate is that of this time (``while_filled`` has the one before); ``--whole`` sends all of it. Last, launch requests
alone: many of the smallest size, and of the largest as many as begin within ``LAUNCHES_S``. A whole run takes about six
minutes.
"""

import asyncio
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.engine_parts.running import Layout, World, running
from benchmarks.engine_parts.stage import HOSTS, Servers, Stage, many_domains, say, stage
from benchmarks.engine_parts.windows import spread
from benchmarks.report import Report, begin, parser
from benchmarks.scale_parts.campaign import Size, send
from benchmarks.scale_parts.launches import launches
from tests.support.postgres import private_postgres
from tests.support.rabbitmq import private_rabbitmq

CUT_OFF_S = 60.0
LAUNCHES_S = 25.0
LAUNCHES = 100
CONNECTIONS = 32
RATE_GOAL, MEMORY_GOAL, FIRST_GOAL_S, REQUEST_GOAL_MS = 0.10, 1.10, 2.0, 200.0
_WARM_UP = 2_000
_RUNS_ON = ("scheduler", "renderer-0", "renderer-1", "dispatcher")


def turns(*, short: bool, whole: bool) -> list[Size]:
    """Give the sizes in the order in which they are sent; the smaller ones stand around the largest."""
    if short:
        return [Size(2_000), Size(4_000), Size(8_000, 0.0 if whole else 5.0)]
    small, middle, large = Size(10_000), Size(100_000), Size(1_000_000, 0.0 if whole else CUT_OFF_S)
    return [small, middle, small, large, small, middle]


async def measure(place: Stage, *, short: bool, whole: bool) -> dict[str, Any]:
    """Send all of it, then only launch."""
    rounds = []
    async with running(place, Layout(connections=CONNECTIONS // HOSTS)) as world:
        say(f"warm-up: {_WARM_UP} recipients")
        await send(world, await world.people(_WARM_UP), Size(_WARM_UP))
        lists: dict[int, int] = {}
        for size in turns(short=short, whole=whole):
            if size.recipients not in lists:
                say(f"{size.recipients} contacts")
                lists[size.recipients] = await world.people(size.recipients)
            say(f"{size.recipients} recipients" + (f", cut off after {size.most_s:.0f} s" if size.most_s else ""))
            rounds.append(await send(world, lists[size.recipients], size))
            say(f"  {rounds[-1]['steady']}")
        requests = await _launches(world, lists, short=short)
    return {"rounds": rounds, "launch_requests": requests}


async def _launches(world: World, lists: dict[int, int], *, short: bool) -> list[dict[str, Any]]:
    for service in [one for one in world.place.system.services if one.name in _RUNS_ON]:
        world.place.kill(service)
    most, within_s = (5, 5.0) if short else (LAUNCHES, LAUNCHES_S)
    found = []
    for recipients in (min(lists), max(lists)):
        found.append(await launches(world, lists[recipients], recipients, most=most, within_s=within_s))
        say(f"launch requests: {found[-1]}")
    return found


def judge(report: Report, measured: dict[str, Any]) -> dict[str, Any]:
    """Hold the medians against the goals; returns them."""
    rounds = measured["rounds"]
    sizes = sorted({one["recipients"] for one in rounds})

    def median(size: int, key: str) -> float:
        return float(statistics.median(one[key] for one in rounds if one["recipients"] == size))

    rates = {
        size: statistics.median(one["steady"]["emails_per_s"] for one in rounds if one["recipients"] == size)
        for size in sizes
    }
    shown = ", ".join(f"{size:,}: {rate:.0f}/s" for size, rate in rates.items())
    apart = spread(list(rates.values()))
    report.goal(
        "scale", "rate by size", f"{shown} ({apart:.0%} apart)", f"<= {RATE_GOAL:.0%} apart", met=apart <= RATE_GOAL
    )
    largest = next(one for one in rounds if one["recipients"] == sizes[-1])
    for name, memory in sorted(largest["memory"].items()):
        mib = f"{memory['early_bytes'] / 2**20:.0f} -> {memory['late_bytes'] / 2**20:.0f} MiB"
        report.goal(
            "scale",
            f"memory of {name}",
            f"{mib} ({memory['ratio']:.2f})",
            f"<= {MEMORY_GOAL:.2f} x",
            met=memory["ratio"] <= MEMORY_GOAL,
        )
    for size in sizes:
        first_s = median(size, "first_accepted_s")
        report.goal(
            "scale",
            f"launch to first accepted, {size:,}",
            f"{first_s:.2f} s",
            f"<= {FIRST_GOAL_S:.0f} s",
            met=first_s <= FIRST_GOAL_S,
        )
    for one in measured["launch_requests"]:
        report.goal(
            "scale",
            f"launch request, {one['recipients']:,}",
            f"p50 {one['p50_ms']:.0f} ms, p99 {one['p99_ms']:.0f} ms of {one['number']}",
            f"p99 <= {REQUEST_GOAL_MS:.0f} ms",
            met=one["p99_ms"] <= REQUEST_GOAL_MS,
        )
    return {"emails_per_s": rates, "apart": round(apart, 3)}


def main() -> None:
    """Measure, print, write."""
    options = parser("scale", __doc__)
    options.add_argument("--whole", action="store_true", help="send the largest size to its end")
    arguments = options.parse_args()
    report = begin("scale", arguments)
    with (
        tempfile.TemporaryDirectory(prefix="hayabin-bench-") as folder,
        private_postgres(fsync=True) as postgres,
        private_rabbitmq() as rabbitmq,
        stage(Servers(postgres, rabbitmq, Path(folder)), many_domains(latency_s=0)) as place,
    ):
        measured = asyncio.run(measure(place, short=arguments.short, whole=arguments.whole))
    medians = judge(report, measured)
    cut = "sent to its end" if arguments.whole else "cut off by a cancel after a while: see `sent`"
    report.write(
        {
            "sink": "ours (benchmarks.engine_parts.sink), answers at once",
            "largest_size": cut,
            "connections": CONNECTIONS,
            "steady_part": "25 % to 90 % of the mails sent; where cut off, after the audience was in the ledger",
            "medians": medians,
            **measured,
        }
    )


if __name__ == "__main__":
    main()
