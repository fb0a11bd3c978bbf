"""Our system as it is measured: private PostgreSQL and RabbitMQ, one scheduler, the renderers, one dispatcher.

Promises: the processes and settings are those of production (fsync on, synchronous commit, quorum queues, publisher
confirms) but for the number of connections to the sink. ``send`` measures from the launch to the moment when the sink's
own counter has risen by the audience; and it counts the CPU until the ledger has every mail as accepted.
Fails: ``SystemExit`` where a mail is lost, or comes twice; ``ServiceFailed`` where a process does not become ready.
Units: seconds; microseconds of CPU (user + system) an email; bytes.
"""

import asyncio
import os
import signal
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.pipeline_parts.audience import Draft, seed
from benchmarks.pipeline_parts.counting_sink import CountingSink
from benchmarks.pipeline_parts.signing_key import SigningKey
from benchmarks.processes import cpu_of_group, descendants, most_memory_bytes
from hayabin.database.engine import Connection, open_pool
from hayabin.database.launch import launch
from hayabin.database.migrate import upgrade
from hayabin.settings import TokenSettings, secret_bytes
from tests.support.postgres import PostgresInstance, private_postgres
from tests.support.rabbitmq import RabbitInstance, private_rabbitmq
from tests.support.system import System, helper_process, running_system

_POLL_S = 0.02
_LEDGER_POLL_S = 0.1
_SLOWEST_PER_S = 50
_COUNTED = """SELECT name, sum(n)::bigint AS n FROM (
    SELECT name, n FROM counters WHERE campaign_id = $1
    UNION ALL SELECT name, n FROM counter_deltas WHERE campaign_id = $1) c GROUP BY name"""


@dataclass(frozen=True, slots=True)
class Shape:
    """How many of what."""

    renderers: int
    connections: int


@dataclass(slots=True)
class Ours:
    """The running system."""

    postgres: PostgresInstance
    rabbitmq: RabbitInstance
    system: System
    shape: Shape

    def processes(self) -> dict[str, list[int]]:
        """Give the processes of each part by name."""
        services = {s.name: descendants([s.process.pid]) for s in self.system.services}
        servers = {"postgres": self.postgres.process_ids(), "rabbitmq": self.rabbitmq.process_ids()}
        return services | {name: descendants(pids) for name, pids in servers.items()}

    def seed(self, slug: str, emails: int, keys: tuple[SigningKey, ...]) -> Draft:
        """Make a draft campaign to ``emails`` contacts, signed with ``keys``."""
        secret = TokenSettings(token_secret=self.system.environment["HAYABIN_MASTER_KEY"]).token_secret
        return asyncio.run(seed(self.postgres.url, secret_bytes(secret), Draft(slug, emails, keys)))

    def send(self, draft: Draft, sink: CountingSink) -> dict[str, Any]:
        """Launch a copy of a draft and measure."""
        before, fed_before = self._cpu_s(sink), self._fed_again()
        times = asyncio.run(_send(self.postgres.url, draft, sink))
        after = self._cpu_s(sink)
        cpu_us = {name: round((after[name] - before[name]) * 1e6 / draft.emails, 1) for name in after}
        total = sum(cpu_us.values())
        return {
            "mails": draft.emails,
            "dkim": " + ".join(key.key.algorithm for key in draft.keys),
            **{name: round(value, 3) for name, value in times.items()},
            "fed_again": self._fed_again() - fed_before,
            "emails_per_s": round(draft.emails / times["seconds"], 1),
            "cpu_us_per_email": cpu_us,
            "cpu_us_per_email_total": round(total, 1),
            "cpu_us_per_email_without_sink": round(total - cpu_us["sink"], 1),
        }

    def memory(self) -> dict[str, Any]:
        """Give each service's and the broker's memory now, and the most it ever was."""
        broker = max(self.processes()["rabbitmq"], key=most_memory_bytes)
        pids = {s.name: s.process.pid for s in self.system.services} | {"rabbitmq": broker}
        return {
            "rss_bytes": {s.name: s.rss_bytes() for s in self.system.services},
            "most_rss_bytes": {name: most_memory_bytes(pid) for name, pid in pids.items()},
        }

    def settle(self) -> None:
        """Let the database write down what it owes to its files: what comes next finds a quiet disk."""
        asyncio.run(_execute(self.postgres.url, "CHECKPOINT"))

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Stop our services for a peer's turn: idle ones look whether there is work some times a second."""
        pids = [service.process.pid for service in self.system.services]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def _fed_again(self) -> int:
        """Count the mails that went on the belt another time."""
        port = next(service.admin_port for service in self.system.services if service.name == "scheduler")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            families = text_string_to_metric_families(answer.read().decode())
        again = (
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == "hayabin_fed_messages_total" and sample.labels["why"] == "retry"
        )
        return int(sum(again))

    def _cpu_s(self, sink: CountingSink) -> Mapping[str, float]:
        return {name: cpu_of_group(pids) for name, pids in {**self.processes(), "sink": [sink.pid]}.items()}


