"""A good guest: limits hold at the receiving side, replies are heeded, recovery comes by itself, all of it is shown."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.engine.conftest import MakeWorld
from tests.support.engine_world import EngineWorld, mx_zone
from tests.support.mx_script import Listener
from tests.support.waiting import eventually

TWO_IPS = "127.0.0.77=a.hayabin.example,127.0.0.78=b.hayabin.example"
LIMITED = {"connections": 2, "connections_start": 2, "retry_delays_s": [1], "messages_per_connection": 5}


def people(count: int, domain: str = "gmail.com") -> list[str]:
    """Addresses at a domain."""
    return [f"user{n}@{domain}" for n in range(count)]


@pytest.mark.alone
async def test_limits_of_connections_messages_and_rate_hold_at_the_server(make_world: MakeWorld) -> None:
    """Two IPs, each: at most 2 connections, 5 mails each, 20 a second (burst 4), 45 a minute; seen by the server."""
    async with make_world(mx_zone("gmail.com"), Listener("127.0.0.5"), source_ips=TWO_IPS) as world:
        world.policy("gmail", **LIMITED, rate_per_s=20, burst=4, rate_per_min=45)
        world.start()
        await world.send(people(150))
        await eventually(_accepted(world), lambda n: n == 90)
        states = await world.settled(waiting=True)
        assert Counter(states.values()) == {"accepted": 90, "due": 60}
        record = world.mx.record
        assert set(record.most_open_from) == {"127.0.0.77", "127.0.0.78"}
        assert max(record.most_open_from.values()) <= 2
        assert record.connections >= 90 / 5
        for ip in record.most_open_from:
            times = sorted(at for at, peer in record.begun if peer == ip)
            assert len(times) == 45
            for first, start in enumerate(times):
                for last in range(first, len(times)):  # 50 ms for what loopback and scheduling may compress
                    assert last - first + 1 <= 4 + (times[last] - start + 0.05) * 20
        lanes = await eventually(world.lanes, lambda lanes: any(lane["state"] == "capped" for lane in lanes.values()))
        assert lanes["127.0.0.77", "gmail"]["limit_per_s"] == pytest.approx(45 / 60)
        assert lanes["127.0.0.77", "gmail"]["next_try_at"] > datetime.now(UTC)


def _accepted(world: EngineWorld) -> Callable[[], Awaitable[int]]:
    async def count() -> int:
        return int(await world.pool.fetchval("SELECT count(*) FROM messages WHERE state = 'accepted'"))

    return count


RATE = "421 4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your IP address"
SLOW_RULE = {
    "name": "test-rate", "code": "421", "enhanced": r"4\.7\.28", "example": RATE, "source": "test", "slow_to": 0.5,
}  # fmt: skip


async def test_reply_that_asks_for_less_slows_the_lane_and_it_recovers(make_world: MakeWorld) -> None:
    """A 421 4.7.28 halves the lane's speed, which is shown with the rule's name; after a quiet time it is open again."""
    rules = {"user0@gmail.com": f"defer 1 rcpt {RATE}"}
    async with make_world(mx_zone("gmail.com"), Listener("127.0.0.5", recipients=rules)) as world:
        world.policy("gmail", **LIMITED, recovery_s=4.0, rules=[SLOW_RULE])
        world.start()
        await world.send(people(20))
        lanes = await eventually(world.lanes, lambda lanes: _state(lanes) == "slowed")
        lane = lanes["127.0.0.77", "gmail"]
        assert lane["reason"] == "50% of its speed: test-rate"
        assert lane["next_try_at"] is not None
        assert lane["limit_per_s"] >= 0.5
        await eventually(world.lanes, lambda lanes: _state(lanes) in ("open", None), timeout_s=15)
        await eventually(_accepted(world), lambda n: n == 20)


def _state(lanes: dict[tuple[str, str], dict[str, Any]]) -> str | None:
    lane = lanes.get(("127.0.0.77", "gmail"))
    return None if lane is None else str(lane["state"])


async def test_blocked_ip_is_suspended_and_the_mail_goes_by_another_ip(make_world: MakeWorld) -> None:
    """Microsoft's S3150 to one IP: that lane is suspended, written for operators to see, and the other IP delivers within seconds."""
    blocked = "550 5.7.1 Unfortunately, messages from [127.0.0.77] weren't sent. Part of their network is on our block list (S3150)"
    zone = mx_zone("outlook.com")
    async with make_world(
        zone, Listener("127.0.0.5", peers={"127.0.0.77": f"reject mail {blocked}"}), source_ips=TWO_IPS
    ) as world:
        world.policy("microsoft", connections=2, connections_start=1, retry_delays_s=[3600])
        world.start()
        await world.send(people(12, "outlook.com"))
        await eventually(
            world.lanes, lambda lanes: lanes.get(("127.0.0.77", "microsoft"), {}).get("state") == "suspended"
        )
        await eventually(_accepted(world), lambda n: n == 12)
        assert {entry.peer_ip for entry in world.mx.entries} == {"127.0.0.78"}
        kept = await world.pool.fetchrow("SELECT source_ip, provider, origin, reason, until FROM suspensions")
        assert kept is not None
        assert (kept["source_ip"], kept["provider"], kept["origin"]) == ("127.0.0.77", "microsoft", "rule")
        assert kept["until"] > datetime.now(UTC)


