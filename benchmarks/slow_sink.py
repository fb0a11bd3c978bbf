"""Degrading well: the sink takes 30 % of our speed for five minutes, then everything again.

One command: ``python -m benchmarks.slow_sink [--short] [--out FILE]``; progress on stderr, a table of goals and
``benchmarks/out/slow_sink.json`` at the end. The whole system runs on this machine and sends one campaign. Our speed is
what the sink accepted in the first ``full_s`` seconds; then the sink is told to accept no more than 30 % of that (each
final dot is answered when it is its turn, over all connections); then it takes all again. Nothing but that is changed.

Measured: memory of each process and the depth of every queue of the belt over the whole time (passive declarations, as
the feeder's); how long it takes until the sink accepts 90 % of our speed again (mean of five seconds). Every process of
ours is bounded if in the last third of the slow time it has no more than ``MEMORY_GOAL`` of the most that it had until
the end of the first third; the belt if it never held more than the scheduler's high-water mark.
Fails: SystemExit where a mail was lost (the ledger has it otherwise than accepted), or an address got two.
Units: mails a second, bytes, seconds. A whole run takes about seven minutes.
"""

import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.engine_parts.course import Course
from benchmarks.engine_parts.running import Layout, World, running
from benchmarks.engine_parts.stage import HOSTS, Servers, Stage, many_domains, say, stage
from benchmarks.engine_parts.windows import Look, between, by_second, memory_growth, recovered_after_s, thinned
from benchmarks.report import Report, begin, parser
from hayabin.broker import connect
from services.api.scheduler.settings import SchedulerSettings
from tests.support.postgres import private_postgres
from tests.support.rabbitmq import private_rabbitmq
from tests.support.waiting import eventually

