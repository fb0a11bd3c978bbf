"""What one bad destination costs the others.

Measured: mails a second that the sinks of healthy domains accept (40 domains on 8 hosts, 150 ms a reply), alone and
while every fifth mail is for a bad destination: a tarpit (takes connections, answers after 60 s); dead domains (for
half of the mails an MX address whose SYNs are dropped, for half a domain whose DNS never answers); a provider that
is suspended by an operator. Alternating rounds, medians; the rate is that from 10 % to 90 % of the healthy mails.

Bad and healthy mails stand mixed on the belt, in the same lanes' queues but for the suspended provider, which has its
own. The belt is filled before the dispatcher starts, so no renderer takes part; what the dispatcher puts off is
published again when its time has come, as the feeder and a renderer do. So the ratio is the dispatcher's own.
A dead address is a listening socket with a full backlog: Linux drops further SYNs, and connecting hangs until its
timeout.
"""

import asyncio
import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.engine_parts.belt import Belt
from benchmarks.engine_parts.load import Recorder, steady_rate
from benchmarks.engine_parts.sink_watch import SinkWatch
from benchmarks.engine_parts.stage import HOSTS, Scenery, Servers, Stage, many_domains, people, say, stage
from benchmarks.report import Goal
from hayabin.broker import connect
from hayabin.broker.topology import pool_queues
from hayabin.database.engine import open_pool

PART = "isolation"
GOAL = 0.90
TARPIT_S = 60.0
CONNECTIONS = 60
"""To each healthy host: with 300 ms a mail 1,600 a second at the most, so latency is the limit, as in real sending."""
_TIMEOUT_S = 90
_PART_OF_RUN = (0.1, 0.9)
_CONTENT_BYTES = 4_000
_TARPIT_IP, _DEAD_IP, _SUSPENDED_IP = "127.0.1.30", "127.0.1.31", "127.0.1.32"


@dataclass(frozen=True, slots=True)
class Trouble:
    """A kind of bad destination: its domains, and what is done before the dispatcher starts."""

    name: str
    domains: tuple[str, ...] = ()
    suspends: str = ""


TROUBLES = (
    Trouble("alone"),
    Trouble("tarpit", tuple(f"tar{n}.example" for n in range(4))),
    Trouble("dead", ("dead0.example", "dead1.example", "lost0.example", "lost1.example")),
    Trouble("suspended", ("gmail.com",), suspends="gmail"),
)


def scenery() -> Scenery:
    """Give the healthy domains and the bad ones."""
    healthy = many_domains()
    zone = dict(healthy.zone)
    zone |= {f"tar{n}.example": {"MX": "10 tarpit.example."} for n in range(4)}
    zone |= {f"dead{n}.example": {"MX": "10 dead.example."} for n in range(2)}
    zone |= {f"lost{n}.example": "TIMEOUT" for n in range(2)}
    zone |= {"gmail.com": {"MX": "10 big.example."}}
    zone |= {"tarpit.example": {"A": _TARPIT_IP}, "dead.example": {"A": _DEAD_IP}, "big.example": {"A": _SUSPENDED_IP}}
    listeners = [
        *healthy.listeners,
        {"name": "tarpit", "address": _TARPIT_IP, "latency_s": TARPIT_S},
        {"name": "big", "address": _SUSPENDED_IP, "latency_s": 0.15},
    ]
    return replace(healthy, zone=zone, listeners=listeners, dead=[_DEAD_IP])


def measure(servers: Servers, *, short: bool) -> tuple[dict[str, Any], list[Goal]]:
    """Measure all troubles, round by round."""
    rounds, mails = (1, 4_000) if short else (3, 12_000)
    rates: dict[str, list[float]] = {trouble.name: [] for trouble in TROUBLES}
    for number in range(rounds):
        for trouble in TROUBLES:
            with stage(servers, scenery()) as place:
                rate = asyncio.run(_one(place, trouble, mails))
            rates[trouble.name].append(round(rate, 1))
            say(f"{PART}: round {number + 1} of {rounds}, {trouble.name}: {rate:.0f}/s")
    medians = {name: statistics.median(values) for name, values in rates.items()}
    ratios = {name: round(rate / medians["alone"], 3) for name, rate in medians.items() if name != "alone"}
    goals = [
        Goal(PART, name, f"{ratio:.2f} of {medians['alone']:.0f}/s", f"> {GOAL:.2f}", ratio > GOAL)
        for name, ratio in ratios.items()
    ]
    shown = {"healthy_mails": mails, "bad_part_of_all": 0.2, "rates_per_s": rates, "medians": medians, "ratios": ratios}
    return shown, goals


async def _one(place: Stage, trouble: Trouble, mails: int) -> float:
    _policies(place.policy)
    pool = await open_pool(place.database_url, name="bench", size=2)
    async with connect(place.servers.rabbitmq.url, name="bench") as broker, SinkWatch(place.sink["watching"]) as watch:
        await broker.declare(pool_queues(place.pool))
        belt = Belt(pool, broker, place.pool, _CONTENT_BYTES)
        bad = people(mails // 4, prefix="bad", domains=trouble.domains) if trouble.domains else []
        everybody = [*people(mails), *bad]
        random.Random(1).shuffle(everybody)
        await belt.launch(everybody)
        if trouble.suspends:
            await pool.execute(
                "INSERT INTO suspensions (pool, source_ip, provider, origin, reason) "
                "VALUES ($1, NULL, $2, 'operator', 'bench')",
                place.pool,
                trouble.suspends,
            )
        await belt.publish()
        await asyncio.to_thread(place.dispatcher)
        feeding = asyncio.create_task(belt.feed_for_ever())
        recorder = Recorder(place, watch)
        await recorder.until(mails, timeout_s=_TIMEOUT_S)
        feeding.cancel()
        whole = await watch.whole()
    await pool.close()
    healthy = {name: tenths for name, tenths in whole["accepted_in"].items() if name.startswith("mx")}
    return steady_rate(healthy, mails, part=_PART_OF_RUN)


def _policies(policy: Callable[..., None]) -> None:
    far = {"messages_per_connection": 1000, "recipients_per_session": 1000, "connection_spacing_s": 0, "tls": "none"}
    policy("default", connections=CONNECTIONS, connections_start=CONNECTIONS, **far)
    policy("gmail", connections=CONNECTIONS * HOSTS, connections_start=CONNECTIONS, **far)
