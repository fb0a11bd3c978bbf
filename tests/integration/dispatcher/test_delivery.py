"""The dispatcher as a process: batches on a real belt, a real ledger, scripted MX hosts and DNS."""

import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hayabin.broker import Broker, Outgoing, connect
from hayabin.broker.topology import DISPATCH, PARKED_QUEUE, dispatch_queue, pool_queues
from hayabin.contracts.codec import encode
from hayabin.contracts.dispatch_pb2 import Mail, MailBatch
from hayabin.database.counters import read_counters
from hayabin.database.engine import Pool, open_pool
from hayabin.database.launch import launch
from tests.support.dns_zone import DnsZone
from tests.support.mx_script import Listener
from tests.support.scripted_mx import ScriptedMx
from tests.support.seed import seed_campaign
from tests.support.system import Service, System, running_system
from tests.support.waiting import eventually

RULES = {
    "grey.example": "greylist 1",
    "full.example": "reject dot 552 5.2.2 mailbox full",
    "nobody@": "reject rcpt 550 5.1.1 no such user",
    "lost.example": "drop dot",
    "huge.example": "shout rcpt 1000000",
}
PEOPLE = [
    "one@ok.example",
    "two@ok.example",
    "nobody@ok.example",
    "a@grey.example",
    "a@full.example",
    "a@lost.example",
    "a@huge.example",
    "a@null.example",
    "a@nowhere.example",
    "a@servfail.example",
    '"a..b"@docomo.ne.jp',
]


@dataclass(slots=True)
class World:
    """Everything around the dispatcher."""

    pool: Pool
    broker: Broker
    system: System
    mx: ScriptedMx
    campaign_id: int
    variables: dict[str, str]

    def start(self) -> Service:
        """Start a dispatcher."""
        return self.system.start("dispatcher", **self.variables)

    async def batch(self, *, attempt: int = 0, copies: int = 1) -> None:
        """Publish a batch of everybody who is at that attempt."""
        rows = await self.pool.fetch(
            "SELECT id, wire FROM messages JOIN recipients ON message_id = id WHERE attempt = $1 ORDER BY id", attempt
        )
        content = b"Subject: hi\r\nMessage-ID: <%d@x>\r\n\r\n.dot\r\nbody\r\n"
        batch = MailBatch(
            tenant_id=1,
            campaign_id=self.campaign_id,
            attempt=attempt,
            pool="main",
            lane="other-0",
            mails=[
                Mail(message_id=r["id"], return_path="b@x.example", recipient=r["wire"], content=content % r["id"])
                for r in rows
            ],
            lease_expires_ms=int((time.time() + 300) * 1000),
            launched_ms=int(time.time() * 1000),
        )
        message = Outgoing(DISPATCH, "main.other-0", encode(batch))
        await self.broker.publish([message] * copies)

    async def states(self) -> dict[str, str]:
        """State by address."""
        rows = await self.pool.fetch("SELECT wire, state FROM messages JOIN recipients ON message_id = id")
        return {row["wire"]: row["state"] for row in rows}


