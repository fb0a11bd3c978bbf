"""Fairness in the whole system: transactional mail, and a small campaign, beside one of 100,000.

Everything runs: REST API, scheduler, two renderers, one dispatcher; each mail is the 20 KB newsletter with an RSA-2048
signature; receivers are 40 domains on 8 hosts, 150 ms a reply, and the same for all mail.

Transactional: test sends by ``POST /v1/campaigns/{id}/test``, one by one at random moments; measured from the answer
that accepts one to its first MAIL at the sink. Small beside large: from the launch of a campaign of 1,000 until the
ledger has all of it as accepted, alone and launched while the large one runs; medians.
Units: milliseconds for transactional mail, seconds for campaigns.
"""

import asyncio
import random
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.engine_parts.exactness import percentile
from benchmarks.engine_parts.running import World, running
from benchmarks.engine_parts.stage import Servers, Stage, many_domains, people, say, stage
from benchmarks.newsletter import ATTRIBUTES
from benchmarks.report import Goal
from tests.support.seed import Seeded
from tests.support.waiting import eventually

TRANSACTIONAL_GOAL_MS = 1000
SMALL_GOAL = 2.0
SMALL = 1_000
WATCHED = "tx-"
_TIMEOUT_S = 120.0
_MEAN_PAUSE_S = 0.15


@dataclass(frozen=True, slots=True)
class Sent:
    """When a test send was asked for, and when the API had answered."""

    asked_s: float
    answered_s: float


def measure_transactional(servers: Servers, *, short: bool) -> tuple[dict[str, Any], list[Goal]]:
    """Measure transactional mail, idle and beside a bulk campaign."""
    with stage(servers, replace(many_domains(), watched=WATCHED)) as place:
        result = asyncio.run(_transactional(place, short=short))
    goals = []
    for name in ("idle", "beside_bulk"):
        p50, p99 = result[name]["p50_ms"], result[name]["p99_ms"]
        met = p99 < TRANSACTIONAL_GOAL_MS and not result[name]["lost"]
        measured = f"p50 {p50:.0f} ms, p99 {p99:.0f} ms"
        goals.append(Goal("transactional", name, measured, f"p99 < {TRANSACTIONAL_GOAL_MS} ms", met))
    return result, goals


def measure_small(servers: Servers, *, short: bool) -> tuple[dict[str, Any], list[Goal]]:
    """Measure a small campaign, alone and beside a large one."""
    with stage(servers, many_domains()) as place:
        result = asyncio.run(_small(place, short=short))
    measured = f"{result['ratio']:.2f} ({result['alone_s']:.1f} s alone, {result['beside_s']:.1f} s beside)"
    return result, [
        Goal("small_beside_large", "completion", measured, f"<= {SMALL_GOAL:.0f} x", result["ratio"] <= SMALL_GOAL)
    ]


async def _transactional(place: Stage, *, short: bool) -> dict[str, Any]:
    bulk, idle, longest_s = (20_000, 25, 10.0) if short else (100_000, 100, 60.0)
    async with running(place) as world:
        large = await world.seed(people(bulk), "large")
        stopping = asyncio.Event()
        say(f"transactional: {idle} mails alone")
        alone = await one_by_one(world, "idle", stopping, most=idle)
        launched_s = await world.launch(large)
        say(f"transactional: beside a campaign of {bulk}")
        await eventually(lambda: world.accepted(large.campaign_id), lambda n: n > 0, timeout_s=60)
        sending = asyncio.create_task(one_by_one(world, "busy", stopping, most=10_000))
        while True:
            accepted = await world.accepted(large.campaign_id)
            if accepted == bulk or time.monotonic() - launched_s > longest_s:
                break
            await asyncio.sleep(1)
        elapsed_s = time.monotonic() - launched_s
        stopping.set()
        beside = await sending
        say(f"  {accepted} of {bulk} accepted after {elapsed_s:.0f} s")
        await asyncio.sleep(5)  # the slowest of them
        seen = (await world.watch.whole())["first_seen"]
    bulk_shown = {"mails": bulk, "accepted_meanwhile": accepted, "emails_per_s": round(accepted / elapsed_s, 1)}
    return {"idle": _latencies(alone, seen), "beside_bulk": _latencies(beside, seen), "bulk": bulk_shown}


async def one_by_one(world: World, name: str, stopping: asyncio.Event, *, most: int) -> dict[str, Sent]:
    """Launch test sends at random moments; returns the times of each by address."""
    pauses = random.Random(7)
    answers: dict[str, Sent] = {}

    async def one(address: str) -> None:
        path = f"/v1/campaigns/{world.tests.campaign_id}/test"
        asked_s = time.monotonic()
        answer = await world.client.post(path, json={"to": [address], "variables": ATTRIBUTES})
        answer.raise_for_status()
        answers[address] = Sent(asked_s, time.monotonic())

    async with asyncio.TaskGroup() as sends:
        for number in range(most):
            if stopping.is_set():
                break
            sends.create_task(one(f"{WATCHED}{name}-{number}@d{number % 40}.example"))
            await asyncio.sleep(pauses.expovariate(1 / _MEAN_PAUSE_S))
    return answers


def _latencies(answers: Mapping[str, Sent], seen: Mapping[str, float]) -> dict[str, Any]:
    times_ms = [max(0.0, seen[to] - sent.answered_s) * 1000 for to, sent in answers.items() if to in seen]
    return {
        "mails": len(answers),
        "lost": len(answers) - len(times_ms),
        "p50_ms": round(percentile(times_ms, 50), 1),
        "p90_ms": round(percentile(times_ms, 90), 1),
        "p99_ms": round(percentile(times_ms, 99), 1),
        "most_ms": round(max(times_ms), 1),
    }


async def _small(place: Stage, *, short: bool) -> dict[str, Any]:
    bulk, times = (20_000, 1) if short else (100_000, 3)
    async with running(place) as world:
        large = await world.seed(people(bulk), "large")
        smalls = [await world.seed(people(SMALL, prefix=f"small{n}-"), f"small{n}") for n in range(2 * times + 1)]
        await _completion(world, smalls.pop())  # the first one pays for what every process does once
        alone = [await _completion(world, smalls.pop()) for _ in range(times)]
        say(f"small_beside_large: alone {alone}")
        await world.launch(large)
        await eventually(lambda: world.accepted(large.campaign_id), lambda n: n > bulk // 20, timeout_s=60)
        beside: list[float] = []
        progress: list[int] = []
        for _ in range(times):
            if progress and progress[-1] >= bulk:
                break
            beside.append(await _completion(world, smalls.pop()))
            progress.append(await world.accepted(large.campaign_id))
            say(f"small_beside_large: {beside[-1]} s beside, {progress[-1]} of {bulk} accepted meanwhile")
    alone_s, beside_s = statistics.median(alone), statistics.median(beside)
    return {
        "recipients": {"small": SMALL, "large": bulk},
        "alone": alone,
        "beside": beside,
        "large_accepted_at_the_end": progress,
        "alone_s": alone_s,
        "beside_s": beside_s,
        "ratio": round(beside_s / alone_s, 2),
    }


async def _completion(world: World, seeded: Seeded) -> float:
    launched_s = await world.launch(seeded)
    await eventually(lambda: world.accepted(seeded.campaign_id), lambda n: n == SMALL, timeout_s=_TIMEOUT_S)
    return round(time.monotonic() - launched_s, 2)
