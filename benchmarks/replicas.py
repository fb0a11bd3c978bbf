"""One, two, four dispatchers and renderers against sinks that take 100 ms for each reply; limits stay exact.

One command: ``python -m benchmarks.replicas [--short] [--out FILE]``; progress on stderr, a table of goals and
``benchmarks/out/replicas.json`` at the end. The whole system runs on this machine; every dispatcher has a source IP of
its own, as in production, and ``CONNECTIONS`` connections: with 100 ms a reply these bound it, so that more replicas
send more for as long as there are cores. Counts of replicas take turns; rate and CPU are of the steady part of a
campaign (25 % to 90 % of its mails), medians of the rounds; ``cores_busy`` says how much all parts, sink included, used
of the machine, and ``cores_busy_machine`` what it did in all: where that is near the number of cores, these are at
their end and nothing can scale on this machine any further. The goal is near-linear growth while cores last.

Last, all four at once under a limit per IP (``LIMIT`` a second, burst ``BURST``) for one provider: at the sink, by how
much did the worst mail of each source IP come too early, in any span (``benchmarks.engine_parts.limits`` says why there
is a tolerance). A whole run takes about four minutes.
"""

import asyncio
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.engine_parts.course import Course, cores
from benchmarks.engine_parts.exactness import early_by_pace, most_in_window
from benchmarks.engine_parts.limits import BURST, TOLERANCE_S
from benchmarks.engine_parts.limits import RATE as LIMIT
from benchmarks.engine_parts.running import Layout, World, running, start_workers
from benchmarks.engine_parts.stage import HOSTS, Scenery, Servers, Stage, many_domains, one_domain, say, stage
from benchmarks.engine_parts.windows import between, part_of
from benchmarks.report import Report, begin, parser
from benchmarks.scale_parts.campaign import STEADY
from tests.support.postgres import private_postgres
from tests.support.rabbitmq import private_rabbitmq

COUNTS = (1, 2, 4)
LATENCY_S = 0.1
CONNECTIONS = 96
LINEAR_GOAL = 0.9
CORES_USED = 0.9
"""From this part of the machine's cores on they do not last any more."""
LIMITED = "gmail.com"


def source_ip(number: int) -> str:
    """Give the source IP of a dispatcher."""
    return f"127.0.0.{51 + number}"


def scenery() -> Scenery:
    """Give forty domains on eight hosts, and the provider whose limit holds."""
    many, one = many_domains(latency_s=LATENCY_S), one_domain(LIMITED, latency_s=LATENCY_S)
    return replace(many, zone={**many.zone, **one.zone}, listeners=[*many.listeners, *one.listeners])