@contextmanager
def running_ours(folder: Path, shape: Shape, sink_port: int) -> Iterator[Ours]:
    """Run everything; the dispatcher finds the sink under the MX of every domain of the audience."""
    policies = folder / "policies"
    policies.mkdir()
    (policies / "default.toml").write_text(
        f"connections = {shape.connections}\nconnections_start = {shape.connections}\n"
        "messages_per_connection = 100000\nrecipients_per_session = 100000\nconnection_spacing_s = 0\ntls = 'none'\n"
    )
    zone = {"*.example": {"MX": "10 mx.sink.example."}, "mx.sink.example": {"A": "127.0.0.1"}}
    with (
        private_postgres(fsync=True) as postgres,
        private_rabbitmq() as rabbitmq,
        helper_process("tests.support.dns_zone", {"address": "127.0.0.1", "zone": zone}, folder) as dns,
        running_system(folder, postgres.url, rabbitmq.url) as system,
    ):
        upgrade(postgres.url)
        started = [
            system.launch(
                "dispatcher",
                pool="main",
                source_ips="127.0.0.2=out1.hayabin.example",
                smtp_port=str(sink_port),
                dns_servers=f"127.0.0.1:{dns['port']}",
                allow_private_mx="true",
                policy_dir=str(policies),
            ),
            system.launch("scheduler"),
            *(system.launch("renderer", name=f"renderer-{n}") for n in range(shape.renderers)),
        ]
        for service in started:
            system.wait_ready(service)
        yield Ours(postgres, rabbitmq, system, shape)


async def _send(url: str, draft: Draft, sink: CountingSink) -> dict[str, float]:
    pool = await open_pool(url, name="bench", size=1)
    async with pool.acquire() as connection:
        campaign_id = await draft.copy(connection)
        base = sink.mails()
        started_s = time.monotonic()
        async with connection.transaction():
            await launch(connection, campaign_id, tenant_id=draft.tenant_id)
        launched_s = time.monotonic()
        give_up_s = started_s + 60 + draft.emails / _SLOWEST_PER_S
        first_s = 0.0
        while (arrived := sink.mails() - base) < draft.emails:
            now_s = time.monotonic()
            if arrived and not first_s:
                first_s = now_s
            if now_s > give_up_s:
                raise SystemExit(f"{arrived} of {draft.emails} mails arrived: {await _counts(connection, campaign_id)}")
            await asyncio.sleep(_POLL_S)
        last_s = time.monotonic()
        while (counts := await _counts(connection, campaign_id)).get("accepted", 0) < draft.emails:
            if time.monotonic() > give_up_s:
                raise SystemExit(f"the ledger does not have all as accepted: {counts}")
            await asyncio.sleep(_LEDGER_POLL_S)
        known_s = time.monotonic()
        audience = await connection.fetchval("SELECT audience FROM campaigns WHERE id = $1", campaign_id)
        if (arrived := sink.mails() - base) != draft.emails or audience != draft.emails:
            raise SystemExit(f"{arrived} mails arrived of {draft.emails}, to an audience of {audience}")
    await pool.close()
    return {
        "seconds": last_s - started_s,
        "launch_s": launched_s - started_s,
        "first_at_sink_s": (first_s or last_s) - started_s,
        "all_in_ledger_s": known_s - started_s,
    }


async def _counts(connection: Connection, campaign_id: int) -> dict[str, int]:
    return {row["name"]: row["n"] for row in await connection.fetch(_COUNTED, campaign_id)}


async def _execute(url: str, statement: str) -> None:
    pool = await open_pool(url, name="bench", size=1)
    await pool.execute(statement)
    await pool.close()
