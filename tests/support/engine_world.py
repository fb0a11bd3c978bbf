"""A dispatcher in its world: ledger, belt, scripted MX hosts and DNS, all real but the Internet.

Promises: a campaign of any addresses is launched and its batches published as the renderer would, with lanes by class
and domain; the dispatcher is a process of its own with whatever settings the test gives.
"""

import asyncio
import json
import secrets
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hayabin.broker import Broker, Outgoing, connect
from hayabin.broker.topology import DISPATCH, pool_queues
from hayabin.contracts.codec import encode
from hayabin.contracts.dispatch_pb2 import Mail, MailBatch
from hayabin.database.engine import Pool, open_pool
from hayabin.domain.lane import MessageClass, lane_of
from tests.support.dns_zone import DnsZone, Zone
from tests.support.mx_script import Listener
from tests.support.scripted_mx import ScriptedMx
from tests.support.seed import Seeded, launch_whole, seed_campaign
from tests.support.system import Service, System, running_system
from tests.support.waiting import eventually

MAILS_PER_BATCH = 50


@dataclass(slots=True)
class EngineWorld:
    """See the module."""

    pool: Pool
    broker: Broker
    system: System
    mx: ScriptedMx
    dns: DnsZone
    folder: Path
    variables: dict[str, str]
    campaigns: list[Seeded] = field(default_factory=list)
    feeds: bool = True  # whether what is due again is published again, as the scheduler and the renderer would

    def policy(self, provider: str, **settings: Any) -> None:
        """Override a provider's policy in the folder that dispatchers read at their start."""
        lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items() if key != "rules"]
        for rule in settings.get("rules", []):
            lines += ["[[rules]]", *(f"{key} = {json.dumps(value)}" for key, value in rule.items())]
        (self.folder / f"{provider}.toml").write_text("\n".join(lines) + "\n")

    def start(self, *, name: str = "dispatcher", **variables: str) -> Service:
        """Start a dispatcher."""
        return self.system.start("dispatcher", name=name, **{**self.variables, **variables})

    async def campaign(self, addresses: Sequence[str], *, message_class: MessageClass = "bulk") -> int:
        """Launch a campaign; returns its id."""
        async with self.pool.acquire() as connection, connection.transaction():
            seeded = await seed_campaign(
                connection,
                list(addresses),
                slug=f"t{len(self.campaigns)}",
                message_class=message_class,
                pool=self.variables["pool"],
            )
            await launch_whole(connection, seeded)
        self.campaigns.append(seeded)
        return seeded.campaign_id

    async def publish(self, campaign_id: int, *, content_bytes: int = 200, ids: Sequence[int] | None = None) -> None:
        """Publish what is due or deferred of a campaign (of ``ids``), each row at its attempt, due or not."""
        rows = await self.pool.fetch(
            "SELECT m.id, m.attempt, m.tenant_id, r.wire, c.class, c.pool FROM messages m "
            "JOIN recipients r ON r.message_id = m.id JOIN campaigns c ON c.id = m.campaign_id "
            "WHERE m.campaign_id = $1 AND m.state IN ('due', 'deferred') AND ($2::bigint[] IS NULL OR m.id = ANY($2)) "
            "ORDER BY m.id",
            campaign_id,
            ids,
        )
        groups: dict[tuple[str, str, int, int], list[Mail]] = defaultdict(list)
        padding = b"x" * 70 + b"\r\n"
        body = b"Subject: hi\r\nMessage-ID: <%d@x>\r\n\r\n.dot\r\n" + padding * max(1, content_bytes // 72)
        for row in rows:
            lane = lane_of(row["wire"].rpartition("@")[2], row["class"])
            mail = Mail(
                message_id=row["id"], return_path="b@x.example", recipient=row["wire"], content=body % row["id"]
            )
            groups[row["pool"], lane, row["attempt"], row["tenant_id"]].append(mail)
        messages = [
            _batch(campaign_id, place, mails[start : start + MAILS_PER_BATCH])
            for place, mails in groups.items()
            for start in range(0, len(mails), MAILS_PER_BATCH)
        ]
        await self.broker.publish(messages)

    async def feed_for_ever(self) -> None:
        """Publish what is due again."""
        while True:
            await asyncio.sleep(0.25)
            if not self.feeds:
                continue
            rows = await self.pool.fetch(
                "UPDATE messages m SET next_attempt_at = now() + interval '5 minutes' FROM campaigns c "
                "WHERE c.id = m.campaign_id AND c.state = 'sending' AND m.next_attempt_at <= now() "
                "AND m.state IN ('due', 'deferred') RETURNING m.id, m.campaign_id"
            )
            for campaign_id in {row["campaign_id"] for row in rows}:
                await self.publish(campaign_id, ids=[row["id"] for row in rows if row["campaign_id"] == campaign_id])

    async def send(self, addresses: Sequence[str], *, message_class: MessageClass = "bulk") -> int:
        """Launch and publish."""
        campaign_id = await self.campaign(addresses, message_class=message_class)
        await self.publish(campaign_id)
        return campaign_id

    async def states(self, campaign_id: int | None = None) -> dict[str, str]:
        """State by address."""
        rows = await self.pool.fetch(
            "SELECT wire, state FROM messages JOIN recipients ON message_id = id "
            "WHERE $1::bigint IS NULL OR messages.campaign_id = $1",
            campaign_id,
        )
        return {row["wire"]: row["state"] for row in rows}

    async def settled(self, *, timeout_s: float = 60, waiting: bool = False) -> dict[str, str]:
        """Wait until nothing is claimed or due (``waiting``: but postponed), and give the states."""
        open_states = "('claimed')" if waiting else "('due', 'claimed')"

        async def count() -> int:
            rows = await self.pool.fetchval(
                f"SELECT count(*) FROM messages WHERE state IN {open_states} OR (state = 'due' AND next_attempt_at IS NULL)"
            )
            return int(rows)

        await eventually(count, lambda n: n == 0, timeout_s=timeout_s)
        return await self.states()

    async def lanes(self) -> dict[tuple[str, str], dict[str, Any]]:
        """The reports by source IP and lane."""
        rows = await self.pool.fetch("SELECT * FROM lane_reports")
        return {(row["source_ip"], row["lane"]): dict(row) for row in rows}


def _batch(campaign_id: int, place: tuple[str, str, int, int], mails: list[Mail]) -> Outgoing:
    pool, lane, attempt, tenant_id = place
    batch = MailBatch(
        tenant_id=tenant_id,
        campaign_id=campaign_id,
        attempt=attempt,
        pool=pool,
        lane=lane,
        mails=mails,
        lease_expires_ms=int((time.time() + 300) * 1000),
        launched_ms=int(time.time() * 1000),
    )
    return Outgoing(DISPATCH, f"{pool}.{lane}", encode(batch))


def mx_zone(*domains: str, mx: str = "mx.test.example", address: str = "127.0.0.5") -> Zone:
    """A zone in which one host takes the mail of some domains."""
    return {**{name: {"MX": f"10 {mx}."} for name in domains}, mx: {"A": address}}


@asynccontextmanager
async def engine_world(
    database_url: str,
    amqp_url: str,
    folder: Path,
    zone: Zone,
    listeners: Sequence[Listener],
    **variables: str,
) -> AsyncIterator[EngineWorld]:
    """A world with these MX hosts, which all listen on the port of the first, and this zone."""
    policies = folder / "policies"
    policies.mkdir()
    pool_name = f"pool-{secrets.token_hex(4)}"  # queues of its own
    mx = ScriptedMx(*listeners, same_port=True)
    async with DnsZone(zone) as dns, mx, connect(amqp_url, name="test") as broker:
        pool = await open_pool(database_url, name="test", size=3)
        await broker.declare(pool_queues(pool_name))
        with running_system(folder, database_url, amqp_url) as system:
            settings = {
                "pool": pool_name,
                "source_ips": "127.0.0.77=out.hayabin.example",
                "smtp_port": str(mx.port),
                "dns_servers": f"127.0.0.1:{dns.port}",
                "allow_private_mx": "true",
                "mta_sts": "false",
                "policy_dir": str(policies),
                **variables,
            }
            world = EngineWorld(pool, broker, system, mx, dns, policies, settings)
            feeding = asyncio.create_task(world.feed_for_ever())
            try:
                yield world
            finally:
                feeding.cancel()
                await asyncio.gather(feeding, return_exceptions=True)
                await asyncio.to_thread(_stop_all, system)
        await pool.close()


def _stop_all(system: System) -> None:
    for service in list(system.services):
        system.stop(service)