CONNECTIONS = 32
SLOW = 0.3
MEMORY_GOAL = 1.10
RECOVERED, RECOVERY_GOAL_S = 0.9, 10
HIGH_WATER: int = SchedulerSettings.model_fields["belt_high_water"].default
_PLOTTED = 120
_LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How long each part takes, and how many mails the first estimate is made with."""

    estimate: int
    full_s: float
    slow_s: float
    again_s: float


WHOLE, SHORT = Plan(10_000, 20.0, 300.0, 15.0), Plan(1_500, 6.0, 20.0, 8.0)


async def measure(place: Stage, plan: Plan) -> dict[str, Any]:
    """Send one campaign through all parts, to its end."""
    async with (
        running(place, Layout(connections=CONNECTIONS // HOSTS)) as world,
        connect(place.servers.rabbitmq.url, name="bench") as broker,
    ):
        course = Course(world, broker)
        estimate_per_s = await _estimate(world, course, plan.estimate)
        mails = int(estimate_per_s * (plan.full_s + SLOW * plan.slow_s + 2 * plan.again_s) * 1.2)
        say(f"about {estimate_per_s:.0f}/s at first: a campaign of {mails}")
        campaign_id = await world.draft(await world.people(mails))
        course.looks.clear()
        start = await course.look(exactly=True)
        await world.move(campaign_id, "launch")
        begun = await course.until_accepted(start.accepted + plan.estimate // 2, timeout_s=120)
        full = await _for(course, plan.full_s)
        per_s = between(begun, full)["emails_per_s"]
        _not_over(full, start.accepted + mails)
        say(f"full speed is {per_s:.0f}/s; {plan.slow_s:.0f} s of {per_s * SLOW:.0f}/s")
        await world.watch.pace(per_s * SLOW)
        slowed_s = time.monotonic()
        slow = await _for(course, plan.slow_s)
        _not_over(slow, start.accepted + mails)
        say("everything again")
        await world.watch.pace(0)
        freed_s = time.monotonic()
        again = await _for(course, plan.again_s)
        end = await course.until_accepted(start.accepted + mails, timeout_s=120 + mails / 200, every_s=_LOOK_S)
        whole = await _nothing_lost_nor_twice(world, campaign_id, mails, plan.estimate)
    looks = course.looks
    slow_looks = [look for look in looks if slowed_s <= look.at_s <= freed_s]
    counts = by_second(whole["accepted_in"], freed_s, again.at_s)
    return {
        "recipients": mails,
        "full_per_s": per_s,
        "full": between(begun, full),
        "slow": {"allowed_per_s": round(per_s * SLOW, 1), **between(slow_looks[0], slow)},
        "again": {
            "by_second": counts,
            "recovered_after_s": recovered_after_s(counts, per_s * RECOVERED),
            **between(slow, again),
        },
        "memory": memory_growth([look for look in looks if look.at_s <= slowed_s], slow_looks),
        "most_memory_bytes": {name: max(look.memory_bytes.get(name, 0) for look in looks) for name in end.memory_bytes},
        "belt": {
            "high_water_mails": HIGH_WATER,
            "full": most_on_belt([look for look in looks if look.at_s <= slowed_s]),
            "slow": most_on_belt(slow_looks),
            "again": most_on_belt([look for look in looks if look.at_s >= freed_s]),
        },
        "course": thinned(looks, _PLOTTED),
    }


async def _estimate(world: World, course: Course, mails: int) -> float:
    """Send a small campaign, which also warms all processes up; returns its rate from the first mail to the last."""
    say(f"estimate: {mails} recipients")
    campaign_id = await world.draft(await world.people(mails))
    begun = await course.look(exactly=True)
    await world.move(campaign_id, "launch")
    first = await course.until(lambda look: look.accepted > begun.accepted, timeout_s=120, every_s=0.05)
    last = await course.until_accepted(begun.accepted + mails, timeout_s=120 + mails / 50)
    return float(between(first, last)["emails_per_s"])


async def _for(course: Course, seconds: float) -> Look:
    """Look for so long; returns the last look."""
    ends_s = time.monotonic() + seconds
    return await course.until(lambda look: look.at_s >= ends_s, timeout_s=seconds + 60, every_s=_LOOK_S)


def _not_over(look: Look, total: int) -> None:
    if look.accepted >= total:
        raise SystemExit(f"the campaign was over before the measure was: the first estimate was too low ({look})")


async def _nothing_lost_nor_twice(world: World, campaign_id: int, mails: int, before: int) -> dict[str, Any]:
    """Compare ledger and sink; gives the whole of what the sink counted."""

    async def ledger() -> dict[str, int]:
        return await world.ledger(campaign_id)

    await eventually(ledger, lambda rows: not rows.keys() & {"due", "claimed", "deferred"}, timeout_s=60, every_s=1.0)
    rows, whole = await ledger(), await world.watch.whole()
    if rows != {"accepted": mails}:
        raise SystemExit(f"of {mails} mails the ledger has {rows}")
    if whole["twice"] or whole["recipients"] != mails + before:
        raise SystemExit(
            f"{whole['recipients']} of {mails + before} addresses got a mail, {len(whole['twice'])} more than one: "
            f"{whole['twice'][:5]}"
        )
    return whole


def most_on_belt(looks: Sequence[Look]) -> dict[str, Any]:
    """Give the most mails that the belt held at once, and the most in each queue that held any."""
    seen = [look.belt_mails for look in looks if look.belt_mails is not None]
    most: dict[str, int] = {}
    for depths in seen:
        for queue, mails in depths.items():
            if mails > most.get(queue, 0):
                most[queue] = mails
    return {"mails": max((sum(depths.values()) for depths in seen), default=0), "by_queue": most}


def judge(report: Report, measured: dict[str, Any]) -> None:
    """Hold it against the goals."""
    slow, again = measured["slow"], measured["again"]
    report.goal(
        "slow_sink",
        "rate while slow",
        f"{slow['emails_per_s']:.0f}/s of {slow['allowed_per_s']:.0f}/s ({measured['full_per_s']:.0f}/s before)",
        "all that it takes (>= 95 %)",
        met=slow["emails_per_s"] >= 0.95 * slow["allowed_per_s"],
    )
    for name, one in sorted(measured["memory"].items()):
        if name == "sink":  # no part of ours: it keeps each address that it has taken
            continue
        report.goal(
            "slow_sink",
            f"memory of {name}",
            f"{one['before_bytes'] / 2**20:.0f} -> {one['late_bytes'] / 2**20:.0f} MiB ({one['ratio']:.2f})",
            f"<= {MEMORY_GOAL:.2f} x",
            met=one["ratio"] <= MEMORY_GOAL,
        )
    mails = max(measured["belt"][part]["mails"] for part in ("full", "slow", "again"))
    report.goal("slow_sink", "most on the belt", f"{mails} mails", f"<= {HIGH_WATER}", met=mails <= HIGH_WATER)
    after_s = again["recovered_after_s"]
    report.goal(
        "slow_sink",
        f"{RECOVERED:.0%} of full speed again",
        "never" if after_s is None else f"after {after_s} s",
        f"<= {RECOVERY_GOAL_S} s",
        met=after_s is not None and after_s <= RECOVERY_GOAL_S,
    )
    report.goal("slow_sink", "mails lost or sent twice", f"0 of {measured['recipients']}", "0", met=True)


def main() -> None:
    """Measure, print, write."""
    arguments = parser("slow_sink", __doc__).parse_args()
    report = begin("slow_sink", arguments)
    scenery = replace(many_domains(latency_s=0), every_recipient=True)
    with (
        tempfile.TemporaryDirectory(prefix="hayabin-bench-") as folder,
        private_postgres(fsync=True) as postgres,
        private_rabbitmq() as rabbitmq,
        stage(Servers(postgres, rabbitmq, Path(folder)), scenery) as place,
    ):
        measured = asyncio.run(measure(place, SHORT if arguments.short else WHOLE))
    judge(report, measured)
    report.write({"connections": CONNECTIONS, "slow_part_of_full_speed": SLOW, **measured})


if __name__ == "__main__":
    main()
