"""Rate of one dispatcher process against sinks that take 150 ms for each reply.

Measured: emails accepted a second in the steady part of a run, microseconds of CPU an email by process, most resident
memory of the dispatcher, connections at the sink. Mails stand on the belt, rendered, before the dispatcher starts.
Runs: 40 domains on 8 MX hosts (20 KB and 4 KB a mail) and one single large destination (20 KB), each with all the
connections that its policy allows from the beginning; and, without a goal, 40 domains where connections grow as the
shipped default policy lets them (start, mails for one more, spacing), to see how long that takes.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from benchmarks.engine_parts.belt import Belt
from benchmarks.engine_parts.load import Recorder
from benchmarks.engine_parts.sink_watch import SinkWatch
from benchmarks.engine_parts.stage import (
    FAR_S,
    HOSTS,
    Scenery,
    Servers,
    Stage,
    many_domains,
    one_domain,
    people,
    say,
    stage,
)
from benchmarks.processes import most_memory_bytes
from benchmarks.report import Goal
from hayabin.broker import connect
from hayabin.broker.topology import pool_queues
from hayabin.database.engine import open_pool

PART = "latency_sink"
RATE_GOAL = 1500
CONNECTIONS_GOAL = 1000
_TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class Run:
    """What is sent in one run."""

    name: str
    scenery: Scenery
    provider: str  # whose policy holds
    domains: tuple[str, ...]
    connections: int  # for each destination
    mails: int
    content_bytes: int
    grows: bool = False


def runs(*, short: bool) -> list[Run]:
    """Give the runs; the first is the main one."""
    mails = 8_000 if short else 40_000
    spread = (many_domains(), "default", (), CONNECTIONS_GOAL // HOSTS)
    single = (one_domain(), "gmail", ("gmail.com",), CONNECTIONS_GOAL)
    main = Run("40 domains, 8 hosts, 20 KB", *spread, mails, 20_000)
    if short:
        return [main]
    return [
        main,
        Run("1 destination, 20 KB", *single, mails * 3 // 4, 20_000),
        Run("40 domains, 8 hosts, 4 KB", *spread, mails, 4_000),
        Run("40 domains, 8 hosts, 20 KB, grown", *spread, mails, 20_000, grows=True),
    ]


def measure(servers: Servers, *, short: bool) -> tuple[dict[str, Any], list[Goal]]:
    """Measure all runs."""
    results = {}
    for run in runs(short=short):
        say(f"{PART}: {run.name}, {run.mails} mails")
        with stage(servers, run.scenery) as place:
            results[run.name] = asyncio.run(_one(place, run))
            say(f"  {results[run.name]}")
    goals = []
    for run in runs(short=short):
        if run.grows:
            continue
        name, result = run.name, results[run.name]
        rate, most = result["emails_per_s"], result["connections_most"]
        measured = f"{rate:.0f}/s, {most} connections, {result['dispatcher_rss_bytes'] >> 20} MiB"
        met = rate >= RATE_GOAL and most <= CONNECTIONS_GOAL
        goals.append(Goal(PART, name, measured, f">= {RATE_GOAL}/s, <= {CONNECTIONS_GOAL}", met))
    return {"latency_ms_per_reply": FAR_S * 1000, "runs": results}, goals


async def _one(place: Stage, run: Run) -> dict[str, Any]:
    at_once = {"connections_start": run.connections, "connection_spacing_s": 0}
    long = {"messages_per_connection": 1000, "recipients_per_session": 1000, "tls": "none"}
    place.policy(run.provider, connections=run.connections, **long, **({} if run.grows else at_once))
    pool = await open_pool(place.database_url, name="bench", size=2)
    async with connect(place.servers.rabbitmq.url, name="bench") as broker, SinkWatch(place.sink["watching"]) as watch:
        await broker.declare(pool_queues(place.pool))
        belt = Belt(pool, broker, place.pool, run.content_bytes)
        await belt.launch(people(run.mails, domains=run.domains))
        await belt.publish()
        dispatcher = await asyncio.to_thread(place.dispatcher)
        say(f"  dispatcher is process {dispatcher.process.pid}")
        feeding = asyncio.create_task(belt.feed_for_ever())
        recorder = Recorder(place, watch)
        await recorder.until(run.mails, timeout_s=_TIMEOUT_S)
        feeding.cancel()
        result = recorder.steady(run.mails)
        if run.grows:
            result["connections_by_second"] = recorder.connections_by_second()
        result["whole_run_s"] = round(recorder.samples[-1].at_s - recorder.samples[0].at_s, 2)
        result["dispatcher_rss_bytes"] = most_memory_bytes(dispatcher.process.pid)
        result |= {"mails": run.mails, "content_bytes": run.content_bytes, "fed_again": belt.fed_again}
    await pool.close()
    return result