async def measure(place: Stage, *, short: bool) -> dict[str, Any]:
    """Measure all counts in turns, then the limit."""
    rounds, mails_each, limited_s = (1, 1_000, 6) if short else (3, 4_000, 30)
    plain = {"connection_spacing_s": 0, "tls": "none", "connections": 20, "connections_start": 20}
    place.policy("gmail", rate_per_s=LIMIT, burst=BURST, messages_per_connection=1000, **plain)
    layout = Layout(dispatchers=((source_ip(0),),), renderers=1, connections=CONNECTIONS // HOSTS)
    found: list[dict[str, Any]] = []
    async with running(place, layout) as world:
        lists = {count: await world.people(count * mails_each) for count in COUNTS}
        say("warm-up")
        await _send(world, lists[1], mails_each)
        for number in range(rounds):
            running_now = 1
            for count in COUNTS:
                ips = tuple((source_ip(n),) for n in range(running_now, count))
                more = replace(layout, dispatchers=ips, renderers=len(ips))
                await asyncio.to_thread(start_workers, place, more, first=running_now)
                running_now = count
                say(f"round {number + 1}: {count} dispatchers and renderers, {count * mails_each} mails")
                found.append({"replicas": count, **await _send(world, lists[count], count * mails_each)})
                say(f"  {found[-1]}")
            if number + 1 < rounds:
                await asyncio.to_thread(_stop_all_but_the_first, place)
        say(f"limit: {LIMIT} a second for each of {COUNTS[-1]} source IPs, {limited_s} s")
        limit = await _limited(world, limited_s)
    return {"rounds": found, "limit": limit}


async def _send(world: World, list_id: int, mails: int) -> dict[str, Any]:
    """Send a campaign to its end; fails where it does not, or where the sink counts another number than the ledger."""
    campaign_id = await world.draft(list_id)
    course = Course(world)
    begun = (await course.look(exactly=True)).accepted
    await world.move(campaign_id, "launch")
    for edge in (*STEADY, 1.0):
        await course.until_accepted(begun + int(mails * edge), timeout_s=60 + mails / 50, every_s=0.2)
    await asyncio.sleep(1)
    ledger = await world.ledger(campaign_id)
    accepted = (await world.watch.counts())["accepted"] - begun
    if ledger != {"accepted": mails} or accepted != mails:
        raise SystemExit(f"the sink accepted {accepted} mails of {mails}, the ledger has {ledger}")
    return between(*part_of(course.looks, begun, mails, STEADY))


def _stop_all_but_the_first(place: Stage) -> None:
    """End the replicas in an orderly way, so that none has a mail in hand."""
    kept = {"api", "scheduler", "renderer-0", "dispatcher"}
    for service in [one for one in place.system.services if one.name not in kept]:
        place.system.stop(service)


async def _limited(world: World, seconds: int) -> dict[str, Any]:
    """Send more to the limited provider than the limit lets through, and look at each source IP's mails at the sink."""
    mails = LIMIT * COUNTS[-1] * seconds * 2
    list_id = await world.people(mails, domain=LIMITED)
    campaign_id = await world.draft(list_id)
    await world.move(campaign_id, "launch")
    await asyncio.sleep(seconds)
    await world.move(campaign_id, "cancel")
    whole = await world.watch.whole()
    times = {one["source_ip"]: one["begun"] for one in whole["counts"] if one["listener"].startswith("mx-")}
    return {
        "limit_per_s": LIMIT,
        "burst": BURST,
        "seconds": seconds,
        "tolerance_ms": TOLERANCE_S * 1000,
        "source_ips": {
            ip: {
                "mails": len(begun),
                "per_s": round((len(begun) - 1) / (max(begun) - min(begun)), 2) if len(begun) > 1 else 0.0,
                "most_in_a_second": most_in_window(begun, 1.0),
                "early_ms": round(early_by_pace(begun, LIMIT, BURST) * 1000, 2),
            }
            for ip, begun in sorted(times.items())
        },
    }


def judge(report: Report, measured: dict[str, Any]) -> dict[str, Any]:
    """Hold the medians against the goals; returns them."""
    medians: dict[str, Any] = {}
    for count in COUNTS:
        mine = [one for one in measured["rounds"] if one["replicas"] == count]
        medians[str(count)] = {
            key: statistics.median(one[key] for one in mine)
            for key in ("emails_per_s", "cores_busy", "cores_busy_machine")
        }
        rate, busy, machine = medians[str(count)].values()
        times = rate / medians[str(COUNTS[0])]["emails_per_s"]
        used_up = max(busy, machine) >= CORES_USED * cores()
        medians[str(count)] |= {"times": round(times, 3), "cores_used_up": used_up}
        base = medians[str(COUNTS[0])]  # where the cores were used up by one already, nothing is known
        report.goal(
            "replicas",
            f"rate of {count}",
            f"{rate:.0f}/s, {times:.2f} x; {busy:.2f} (machine: {machine:.2f}) of {cores()} cores busy"
            + (", used up" if used_up else ""),
            f">= {LINEAR_GOAL * count:.1f} x while cores last" if count > 1 else "the base",
            met=count == COUNTS[0] or times >= LINEAR_GOAL * count or (used_up and not base["cores_used_up"]),
        )
    ips = measured["limit"]["source_ips"]
    worst_ms = max(one["early_ms"] for one in ips.values())
    report.goal(
        "limit",
        f"{LIMIT}/s, burst {BURST}, for each of {len(ips)} IPs",
        f"worst {worst_ms:.1f} ms early ({'/'.join(str(one['per_s']) for one in ips.values())} a second)",
        f"<= {TOLERANCE_S * 1000:.0f} ms, {COUNTS[-1]} IPs",
        met=worst_ms <= TOLERANCE_S * 1000 and len(ips) == COUNTS[-1],
    )
    return medians


def main() -> None:
    """Measure, print, write."""
    arguments = parser("replicas", __doc__).parse_args()
    report = begin("replicas", arguments)
    with (
        tempfile.TemporaryDirectory(prefix="hayabin-bench-") as folder,
        private_postgres(fsync=True) as postgres,
        private_rabbitmq() as rabbitmq,
        stage(Servers(postgres, rabbitmq, Path(folder)), scenery()) as place,
    ):
        measured = asyncio.run(measure(place, short=arguments.short))
    medians = judge(report, measured)
    report.write(
        {
            "latency_ms_per_reply": LATENCY_S * 1000,
            "connections_of_each_dispatcher": CONNECTIONS,
            "medians": medians,
            **measured,
        }
    )


if __name__ == "__main__":
    main()
