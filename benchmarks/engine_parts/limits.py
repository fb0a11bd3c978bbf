"""Limits, exactly: rate a second, mails in any minute, connections; measured at the receiving side.

Measured at the sinks, for each of two source IPs: by how much the worst MAIL came too early for the rate and its burst
(any span) and for the limit of any minute; most connections open at once; most mails of one connection.

Tolerance: ``TOLERANCE_S``. The dispatcher counts a mail when it lets it begin; between that and the sink lie the gate
(one statement for all connections), the wait for the mail before it on the same connection, the loopback and two
event loops. A mail held up there comes closer to the next one, so what left in time may arrive so much too early.
Connections and mails per connection have no tolerance.
"""

import asyncio
from typing import Any

from benchmarks.engine_parts.belt import Belt
from benchmarks.engine_parts.exactness import early_by_pace, early_by_window, most_in_window
from benchmarks.engine_parts.sink_watch import SinkWatch
from benchmarks.engine_parts.stage import Scenery, Servers, Stage, one_domain, people, say, stage
from benchmarks.report import Goal
from hayabin.broker import connect
from hayabin.broker.topology import pool_queues
from hayabin.database.engine import open_pool

PART = "limits"
LATENCY_S = 0.02
TOLERANCE_S = 0.05
IPS = ("127.0.0.41", "127.0.0.42")
RATE, BURST = 40, 5
PER_MINUTE = 300
CONNECTIONS = {"gmail": 8, "yahoo": 4, "icloud": 3}
PER_CONNECTION = 20
_DOMAINS = {"gmail": "gmail.com", "yahoo": "yahoo.com", "icloud": "icloud.com"}


def measure(servers: Servers, *, short: bool) -> tuple[dict[str, Any], list[Goal]]:
    """Measure all limits at once: gmail has a rate, yahoo a limit of the minute (long runs), icloud neither."""
    seconds = 8 if short else 70
    say(f"{PART}: {seconds} s of {RATE} a second, {PER_MINUTE} a minute, {CONNECTIONS['icloud']} connections")
    parts = [
        one_domain(name, latency_s=LATENCY_S, address=f"127.0.1.{40 + n}") for n, name in enumerate(_DOMAINS.values())
    ]
    zone = {name: node for part in parts for name, node in part.zone.items()}
    listeners = [listener for part in parts for listener in part.listeners]
    with stage(servers, Scenery(zone, listeners)) as place:
        counts = asyncio.run(_send(place, seconds))
    result = {provider: _judge(provider, counts[f"mx-{provider}"]) for provider in _DOMAINS}
    return {"seconds": seconds, "tolerance_ms": TOLERANCE_S * 1000, "providers": result}, _goals(result, short=short)


def _judge(provider: str, by_ip: list[dict[str, Any]]) -> dict[str, Any]:
    """Compare what the sink counted with the limits; the worst of the source IPs counts."""
    times = [one["begun"] for one in by_ip]
    spans = [max(t) - min(t) for t in times]
    shown: dict[str, Any] = {
        "source_ips": len(by_ip),
        "mails": [len(t) for t in times],
        "per_s": [round((len(t) - 1) / span, 2) for t, span in zip(times, spans, strict=True)],
        "most_connections": max(one["most_open"] for one in by_ip),
        "allowed_connections": CONNECTIONS[provider],
        "fewest_connections_made": min(one["connections"] for one in by_ip),
    }
    if provider == "gmail":
        shown["early_ms"] = round(max(early_by_pace(t, RATE, BURST) for t in times) * 1000, 2)
        shown["most_in_a_second"] = max(most_in_window(t, 1.0) for t in times)
    if provider == "yahoo":
        shown["early_ms"] = round(max(early_by_window(t, PER_MINUTE, 60.0) for t in times) * 1000, 2)
        shown["most_in_a_minute"] = max(most_in_window(t, 60.0) for t in times)
    return shown


def _goals(result: dict[str, Any], *, short: bool) -> list[Goal]:
    tolerance_ms = TOLERANCE_S * 1000
    goals = []
    for provider, what in (("gmail", f"{RATE}/s, burst {BURST}"), ("yahoo", f"{PER_MINUTE} in any minute")):
        if provider == "yahoo" and short:
            continue
        early_ms = result[provider]["early_ms"]
        rates = "/".join(str(rate) for rate in result[provider]["per_s"])
        measured = f"worst {early_ms:.1f} ms early ({rates} a second)"
        goals.append(Goal(PART, what, measured, f"<= {tolerance_ms:.0f} ms", early_ms <= tolerance_ms))
    for provider, one in result.items():
        most, allowed = one["most_connections"], one["allowed_connections"]
        met = most <= allowed and one["source_ips"] == len(IPS)
        goals.append(Goal(PART, f"connections of {provider}", str(most), f"<= {allowed}", met))
    return goals


async def _send(place: Stage, seconds: int) -> dict[str, list[dict[str, Any]]]:
    """Send more than the limits let through for a while; returns the sink's counts by listener."""
    plain = {"connection_spacing_s": 0, "tls": "none", "messages_per_connection": PER_CONNECTION}
    place.policy("gmail", connections=CONNECTIONS["gmail"], rate_per_s=RATE, burst=BURST, **plain)
    place.policy("yahoo", connections=CONNECTIONS["yahoo"], rate_per_min=PER_MINUTE, **plain)
    place.policy("icloud", connections=CONNECTIONS["icloud"], growth_mails=1, **plain)
    mails = {"gmail": RATE * seconds * 3, "yahoo": PER_MINUTE * 6, "icloud": 150 * seconds}
    everybody = [address for name, count in mails.items() for address in people(count, domains=(_DOMAINS[name],))]
    pool = await open_pool(place.database_url, name="bench", size=2)
    async with connect(place.servers.rabbitmq.url, name="bench") as broker, SinkWatch(place.sink["watching"]) as watch:
        await broker.declare(pool_queues(place.pool))
        belt = Belt(pool, broker, place.pool, 2_000)
        await belt.launch(everybody)
        await belt.publish()
        feeding = asyncio.create_task(belt.feed_for_ever())
        await asyncio.to_thread(place.dispatcher, ips=IPS)
        await asyncio.sleep(seconds)
        whole = await watch.whole()
        feeding.cancel()
    await pool.close()
    by_listener: dict[str, list[dict[str, Any]]] = {}
    for one in whole["counts"]:
        by_listener.setdefault(one["listener"], []).append(one)
    return by_listener
