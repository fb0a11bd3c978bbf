"""Warm-up caps, exactly: what source IPs under a plan may send on a day, over a crash of the dispatcher.

Measured at the sink: mails begun (MAIL) by each source IP. Three IPs have plans of their own; far more mail waits than
they may send; in the middle the dispatcher is killed (SIGKILL) and started again. No IP may be above its cap. A crash
may cost a block of what was reserved, so an IP may end below it.
A day is a UTC day: where midnight is near, the measure waits for it.
"""

import asyncio
import time
from typing import Any

from benchmarks.engine_parts.belt import Belt
from benchmarks.engine_parts.sink_watch import SinkWatch
from benchmarks.engine_parts.stage import Servers, Stage, one_domain, people, say, stage
from benchmarks.report import Goal
from hayabin.broker import connect
from hayabin.broker.topology import pool_queues
from hayabin.database.engine import open_pool
from tests.support.waiting import eventually

PART = "warm_up"
LATENCY_S = 0.02
_DAY_S = 86_400
_LONGEST_S = 90
_QUIET_S = 3.0


def caps(*, short: bool) -> dict[str, int]:
    """Give today's cap by source IP."""
    part = 4 if short else 1
    return {"127.0.0.31": 2400 // part, "127.0.0.32": 1000 // part, "127.0.0.33": 170 // part}


def measure(servers: Servers, *, short: bool) -> tuple[dict[str, Any], list[Goal]]:
    """Measure one day of a warm-up."""
    left_s = _DAY_S - time.time() % _DAY_S
    if left_s < _LONGEST_S:
        say(f"{PART}: waits {left_s:.0f} s for midnight (UTC)")
        time.sleep(left_s + 1)
    cap_of = caps(short=short)
    say(f"{PART}: caps {cap_of}, with a kill in the middle")
    with stage(servers, one_domain(latency_s=LATENCY_S)) as place:
        result = asyncio.run(_day(place, cap_of))
    begun = {ip: result["begun"].get(ip, 0) for ip in cap_of}
    above = {ip: max(0, begun[ip] - cap) for ip, cap in cap_of.items()}
    shown = ", ".join(f"{begun[ip]}/{cap}" for ip, cap in cap_of.items())
    met = not any(above.values()) and sum(begun.values()) > sum(cap_of.values()) // 2
    return result, [Goal(PART, "begun/cap by IP", shown, "never above", met)]


async def _day(place: Stage, cap_of: dict[str, int]) -> dict[str, Any]:
    place.policy(
        "gmail", connections=8, connections_start=4, messages_per_connection=50, connection_spacing_s=0, tls="none"
    )
    pool = await open_pool(place.database_url, name="bench", size=2)
    async with connect(place.servers.rabbitmq.url, name="bench") as broker, SinkWatch(place.sink["watching"]) as watch:
        await broker.declare(pool_queues(place.pool))
        belt = Belt(pool, broker, place.pool, 2_000)
        await belt.launch(people(2 * sum(cap_of.values()), domains=("gmail.com",)))
        await pool.executemany(
            "INSERT INTO warmups (source_ip, provider, start_per_day, growth, end_per_day, started_on) "
            "VALUES ($1, 'gmail', $2, 2.0, 1000000, (now() AT TIME ZONE 'UTC')::date)",
            list(cap_of.items()),
        )
        await belt.publish()
        feeding = asyncio.create_task(belt.feed_for_ever())
        first = await asyncio.to_thread(place.dispatcher, ips=tuple(cap_of))
        half = sum(cap_of.values()) // 2
        await eventually(watch.counts, lambda seen: seen["accepted"] >= half, timeout_s=60)
        place.kill(first)
        at_kill = await _begun(watch)
        await asyncio.to_thread(place.dispatcher, ips=tuple(cap_of), instance="after-the-crash")
        await _until_quiet(watch)
        feeding.cancel()
        begun = await _begun(watch)
        used = await pool.fetch("SELECT source_ip, granted FROM lane_usage")
    await pool.close()
    return {
        "caps": cap_of,
        "begun": begun,
        "begun_before_the_kill": at_kill,
        "reserved": {row["source_ip"]: row["granted"] for row in used},
    }


async def _begun(watch: SinkWatch) -> dict[str, int]:
    return {one["source_ip"]: len(one["begun"]) for one in (await watch.whole())["counts"]}


async def _until_quiet(watch: SinkWatch) -> None:
    """Wait until nothing was accepted for a while, after something was."""
    begun_s = changed_s = time.monotonic()
    start = last = (await watch.counts())["accepted"]
    while time.monotonic() - changed_s < _QUIET_S or last == start:
        await asyncio.sleep(0.2)
        now = (await watch.counts())["accepted"]
        if now != last:
            last, changed_s = now, time.monotonic()
        if time.monotonic() - begun_s > _LONGEST_S:
            return
