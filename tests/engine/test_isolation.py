"""A slow, dead, suspended or unresolvable destination holds up nobody else."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hayabin.domain.lane import lane_of
from tests.engine.conftest import MakeWorld
from tests.support.engine_world import mx_zone
from tests.support.mx_script import Listener
from tests.support.waiting import eventually

HEALTHY = [f"d{n}.example" for n in range(10)]
PER_DOMAIN = 60


@contextmanager
def hole(address: str, port: int) -> Iterator[None]:
    """A host to which no connection comes about: it listens with a full backlog and accepts nobody."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        server.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex((address, port))
        try:
            yield
        finally:
            for filler in fillers:
                filler.close()


@pytest.mark.alone
async def test_healthy_domains_go_at_once_beside_tarpit_dead_host_dead_dns_and_suspended_provider(
    make_world: MakeWorld,
) -> None:
    """Four sick destinations share the queues of ten healthy ones, mail by mail: the healthy ones are through at once."""
    zone = {
        **mx_zone(*HEALTHY),
        **mx_zone("tar.example", mx="mx.tar.example", address="127.0.0.6"),
        **mx_zone("hole.example", mx="mx.hole.example", address="127.0.0.7"),
        **mx_zone("gmail.com", mx="gmail-smtp-in.l.google.com", address="127.0.0.5"),
        "dns.example": "TIMEOUT",
    }
    sick = ["tar.example", "hole.example", "dns.example", "gmail.com"]
    healthy = [f"u{n}@{domain}" for n in range(PER_DOMAIN) for domain in HEALTHY]
    others = [f"u{n}@{domain}" for n in range(150) for domain in sick]
    mixed = [address for pair in zip(healthy, others, strict=True) for address in pair]
    assert {lane_of(domain, "bulk") for domain in sick[:3]} <= {lane_of(domain, "bulk") for domain in HEALTHY}
    async with make_world(zone, Listener("127.0.0.5"), Listener("127.0.0.6", manners="stall mail")) as world:
        world.policy("default", connections=10, connections_start=5, connection_spacing_s=0)
        await world.pool.execute(
            "INSERT INTO suspensions (provider, origin, reason) VALUES ('gmail', 'operator', 'maintenance')"
        )
        with hole("127.0.0.7", world.mx.port):
            service = world.start(drain_timeout_s="6")
            campaign_id = await world.campaign(mixed)
            started = time.monotonic()
            await world.publish(campaign_id)
            await eventually(
                lambda: world.pool.fetchval("SELECT count(*) FROM messages WHERE state = 'accepted'"),
                lambda n: n == len(healthy),
                timeout_s=20,
            )
            elapsed = time.monotonic() - started
            assert elapsed < 10, "a tarpit alone holds its batches for a minute and more if it can"
            waiting = await world.pool.fetch("SELECT DISTINCT reason FROM messages WHERE state = 'due'")
            reasons = {row["reason"] for row in waiting}
            assert "suspended:gmail" in reasons
            assert any(str(reason).startswith(("busy:", "dns")) for reason in reasons)
            assert world.system.stop(service, grace_s=10) == 0, service.tail()
            claimed = await world.pool.fetchval("SELECT count(*) FROM messages WHERE state IN ('claimed', 'unknown')")
            assert claimed == 0, "what had not sent its dot was deferred"
