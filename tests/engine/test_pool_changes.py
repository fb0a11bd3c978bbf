"""Source IPs and pools come and go while mail is under way; two dispatchers share a pool."""

import asyncio
from collections import Counter

import pytest

from hayabin.broker.topology import pool_queues
from tests.engine.conftest import MakeWorld
from tests.engine.test_good_guest import people
from tests.support.engine_world import EngineWorld, mx_zone
from tests.support.mx_script import Listener
from tests.support.waiting import eventually

SLOW = "slow 0.02"


async def accepted(world: EngineWorld) -> int:
    """How many are accepted."""
    return int(await world.pool.fetchval("SELECT count(*) FROM messages WHERE state = 'accepted'"))


async def address(world: EngineWorld, ip: str, state: str) -> None:
    """What an operator says of an address, as the API writes it."""
    await world.pool.execute(
        "INSERT INTO source_ips (pool, address, ehlo_name, state) VALUES ($1, $2, $3, $4) "
        "ON CONFLICT (pool, address) DO UPDATE SET state = excluded.state",
        world.variables["pool"],
        ip,
        f"mta-{ip.rpartition('.')[2]}.hayabin.example",
        state,
    )


async def test_address_added_at_run_time_is_proven_taken_and_used(make_world: MakeWorld) -> None:
    """A new IP takes its share with its own EHLO name; one that is not of this machine says why it is not used."""
    async with make_world(mx_zone("gmail.com"), Listener("127.0.0.5", manners=SLOW)) as world:
        world.policy("gmail", connections=2, connections_start=2, retry_delays_s=[1])
        world.start()
        await address(world, "127.0.0.79", "active")
        await address(world, "192.0.2.9", "active")
        query = "SELECT owner, problem FROM source_ips WHERE address = $1"
        await eventually(lambda: world.pool.fetch(query, "127.0.0.79"), lambda rows: rows[0]["owner"], timeout_s=15)
        await eventually(
            lambda: world.pool.fetch(query, "192.0.2.9"),
            lambda rows: "not an address" in rows[0]["problem"],
            timeout_s=15,
        )
        await asyncio.sleep(1.5)
        await world.send(people(80))
        await eventually(lambda: accepted(world), lambda n: n == 80)
        used = Counter((entry.peer_ip, entry.ehlo) for entry in world.mx.entries)
        assert set(used) == {("127.0.0.77", "out.hayabin.example"), ("127.0.0.79", "mta-79.hayabin.example")}
        assert min(used.values()) > 10


async def test_address_removed_at_run_time_leaves_its_mail_to_the_others(make_world: MakeWorld) -> None:
    """An IP is removed in the middle of a campaign: nothing begins from it any more, everything arrives once."""
    ips = "127.0.0.77=a.hayabin.example,127.0.0.78=b.hayabin.example"
    async with make_world(mx_zone("gmail.com"), Listener("127.0.0.5", manners=SLOW), source_ips=ips) as world:
        world.policy("gmail", connections=3, connections_start=3, retry_delays_s=[1])
        world.start()
        await world.send(people(300))
        await eventually(lambda: accepted(world), lambda n: n > 30)
        await address(world, "127.0.0.77", "removed")
        await asyncio.sleep(3)
        mark = len(world.mx.record.begun)
        await eventually(lambda: accepted(world), lambda n: n == 300)
        assert {ip for _, ip in world.mx.record.begun[mark:]} <= {"127.0.0.78"}
        assert max(Counter(entry.rcpt_to for entry in world.mx.entries).values()) == 1
        assert await world.pool.fetchval("SELECT count(*) FROM messages WHERE attempt > 1") == 0


@pytest.mark.slow
async def test_pool_removed_its_mail_goes_by_the_campaigns_new_pool(make_world: MakeWorld) -> None:
    """A pool is removed in the middle of a campaign: the rest goes by the IP of the other pool, nothing twice."""
    async with make_world(mx_zone("gmail.com"), Listener("127.0.0.5", manners="slow 0.1")) as world:
        world.policy("gmail", connections=1, connections_start=1, retry_delays_s=[1])
        world.start()
        other = f"{world.variables['pool']}-b"
        await world.broker.declare(pool_queues(other))
        world.start(name="other", pool=other, source_ips="127.0.0.78=b.hayabin.example")
        campaign_id = await world.send(people(20))
        await eventually(lambda: accepted(world), lambda n: n > 2)
        async with world.pool.acquire() as connection, connection.transaction():
            await connection.execute("UPDATE ip_pools SET state = 'removed' WHERE name = $1", world.variables["pool"])
            await connection.execute("UPDATE campaigns SET pool = $1 WHERE id = $2", other, campaign_id)
        await asyncio.sleep(3)
        mark = len(world.mx.record.begun)
        await eventually(lambda: accepted(world), lambda n: n == 20, timeout_s=90)
        assert {ip for _, ip in world.mx.record.begun[mark:]} == {"127.0.0.78"}
        assert max(Counter(entry.rcpt_to for entry in world.mx.entries).values()) == 1


@pytest.mark.slow
async def test_lane_closed_here_and_open_in_another_dispatcher_is_left_to_that_one(make_world: MakeWorld) -> None:
    """The first dispatcher's IP is suspended for gmail: it stops consuming that queue, and the second delivers all."""
    async with make_world(mx_zone("gmail.com", "other.example"), Listener("127.0.0.5")) as world:
        world.policy("gmail", connections=3, connections_start=3, retry_delays_s=[1])
        await world.pool.execute(
            "INSERT INTO suspensions (source_ip, provider, origin, reason) "
            "VALUES ('127.0.0.77', 'gmail', 'operator', 'listed')"
        )
        world.start(name="first")
        world.start(name="second", source_ips="127.0.0.78=b.hayabin.example")
        await world.send([*people(100), *people(40, "other.example")])
        await eventually(lambda: accepted(world), lambda n: n == 140, timeout_s=60)
        gmail = Counter(entry.peer_ip for entry in world.mx.entries if entry.rcpt_to.endswith("gmail.com"))
        assert gmail == {"127.0.0.78": 100}
        reports = await eventually(world.lanes, lambda lanes: ("127.0.0.77", "gmail") in lanes, timeout_s=10)
        assert reports["127.0.0.77", "gmail"]["state"] == "suspended"
