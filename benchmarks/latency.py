"""A transactional mail from the API to the sink: idle, and beside a running bulk campaign.

One command: ``python -m benchmarks.latency [--short] [--out FILE]``; progress on stderr, a table of goals and
``benchmarks/out/latency.json`` at the end. The whole system runs on this machine; test sends
(``POST /v1/campaigns/{id}/test``, one mail a request, the 20 KB newsletter with its RSA-2048 signature) at random
moments, as ``benchmarks.engine`` has them. The sink answers at once, so what is measured is ours alone; the network's
round trips come on top (``benchmarks.engine`` measures with 150 ms a reply). Beside: a bulk campaign as fast as it
goes, on the same cores, which is paused while the idle system is measured; idle and beside take turns.

Measured: from asking the API to its answer; from the answer, and from asking, to the 250 behind the final dot.
Fails: SystemExit where a mail did not arrive, or the bulk campaign was over before the measure was.
Units: milliseconds. A whole run takes about two and a half minutes.
"""

import asyncio
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.engine_parts.running import Layout, World, running
from benchmarks.engine_parts.stage import HOSTS, Servers, Stage, many_domains, say, stage
from benchmarks.engine_parts.whole_system import TRANSACTIONAL_GOAL_MS, WATCHED, Sent, one_by_one
from benchmarks.engine_parts.windows import summary_ms
from benchmarks.report import Report, begin, parser
from tests.support.postgres import private_postgres
from tests.support.rabbitmq import private_rabbitmq
from tests.support.waiting import eventually

CONNECTIONS = 32
SITUATIONS = ("idle", "beside_bulk")
_ARRIVED_TIMEOUT_S = 60.0
_QUIET_TIMEOUT_S = 60.0
_BULK_TIMEOUT_S = 120.0


async def measure(place: Stage, *, short: bool) -> dict[str, Any]:
    """Measure idle and beside in turns, in one campaign that is paused and resumed."""
    rounds, mails = (1, 20) if short else (3, 100)
    bulk = 30_000 if short else 250_000
    sent: dict[str, dict[str, Sent]] = {name: {} for name in SITUATIONS}
    by_round: list[dict[str, Any]] = []
    async with running(place, Layout(connections=CONNECTIONS // HOSTS)) as world:
        say(f"{bulk} contacts for the bulk campaign")
        campaign_id = await world.draft(await world.people(bulk))
        say("warm-up")
        await _some(world, "first", 5)
        for number in range(rounds):
            say(f"round {number + 1}: {mails} mails idle")
            idle = await _some(world, f"idle-{number}", mails)
            await world.move(campaign_id, "resume" if number else "launch")
            begun = (await world.watch.counts())["accepted"]
            await _bulk_runs(world, begun)
            say(f"round {number + 1}: {mails} mails beside the bulk campaign")
            from_s, before = time.monotonic(), await world.accepted(campaign_id)
            beside = await _some(world, f"beside-{number}", mails)
            accepted = await world.accepted(campaign_id)
            rate = (accepted - before) / (time.monotonic() - from_s)
            if accepted == bulk:
                raise SystemExit(f"the bulk campaign of {bulk} was over before the measure was")
            sent["idle"] |= idle
            sent["beside_bulk"] |= beside
            by_round.append({"bulk_emails_per_s": round(rate, 1), "idle": idle, "beside_bulk": beside})
            await world.move(campaign_id, "pause")
            await _quiet(world)
        seen = (await world.watch.whole())["accepted_first"]
    return {
        **{name: latencies(sent[name], seen) for name in SITUATIONS},
        "rounds": [{**one, **{name: latencies(one[name], seen) for name in SITUATIONS}} for one in by_round],
    }


async def _some(world: World, name: str, mails: int) -> dict[str, Sent]:
    """Send so many, and wait until all of them arrived."""
    before = (await world.watch.counts())["watched_accepted"]
    sent = await one_by_one(world, name, asyncio.Event(), most=mails)
    deadline_s = time.monotonic() + _ARRIVED_TIMEOUT_S
    while (arrived := (await world.watch.counts())["watched_accepted"] - before) < mails:
        if time.monotonic() > deadline_s:
            raise SystemExit(f"only {arrived} of {mails} mails arrived within {_ARRIVED_TIMEOUT_S:.0f} s")
        await asyncio.sleep(0.1)
    return sent


async def _bulk_runs(world: World, begun: int) -> None:
    """Wait until the bulk campaign is on its way."""
    await eventually(world.watch.counts, lambda seen: bool(seen["accepted"] > begun + 100), timeout_s=_BULK_TIMEOUT_S)


async def _quiet(world: World) -> None:
    """Wait until nothing is accepted any more."""
    last = -1

    async def still() -> bool:
        nonlocal last
        now = int((await world.watch.counts())["accepted"])
        still, last = now == last, now
        return still

    await eventually(still, bool, timeout_s=_QUIET_TIMEOUT_S, every_s=1.0)


def latencies(sent: Mapping[str, Sent], accepted: Mapping[str, float]) -> dict[str, Any]:
    """Give the percentiles of each part of the way."""
    return {
        "request": summary_ms([one.answered_s - one.asked_s for one in sent.values()]),
        "answer_to_accepted": summary_ms([max(0.0, accepted[to] - one.answered_s) for to, one in sent.items()]),
        "asked_to_accepted": summary_ms([accepted[to] - one.asked_s for to, one in sent.items()]),
    }


def judge(report: Report, measured: dict[str, Any]) -> None:
    """Hold it against the goal of the engine's benchmark, here for the whole way."""
    for name in SITUATIONS:
        whole, request = measured[name]["asked_to_accepted"], measured[name]["request"]
        report.goal(
            "latency",
            name,
            f"p50 {whole['p50_ms']:.0f} ms, p99 {whole['p99_ms']:.0f} ms of {whole['number']} "
            f"(request alone: {request['p50_ms']:.0f}, {request['p99_ms']:.0f})",
            f"p99 < {TRANSACTIONAL_GOAL_MS} ms",
            met=whole["p99_ms"] < TRANSACTIONAL_GOAL_MS,
        )


def main() -> None:
    """Measure, print, write."""
    arguments = parser("latency", __doc__).parse_args()
    report = begin("latency", arguments)
    with (
        tempfile.TemporaryDirectory(prefix="hayabin-bench-") as folder,
        private_postgres(fsync=True) as postgres,
        private_rabbitmq() as rabbitmq,
        stage(Servers(postgres, rabbitmq, Path(folder)), replace(many_domains(latency_s=0), watched=WATCHED)) as place,
    ):
        measured = asyncio.run(measure(place, short=arguments.short))
    judge(report, measured)
    report.write({"sink": "answers at once", "connections": CONNECTIONS, **measured})


if __name__ == "__main__":
    main()