@pytest.mark.slow
async def test_suspension_by_an_operator_stops_a_provider_and_resume_sends_the_rest(make_world: MakeWorld) -> None:
    """Gmail is suspended: its mail waits with the reason, the other domain's goes; lifted, it is due within seconds."""
    zone = mx_zone("gmail.com", "other.example")
    async with make_world(zone, Listener("127.0.0.5")) as world:
        await world.pool.execute(
            "INSERT INTO suspensions (provider, origin, reason) VALUES ('gmail', 'operator', 'maintenance')"
        )
        world.start()
        await world.send([*people(10), *people(10, "other.example")])
        states = await world.settled(waiting=True)
        assert {address for address, state in states.items() if state == "accepted"} == set(people(10, "other.example"))
        reasons = await world.pool.fetch("SELECT DISTINCT reason FROM messages WHERE state = 'due'")
        assert [row["reason"] for row in reasons] == ["suspended:gmail"]
        lanes = await eventually(world.lanes, lambda lanes: ("127.0.0.77", "gmail") in lanes)
        assert (lanes["127.0.0.77", "gmail"]["state"], lanes["127.0.0.77", "gmail"]["reason"]) == (
            "suspended",
            "maintenance",
        )
        await world.pool.execute("DELETE FROM suspensions")
        await eventually(_accepted(world), lambda n: n == 20, timeout_s=40)


@pytest.mark.slow
async def test_policy_override_in_the_database_holds_without_a_restart(make_world: MakeWorld) -> None:
    """A provider's limit is lowered while the dispatcher runs: the next mails keep to it."""
    async with make_world(mx_zone("gmail.com"), Listener("127.0.0.5", manners="slow 0.03")) as world:
        world.policy("gmail", connections=8, connections_start=8, retry_delays_s=[1])
        world.start()
        await world.send(people(25))
        await eventually(_accepted(world), lambda n: n == 25)
        assert world.mx.record.most_open_from["127.0.0.77"] > 1
        await world.pool.execute(
            "INSERT INTO provider_policies (provider, settings) VALUES ('gmail', '{\"connections\": 1}'::jsonb)"
        )
        await eventually(
            lambda: world.pool.fetchval(
                "SELECT settings->>'connections' FROM effective_policies WHERE provider = 'gmail'"
            ),
            lambda shown: shown == "1",
        )
        await asyncio.sleep(6)  # idle connections of before are closed
        world.mx.record.most_open_from.clear()
        await world.send([f"second-{address}" for address in people(25)])
        await eventually(_accepted(world), lambda n: n == 50)
        assert world.mx.record.most_open_from["127.0.0.77"] == 1


async def test_warm_up_never_above_its_cap_and_the_rest_goes_by_the_warm_ip(make_world: MakeWorld) -> None:
    """A cold IP with 7 mails today beside a warm one: exactly 7 go from it, the rest from the other."""
    async with make_world(
        mx_zone("gmail.com"), Listener("127.0.0.5", manners="slow 0.03"), source_ips=TWO_IPS
    ) as world:
        await _plan(world, "127.0.0.77", "gmail", 7)
        world.start()
        await world.send(people(60))
        await eventually(_accepted(world), lambda n: n == 60)
        assert Counter(entry.peer_ip for entry in world.mx.entries) == {"127.0.0.77": 7, "127.0.0.78": 53}


async def test_warm_up_of_every_ip_used_up_waits_for_tomorrow_with_reason_and_time(make_world: MakeWorld) -> None:
    """Both IPs are cold: what exceeds their caps waits, and says why and until when; a restart sends none of it."""
    async with make_world(mx_zone("gmail.com"), Listener("127.0.0.5"), source_ips=TWO_IPS) as world:
        await _plan(world, "127.0.0.77", "*", 5)
        await _plan(world, "127.0.0.78", "gmail", 3)
        service = world.start()
        campaign_id = await world.send(people(40))
        states = await world.settled(waiting=True)
        assert Counter(states.values()) == {"accepted": 8, "due": 32}
        midnight = datetime.combine(datetime.now(UTC).date() + timedelta(days=1), datetime.min.time(), UTC)
        rows = await world.pool.fetch("SELECT reason, next_attempt_at FROM messages WHERE state = 'due'")
        assert {row["reason"] for row in rows} == {"capped:gmail"}
        assert all(midnight <= row["next_attempt_at"] < midnight + timedelta(minutes=16) for row in rows)
        lanes = await eventually(world.lanes, lambda lanes: len(lanes) == 2)
        assert (lanes["127.0.0.77", "gmail"]["begun_today"], lanes["127.0.0.77", "gmail"]["cap_today"]) == (5, 5)
        assert world.system.stop(service) == 0
        world.start(name="again")
        await world.publish(campaign_id)
        await asyncio.sleep(3)
        assert Counter((await world.states()).values()) == {"accepted": 8, "due": 32}


async def _plan(world: EngineWorld, source_ip: str, provider: str, cap: int) -> None:
    await world.pool.execute(
        "INSERT INTO warmups (source_ip, provider, start_per_day, growth, end_per_day, started_on) "
        "VALUES ($1, $2, $3, 2.0, 1000000, (now() AT TIME ZONE 'UTC')::date)",
        source_ip,
        provider,
        cap,
    )
