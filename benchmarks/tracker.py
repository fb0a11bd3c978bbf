"""The tracker: opens and clicks for each second and core with durable hand-off, beside a bare ASGI route.

One command: ``python -m benchmarks.tracker [--short] [--out FILE]``; progress on stderr, a table of goals and
``benchmarks/out/tracker.json`` at the end. PostgreSQL (fsync on) and RabbitMQ (quorum queues, publisher confirms) are
private ones; the tracker is the process of production; the bare route is the same server with nothing behind it, in the
same run, alternating (``tracker_parts/bare.py``). Every request has a signed token of its own mail, out of a campaign
that was sent (``tracker_parts/mails.py``). Then clicks at half of the rate (open loop), and a kill under load.
A whole run takes about three minutes, a short one about one.
"""

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.newsletter import newsletter
from benchmarks.report import Report, begin, parser
from benchmarks.sent_campaign import send_campaign
from benchmarks.tracker_parts import rounds
from benchmarks.tracker_parts.killed import kill_under_load
from benchmarks.tracker_parts.mails import Wish, clicks, opens
from benchmarks.tracker_parts.rounds import Ground, Measured, Target
from hayabin.database.migrate import upgrade
from hayabin.domain.token import TokenRing
from hayabin.settings import TokenSettings, token_ring
from tests.support.instances import free_port
from tests.support.postgres import private_postgres
from tests.support.rabbitmq import private_rabbitmq
from tests.support.system import Service, System, helper_process, running_system

GOAL = 0.6
CLICK_P99_GOAL_MS = 100
"""Of our own choosing: up to a tenth of a second an answer seems immediate to who clicked."""
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    people: int
    seconds: float
    rounds: int
    kill_after: int


WHOLE = Size(people=60_000, seconds=5, rounds=ROUNDS, kill_after=5_000)
SHORT = Size(people=3_000, seconds=1.5, rounds=1, kill_after=500)


@dataclass(frozen=True, slots=True)
class Place:
    """What runs, and the mails that were sent."""

    system: System
    tracker: Service
    targets: tuple[Target, Target]  # the bare route, the tracker
    ring: TokenRing
    ids: list[int]
    url: str


@contextmanager
def place(size: Size) -> Iterator[Place]:
    """Start everything and send a campaign."""
    with (
        tempfile.TemporaryDirectory(prefix="hayabin-bench-") as temporary,
        private_postgres(fsync=True) as postgres,
        private_rabbitmq() as rabbitmq,
    ):
        folder = Path(temporary)
        upgrade(postgres.url)
        say(f"sending a campaign to {size.people}")
        ids = asyncio.run(_send(postgres.url, size.people))
        port, bare_port = free_port(), free_port()
        location = newsletter().links[0].url
        bare = {"port": bare_port, "location": location}
        with (
            helper_process("benchmarks.tracker_parts.bare", bare, folder) as ready,
            running_system(folder, postgres.url, rabbitmq.url) as system,
        ):
            ring = token_ring(TokenSettings(token_secret=system.environment["HAYABIN_TOKEN_SECRET"]))
            tracker = system.start("tracker", http_host="127.0.0.1", http_port=str(port))
            targets = Target("bare", bare_port, int(str(ready["pid"]))), Target("tracker", port, tracker.process.pid)
            yield Place(system, tracker, targets, ring, ids, postgres.url)


async def _send(url: str, people: int) -> list[int]:
    _, ids = await send_campaign(url, [f"user{n}@d{n % 40}.example" for n in range(people)], slug="bench")
    return ids


