"""Where a measure takes place: a database of its own, sinks, a zone, the processes of the system.

Promises: PostgreSQL (fsync on) and RabbitMQ (quorum queues) are real and shared by all measures of a run; the database
and the IP pool, and so the queues of the dispatcher, are of this stage alone. What was started ends with the stage.
Fails: ``ServiceFailed`` where a process does not become ready, with the end of its log.
"""

import asyncio
import json
import secrets
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from benchmarks.processes import descendants
from hayabin.database.migrate import upgrade
from tests.support.dns_zone import Zone
from tests.support.postgres import PostgresInstance
from tests.support.rabbitmq import RabbitInstance
from tests.support.system import Service, System, helper_process, running_system

DOMAINS, HOSTS = 40, 8
SOURCE_IP = "127.0.0.2"
FAR_S = 0.15
"""The latency of a reply that the goals speak of."""


@dataclass(frozen=True, slots=True)
class Servers:
    """The database server, the broker, and a folder for what processes write."""

    postgres: PostgresInstance
    rabbitmq: RabbitInstance
    folder: Path


@dataclass(frozen=True, slots=True)
class Scenery:
    """What surrounds the system: DNS zone, MX listeners (see ``benchmarks.engine_parts.sink``), dead addresses."""

    zone: Zone
    listeners: Sequence[Mapping[str, object]]
    dead: Sequence[str] = ()
    watched: str = ""
    every_recipient: bool = False


@dataclass(slots=True)
class Stage:
    """See the module."""

    servers: Servers
    database_url: str
    system: System
    sink: Mapping[str, Any]
    dns_port: int
    folder: Path
    pool: str = field(default_factory=lambda: f"bench-{secrets.token_hex(4)}")

    def policy(self, provider: str = "default", **settings: Any) -> None:
        """Override a provider's policy; dispatchers read it at their start."""
        (self._policies / f"{provider}.toml").write_text(
            "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
        )

    @property
    def _policies(self) -> Path:
        folder = self.folder / "policies"
        folder.mkdir(exist_ok=True)
        return folder

    def dispatcher(self, *, ips: Sequence[str] = (SOURCE_IP,), **variables: str) -> Service:
        """Start a dispatcher and wait until it is ready."""
        return self.system.start(
            "dispatcher",
            pool=self.pool,
            source_ips=",".join(f"{ip}=out{n}.hayabin.example" for n, ip in enumerate(ips)),
            smtp_port=str(self.sink["port"]),
            dns_servers=f"127.0.0.1:{self.dns_port}",
            allow_private_mx="true",
            mta_sts="false",
            policy_dir=str(self._policies),
            **variables,
        )

    def kill(self, service: Service) -> None:
        """Kill a process of ours at once."""
        service.process.send_signal(signal.SIGKILL)
        service.process.wait()
        self.system.services.remove(service)

    def groups(self) -> dict[str, list[int]]:
        """Give the processes of each part by name, with everything below them."""
        services = {s.name: descendants([s.process.pid]) for s in self.system.services}
        return {
            **services,
            "postgres": descendants(self.servers.postgres.process_ids()),
            "rabbitmq": descendants(self.servers.rabbitmq.process_ids()),
            "sink": [int(self.sink["pid"])],
        }


def many_domains(*, latency_s: float = FAR_S) -> Scenery:
    """Give ``DOMAINS`` domains whose mail ``HOSTS`` MX hosts take."""
    zone: Zone = {f"d{n}.example": {"MX": f"10 mx{n % HOSTS}.sink.example."} for n in range(DOMAINS)}
    zone |= {f"mx{n}.sink.example": {"A": f"127.0.1.{n + 1}"} for n in range(HOSTS)}
    listeners = [{"name": f"mx{n}", "address": f"127.0.1.{n + 1}", "latency_s": latency_s} for n in range(HOSTS)]
    return Scenery(zone, listeners)


def one_domain(name: str = "gmail.com", *, latency_s: float = FAR_S, address: str = "127.0.1.20") -> Scenery:
    """Give one domain with one MX host."""
    host = f"mx-{name.partition('.')[0]}"
    zone: Zone = {name: {"MX": f"10 {host}.sink.example."}, f"{host}.sink.example": {"A": address}}
    return Scenery(zone, [{"name": host, "address": address, "latency_s": latency_s}])


def people(count: int, *, prefix: str = "user", domains: Sequence[str] = ()) -> list[str]:
    """Give addresses, one domain after the other."""
    names = list(domains) or [f"d{n}.example" for n in range(DOMAINS)]
    return [f"{prefix}{n}@{names[n % len(names)]}" for n in range(count)]


@contextmanager
def stage(servers: Servers, scenery: Scenery) -> Iterator[Stage]:
    """Make a stage for the length of a ``with`` block."""
    folder = servers.folder / secrets.token_hex(4)
    folder.mkdir()
    sink = {name: getattr(scenery, name) for name in ("listeners", "dead", "watched", "every_recipient")}
    zone = {"address": "127.0.0.1", "zone": scenery.zone}
    with (
        _database(servers.postgres.url) as url,
        helper_process("tests.support.dns_zone", zone, folder) as dns,
        helper_process("benchmarks.engine_parts.sink", sink, folder) as ready,
        running_system(folder, url, servers.rabbitmq.url) as system,
    ):
        place = Stage(servers, url, system, ready, int(str(dns["port"])), folder)
        try:
            yield place
        except BaseException:
            for service in system.services:
                say(f"--- {service.name}\n{service.tail()}")
            raise
        finally:
            for service in list(system.services):  # nothing here is worth a graceful end of a minute
                with suppress(ProcessLookupError):
                    place.kill(service)


@contextmanager
def _database(server_url: str) -> Iterator[str]:
    """Make a database with the schema in it, and drop it afterwards."""
    name = f"bench_{secrets.token_hex(6)}"
    asyncio.run(_execute(server_url, f'CREATE DATABASE "{name}" TEMPLATE template0'))
    url = urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
    try:
        upgrade(url)
        yield url
    finally:
        asyncio.run(_execute(server_url, f'DROP DATABASE "{name}" WITH (FORCE)'))


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()


def say(text: str) -> None:
    """Tell how it goes."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
