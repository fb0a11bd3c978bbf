"""Makes a world: private PostgreSQL and RabbitMQ, replicas of the services, journaling receivers, DNS, a tenant.

Promises: inside ``chaos_world`` every replica is ready; everything is stopped at the end of the block.
"""

import asyncio
import base64
import contextlib
import random
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hayabin.database.engine import open_pool
from hayabin.database.migrate import upgrade
from hayabin.domain.token import TokenKey, TokenRing
from hayabin.settings import TOKEN_KEY_ID
from services.api.access import Scope, new_key
from tests.chaos.fleet import Fleet
from tests.chaos.world import DOMAINS, GREY, NOBODY, POOL, TARPIT, ChaosWorld
from tests.support.postgres import PostgresInstance, private_postgres
from tests.support.rabbitmq import RabbitInstance, private_rabbitmq
from tests.support.system import System, helper_process, running_system

MX = "127.0.0.5"
POLICY = (
    "connections = 40\nconnections_start = 8\ngrowth_mails = 2\ngreeting_timeout_s = 10\ncommand_timeout_s = 10\n"
    "data_timeout_s = 10\nblock_timeout_s = 10\ndot_timeout_s = 20\n"
)


@dataclass(frozen=True, slots=True)
class WorldPlan:
    """What a world has; numbers of replicas by kind."""

    replicas: dict[str, int] = field(
        default_factory=lambda: {"api": 2, "scheduler": 2, "renderer": 2, "dispatcher": 2, "tracker": 2, "bounce": 2}
    )
    manners: str = "slow 0.02"
    recipients: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)  # settings of every service
    mx_address: str = MX  # where the zone leads; a proxy where one stands before the receivers
    code: Path | None = None  # another tree of the code, with a mutation in it


@dataclass(frozen=True, slots=True)
class Servers:
    """What a world stands on, where it is not just what it would start itself; URLs are those that services use."""

    postgres: PostgresInstance | None = None
    rabbitmq: RabbitInstance | None = None
    database_url: str = ""
    broker_url: str = ""
    smtp_port: int = 0
    dns_server: str = ""
    of: Mapping[str, Sequence[Mapping[str, str]]] = field(default_factory=dict)  # environments by kind and number
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # by kind


@asynccontextmanager
async def chaos_world(plan: WorldPlan, seed: int, servers: Servers | None = None) -> AsyncIterator[ChaosWorld]:
    """Start a world."""
    servers = servers or Servers()
    with ExitStack() as stack:
        async with AsyncExitStack() as async_stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hayabin-chaos-")))
            postgres = servers.postgres or stack.enter_context(private_postgres())
            rabbitmq = servers.rabbitmq or stack.enter_context(private_rabbitmq())
            await asyncio.to_thread(upgrade, postgres.url)
            system, mx_port, dns_port = _surroundings(plan, servers, folder, postgres, rabbitmq, stack)
            chance = random.Random(seed)
            token_key = TokenKey(TOKEN_KEY_ID, base64.b64decode(system.environment["HAYABIN_TOKEN_SECRET"]))
            world = ChaosWorld(
                folder=folder,
                postgres=postgres,
                rabbitmq=rabbitmq,
                pool=await open_pool(postgres.url, name="judge", size=4),
                fleet=Fleet(system, chance),
                random=chance,
                ring=TokenRing((token_key,), active=TOKEN_KEY_ID),
                mx_port=mx_port,
                dns_port=dns_port,
            )
            async_stack.push_async_callback(_closed, world)
            for kind, count in plan.replicas.items():
                environments = [*servers.of.get(kind, ()), *[{}] * count]
                for number in range(count):
                    world.fleet.add(
                        kind,
                        environments[number],
                        **{**_settings_of(kind, number, world), **servers.settings.get(kind, {})},
                    )
            await world.fleet.ready()
            await _prepared(world)
            yield world


def _surroundings(
    plan: WorldPlan,
    servers: Servers,
    folder: Path,
    postgres: PostgresInstance,
    rabbitmq: RabbitInstance,
    stack: ExitStack,
) -> tuple[System, int, int]:
    """Receivers, DNS, and the settings that lead to them; gives the ports of both too."""
    names = (*DOMAINS, GREY, NOBODY, TARPIT)
    zone: dict[str, Any] = {name: {"MX": f"10 mx.{name}."} for name in names}
    zone |= {f"mx.{name}": {"A": plan.mx_address} for name in names}
    recipients = {
        GREY: "greylist 1",
        NOBODY: "reject rcpt 550 5.1.1 no such user",
        TARPIT: "slow 1.5",
        **plan.recipients,
    }
    mx = {
        "journal": str(folder / "mx.jsonl"),
        "fsync": True,
        "listeners": [{"address": MX, "manners": plan.manners, "recipients": {**recipients, "*": "accept"}}],
    }
    dns = stack.enter_context(helper_process("tests.support.dns_zone", {"address": "127.0.0.1", "zone": zone}, folder))
    receivers: Any = stack.enter_context(helper_process("tests.support.scripted_mx", mx, folder))
    mx_port = int(receivers["listeners"][0]["port"])
    (folder / "policies").mkdir()
    (folder / "policies" / "default.toml").write_text(POLICY)
    system = stack.enter_context(
        running_system(
            folder,
            servers.database_url or postgres.url,
            servers.broker_url or rabbitmq.url,
            public_url="http://127.0.0.1:1",
            dns_servers=servers.dns_server or f"127.0.0.1:{dns['port']}",
            smtp_port=str(servers.smtp_port or mx_port),
            **plan.variables,
        )
    )
    system.code = plan.code
    return system, mx_port, int(str(dns["port"]))


def _settings_of(kind: str, number: int, world: ChaosWorld) -> dict[str, str]:
    if kind == "dispatcher":
        return {
            "pool": POOL,
            "source_ips": f"127.0.0.{60 + number}=out{number}.hayabin.example",
            "allow_private_mx": "true",
            "mta_sts": "false",
            "policy_dir": str(world.folder / "policies"),
            "retry_delays_s": "1,1,1",
            "transcript_days": "0",
        }
    return {}


async def _prepared(world: ChaosWorld) -> None:
    """A tenant with a key, a template and a domain."""
    key = new_key()
    world.key = key.shown
    world.tenant_id = await world.pool.fetchval("INSERT INTO tenants (slug, name) VALUES ('t', 't') RETURNING id")
    scopes = sorted(scope.value for scope in Scope)
    await world.pool.execute(
        "INSERT INTO api_keys (tenant_id, name, prefix, secret_hash, scopes) VALUES ($1, '', $2, $3, $4)",
        world.tenant_id, key.prefix, key.secret_hash, scopes,
    )  # fmt: skip
    template = {
        "name": "t", "kind": "html", "subject": "Hello {{ name }}",
        "source": '<p>Hello {{ name }} <a href="https://shop.example/1">shop</a> <a href="{{ unsubscribe_url }}">u</a></p>',
    }  # fmt: skip
    made = await world.call("POST", "/v1/templates", json=template)
    assert made.status_code == 201, made.text
    world.version_id = made.json()["version"]["id"]
    await world.call("POST", f"/v1/templates/{made.json()['id']}/versions/1/publish")
    domain = await world.call("POST", "/v1/domains", json={"name": "chaos.example"})
    assert domain.status_code == 201, domain.text


async def _closed(world: ChaosWorld) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(5):
            await world.pool.close()
    world.pool.terminate()
    for replica in world.fleet.replicas:
        world.fleet.kill(replica)