async def measure(where: Place, size: Size) -> dict[str, Any]:
    """Rounds, steady clicks, the kill."""
    database = await asyncpg.connect(where.url)
    ground = Ground(where.system.folder, database, size.seconds)
    links = len(newsletter().links)
    wishes = {"opens": opens(where.ids, 1), "clicks": clicks(where.ids, links, 2)}
    status = {"opens": "200", "clicks": "302"}
    found: dict[str, Any] = {}
    for kind, of_kind in wishes.items():
        found[kind] = rounds.summary(
            [
                await _round(where, ground, _part(where, of_kind, n, size.rounds), status[kind])
                for n in range(size.rounds)
            ]
        )
        for name, medians in found[kind]["medians"].items():
            say(f"{kind}: {name} {medians['cpu_us']} us of CPU, {medians['requests_per_s']}/s")
    rate_per_s = round(found["clicks"]["medians"]["whole"]["requests_per_s"] * rounds.STEADY_SHARE)
    requests = [wish.request(where.ring) for wish in clicks(where.ids, links, 3)]
    say(f"steady clicks, {rate_per_s} a second")
    found["steady_clicks"] = {
        "rate_per_s": rate_per_s,
        "connections": rounds.STEADY_CONNECTIONS,
        "bare": await ground.steady(where.targets[0], requests, "302", rate_per_s),
        "tracker": await _steady_tracker(ground, where.targets[1], requests, rate_per_s),
    }
    say("kill -9 under load")
    load = where.ring, [*opens(where.ids, 4), *clicks(where.ids, links, 4)], size.kill_after
    found["killed"] = await kill_under_load(where.system, where.tracker, where.targets[1].port, database, load)
    await database.close()
    return found


async def _steady_tracker(ground: Ground, target: Target, requests: list[str], rate_per_s: float) -> dict[str, Any]:
    before = await ground.projected()
    found = await ground.steady(target, requests, "302", rate_per_s)
    await ground.all_projected(before + found["answers"])
    return found


def _part(where: Place, wishes: list[Wish], number: int, count: int) -> list[str]:
    """Give the requests of one round: those of no other, so that a cache is no fuller than it would be."""
    return [wish.request(where.ring) for wish in wishes[number::count]]


async def _round(where: Place, ground: Ground, requests: list[str], status: str) -> list[Measured]:
    bare, tracker = where.targets
    half = len(requests) // 2  # so that neither finds what the other left in the cache
    return [
        await ground.bare(bare, requests, status),
        await ground.handing_over(Target("hand_over", tracker.port, tracker.pid), requests[:half], status),
        await ground.whole(Target("whole", tracker.port, tracker.pid), requests[half:], status),
    ]


def judge(report: Report, found: dict[str, Any]) -> None:
    """Hold the figures against the goals."""
    for kind in ("opens", "clicks"):
        for name, what in (("hand_over", "handed over"), ("whole", "handed over and projected")):
            of_bare, cpu_us = (found[kind]["medians"][name][key] for key in ("of_bare", "cpu_us"))
            bare_us = found[kind]["medians"]["bare"]["cpu_us"]
            measured = f"{of_bare:.0%} ({cpu_us:.0f} us of CPU each, bare {bare_us:.0f})"
            report.goal(kind, what, measured, f">= {GOAL:.0%} of a bare route", met=of_bare >= GOAL)
    steady = found["steady_clicks"]
    p99_ms = steady["tracker"]["p99_ms"]
    measured = f"{p99_ms:.0f} ms (bare {steady['bare']['p99_ms']:.0f}) at {steady['rate_per_s']}/s"
    report.goal(
        "clicks", "p99 at half the rate", measured, f"<= {CLICK_P99_GOAL_MS} ms", met=p99_ms <= CLICK_P99_GOAL_MS
    )
    killed = found["killed"]
    report.goal("kill -9", "answered and lost", f"0 of {killed['promised']}", "none", met=not killed["missing"])


def say(text: str) -> None:
    """Tell how it goes."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def main() -> None:
    """Measure, print, write."""
    options = parser("tracker", __doc__).parse_args()
    report = begin("tracker", options)
    size = SHORT if options.short else WHOLE
    with place(size) as where:
        found = asyncio.run(measure(where, size))
    judge(report, found)
    report.write(
        {
            "postgres": "fsync on, synchronous_commit on",
            "broker": "rabbitmq quorum queues, publisher confirms",
            "load": f"{rounds.CONNECTIONS} keep-alive connections, closed loop; steady clicks: open loop",
            "people": size.people,
            **found,
        }
    )


if __name__ == "__main__":
    main()