@pytest.fixture
async def world(database_url: str, amqp_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """A launched campaign, its belt, its internet."""
    names = ["ok.example", "grey.example", "full.example", "lost.example", "huge.example", "docomo.ne.jp"]
    zone: dict[str, Any] = {name: {"MX": "10 mx.test.example."} for name in names}
    zone |= {"mx.test.example": {"A": "127.0.0.5"}, "null.example": {"MX": "0 ."}}
    async with (
        DnsZone({**zone, "servfail.example": "SERVFAIL"}) as dns,
        ScriptedMx(Listener("127.0.0.5", recipients=RULES)) as mx,
        connect(amqp_url, name="test") as broker,
    ):
        pool = await open_pool(database_url, name="test", size=3)
        await broker.declare(pool_queues("main"))
        with running_system(tmp_path, database_url, amqp_url) as system:
            async with pool.acquire() as connection, connection.transaction():
                seeded = await seed_campaign(connection, PEOPLE)
                await launch(connection, seeded.campaign_id, tenant_id=seeded.tenant_id)
            policies = tmp_path / "policies"
            policies.mkdir()  # docomo's own has quiet times, and tests run at any minute
            (policies / "docomo.toml").write_text("quiet_before_hour_s = 0\nquiet_after_hour_s = 0\n")
            variables = {
                "pool": "main",
                "source_ips": "127.0.0.77=out.hayabin.example",
                "smtp_port": str(mx.port),
                "dns_servers": f"127.0.0.1:{dns.port}",
                "allow_private_mx": "true",
                "policy_dir": str(policies),
                "retry_delays_s": "1",
            }
            yield World(pool, broker, system, mx, seeded.campaign_id, variables)
        await pool.close()


async def test_dispatcher_each_kind_of_receiver_gives_its_state(world: World) -> None:
    """Accepted, refused, greylisted, lost after the dot, null MX, NXDOMAIN, SERVFAIL: each row says what is known."""
    service = world.start()
    await world.batch()
    await eventually(world.states, lambda states: not {"due", "claimed"} & set(states.values()))
    assert await world.states() == {
        "one@ok.example": "accepted",
        "two@ok.example": "accepted",
        "nobody@ok.example": "bounced",
        "a@grey.example": "deferred",
        "a@full.example": "bounced",
        "a@lost.example": "unknown",
        "a@huge.example": "deferred",
        "a@null.example": "bounced",
        "a@nowhere.example": "bounced",
        "a@servfail.example": "deferred",
        '"a..b"@docomo.ne.jp': "accepted",
    }
    attempts = {
        row["wire"]: row
        for row in await world.pool.fetch("SELECT wire, a.* FROM attempts a JOIN recipients r USING (message_id)")
    }
    assert (attempts["nobody@ok.example"]["code"], attempts["nobody@ok.example"]["reason"]) == (550, "user_unknown")
    assert attempts["nobody@ok.example"]["phase"] == "rcpt"
    assert attempts["a@full.example"]["reason"] == "mailbox_full"
    assert attempts["a@null.example"]["enhanced"] == "5.1.10"
    assert attempts["one@ok.example"]["source_ip"] == "127.0.0.77"
    assert {entry.peer_ip for entry in world.mx.entries} == {"127.0.0.77"}
    assert {entry.ehlo for entry in world.mx.entries} == {"out.hayabin.example"}
    assert Counter(entry.rcpt_to for entry in world.mx.entries) == Counter(
        ["one@ok.example", "two@ok.example", '"a..b"@docomo.ne.jp']
    )
    assert world.system.stop(service) == 0


async def test_dispatcher_same_batch_five_times_sends_once(world: World) -> None:
    """Redelivered and duplicated batches meet the gate: every recipient gets one transaction."""
    world.start()
    await world.batch(copies=5)
    await eventually(world.states, lambda states: not {"due", "claimed"} & set(states.values()))
    await eventually(
        lambda: world.broker.depth([dispatch_queue("main", "other-0")]), lambda depth: not any(depth.values())
    )
    assert max(Counter(entry.rcpt_to for entry in world.mx.entries).values()) == 1


async def test_dispatcher_greylisted_mail_is_accepted_at_the_second_attempt(world: World) -> None:
    """A deferred row has its next time, and the attempt after it is accepted and counted as such."""
    world.start()
    await world.batch()
    await eventually(world.states, lambda states: not {"due", "claimed"} & set(states.values()))
    due = await world.pool.fetchrow("SELECT next_attempt_at, reason FROM messages WHERE address_key = 'a@grey.example'")
    assert due is not None
    assert due["next_attempt_at"] is not None
    assert due["reason"] == "greylisted"
    await world.batch(attempt=1)
    await eventually(world.states, lambda states: states["a@grey.example"] == "accepted")
    async with world.pool.acquire() as connection:
        assert (await read_counters(connection, world.campaign_id))["accepted_after_retry"] == 1


async def test_dispatcher_undecodable_batch_is_parked(world: World) -> None:
    """Bytes that are no batch stand in the parked queue with the reason, and the next batch is delivered."""
    world.start()
    await world.broker.publish([Outgoing(DISPATCH, "main.other-0", b"\x00garbage")])
    await world.batch()
    await eventually(lambda: world.broker.depth([PARKED_QUEUE]), lambda depth: depth[PARKED_QUEUE] == 1)
    await eventually(world.states, lambda states: states["one@ok.example"] == "accepted")


async def test_dispatcher_without_its_source_ip_does_not_start(world: World) -> None:
    """An address that is not ours ends the start with a clear word, and nothing is consumed."""
    world.variables["source_ips"] = "192.0.2.1=out.hayabin.example"
    service = world.system.launch("dispatcher", **world.variables)
    assert service.process.wait(20) == 1
    assert "192.0.2.1 is not an address of this machine" in service.tail()


async def test_dispatcher_failures_go_to_the_bounce_service_through_the_outbox(world: World) -> None:
    """Bounced rows and only they are in the outbox as delivery events, written with the outcome."""
    world.start()
    await world.batch()
    await eventually(world.states, lambda states: not {"due", "claimed"} & set(states.values()))
    rows = await world.pool.fetch("SELECT routing_key FROM outbox WHERE exchange = 'hayabin.events'")
    assert rows
    assert {row["routing_key"] for row in rows} == {"delivery"}
