"""The network between: connections of AMQP, SQL, SMTP and DNS cut, stalled, slowed, dribbled; a promoted standby.

4. Each link in each way, while a campaign runs.
3. Promotion of a synchronous standby in the middle of a run: nothing that was acknowledged is lost.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tests.chaos.scenario import Result, Scale, finished, until_through
from tests.chaos.world import ChaosWorld
from tests.support.fault_proxy import FaultProxy
from tests.support.fault_proxy_udp import UdpFaultProxy
from tests.support.postgres_pair import PostgresPair

SLOW_BYTES_PER_S = 200_000
SAMPLE = 6


@dataclass(slots=True)
class Links:
    """The proxies of a world, and the pair of databases behind one of them."""

    sql: FaultProxy
    amqp: FaultProxy
    smtp: FaultProxy
    dns: UdpFaultProxy
    pair: PostgresPair


async def every_link(world: ChaosWorld, scale: Scale) -> Result:
    """Break each link in each way for a while, and heal it."""
    links: Links = world.links
    hold_s = 2.0 if scale.short else 15.0
    breaks = _breaks(links)
    world.random.shuffle(breaks)
    if scale.short:
        del breaks[SAMPLE:]
    done: list[str] = []
    in_flight = 0

    async def one_break() -> bool:
        nonlocal in_flight
        if not breaks:
            return False
        name, fault = breaks.pop()
        await asyncio.sleep(0.5)
        open_before, accepted_before = links.smtp.connections, links.smtp.accepted
        fault()
        await asyncio.sleep(hold_s)
        if name.startswith("smtp"):  # each connection that was there may have lost one reply on the way
            in_flight += open_before + links.smtp.accepted - accepted_before
        for proxy in (links.sql, links.amqp, links.smtp, links.dns):
            proxy.heal()
        done.append(name)
        return True

    lives = world.fleet.crash_loops
    first = await world.launch(scale.people)
    ids = await until_through(world, first, one_break, people=scale.small if scale.short else scale.fewer)
    result = await finished(world, "every link cut, stalled, slowed, dribbled", ids, in_flight=in_flight, within_s=180)
    result.more["breaks"] = done
    ended = world.fleet.crash_loops - lives
    result.hold("no process ended by itself", holds=ended == 0, but=ended)
    return result


def _breaks(links: Links) -> list[tuple[str, Callable[[], object]]]:
    """Each way to break each link."""
    breaks: list[tuple[str, Callable[[], object]]] = [
        ("smtp dribbled", links.smtp.dribble),
        ("amqp dribbled", links.amqp.dribble),
        ("dns lost", links.dns.lose),
    ]
    for name, proxy in (("sql", links.sql), ("amqp", links.amqp), ("smtp", links.smtp)):
        breaks += [
            (f"{name} cut", proxy.cut),
            (f"{name} refused", partial(_refuse, proxy)),
            (f"{name} stalled", proxy.stall),
            (f"{name} slowed", partial(proxy.slow, SLOW_BYTES_PER_S)),
            (f"{name} cut in the middle of something", partial(proxy.cut_after, 20_000)),
        ]
    return breaks


def _refuse(proxy: FaultProxy) -> None:
    proxy.cut()
    proxy.refuse()


async def standby_promoted(world: ChaosWorld, scale: Scale) -> Result:
    """Kill the primary in the middle of a run and promote the synchronous standby."""
    pair: PostgresPair = world.links.pair
    campaign = await world.launch(scale.fewer if scale.short else scale.people)
    await world.taken(campaign, 0.3)
    made, addresses = await world.campaign(scale.small)
    await asyncio.to_thread(pair.kill_primary)
    second = asyncio.create_task(world.launch_made(made, addresses))  # the client asks again until it has an answer
    await asyncio.sleep(1.0)
    await asyncio.to_thread(pair.promote)
    await world.follow(pair.url)
    await second
    result = await finished(world, "primary killed, synchronous standby promoted", [campaign, made])
    held = (await world.query("SELECT held_reason FROM installation"))[0]["held_reason"]
    result.hold("a promoted synchronous standby is not taken for a restored database", holds=not held, but=held)
    return result
