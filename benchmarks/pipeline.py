"""The whole way of a message at speed: launch → last mail in Debian's ``smtp-sink``.

One command: ``python -m benchmarks.pipeline [--emails 50000]``; prints and writes ``benchmarks/out/pipeline.json``.
PostgreSQL (fsync on) and RabbitMQ (quorum queues, publisher confirms) are private ones; two renderers, one dispatcher,
one scheduler; every mail is a 20 KB personalised newsletter with 12 tracked links and an RSA-2048 DKIM signature (and
the Ed25519 one beside it with ``--double``). Everything runs on the same machine.
Units: seconds; microseconds of CPU (user + system) an email.
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from benchmarks.newsletter import ATTRIBUTES, newsletter
from benchmarks.processes import cpu_of_group, descendants
from hayabin.database.engine import open_pool
from hayabin.database.launch import launch
from hayabin.database.migrate import upgrade
from hayabin.database.sealing import seal
from hayabin.settings import TokenSettings, secret_bytes
from services.api.dkim_keys import new_key
from tests.support.postgres import private_postgres
from tests.support.rabbitmq import private_rabbitmq
from tests.support.seed import seed_campaign
from tests.support.system import System, helper_process, running_system

OUT = Path(__file__).parent / "out" / "pipeline.json"
DOMAINS = 200
SINK_PATH = "/usr/sbin:/usr/bin"


@dataclass(frozen=True, slots=True)
class Options:
    """What is measured."""

    emails: int
    renderers: int
    connections: int
    double: bool
    pid_file: Path | None


@contextlib.contextmanager
def smtp_sink() -> Iterator[tuple[int, int]]:
    """Debian's smtp-sink on a free port; yields port and pid."""
    binary = shutil.which("smtp-sink", path=SINK_PATH)
    if binary is None:
        raise SystemExit("smtp-sink is missing: `make bench` installs Debian's postfix, which has it")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    process = subprocess.Popen([binary, *user, f"127.0.0.1:{port}", "1024"])
    try:
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


async def seed(url: str, master_key: bytes, options: Options) -> tuple[int, int]:
    """A campaign to ``options.emails`` contacts; returns campaign and tenant."""
    connection = await asyncpg.connect(url)
    addresses = [f"user{n}@d{n % DOMAINS}.example" for n in range(options.emails)]
    seeded = await seed_campaign(connection, addresses, slug="bench", compiled=newsletter().to_json())
    await connection.execute("UPDATE contacts SET attributes = $1::jsonb", json.dumps(ATTRIBUTES))
    for algorithm in ("rsa-sha256", "ed25519-sha256") if options.double else ("rsa-sha256",):
        selector = algorithm[:3]
        key = new_key(algorithm)
        sealed = seal(master_key, seeded.tenant_id, f"dkim:bench.example:{selector}", key.private_der)
        await connection.execute(
            "INSERT INTO dkim_keys (domain_id, selector, algorithm, public_key, private_key) VALUES ($1,$2,$3,$4,$5)",
            seeded.domain_id,
            selector,
            algorithm,
            key.public,
            sealed,
        )
    await connection.execute("ANALYZE")
    await connection.close()
    return seeded.campaign_id, seeded.tenant_id


async def send(url: str, campaign_id: int, tenant_id: int) -> dict[str, float]:
    """Launch and wait until the last mail is accepted; progress on stderr."""
    pool = await open_pool(url, name="bench", size=1)
    connection = await pool.acquire()
    started = time.monotonic()
    async with connection.transaction():
        result = await launch(connection, campaign_id, tenant_id=tenant_id)
    launched = time.monotonic()
    first = 0.0
    while True:
        rows = await connection.fetch(
            "SELECT name, sum(n)::bigint AS n FROM (SELECT name, n FROM counters WHERE campaign_id = $1 UNION ALL "
            "SELECT name, n FROM counter_deltas WHERE campaign_id = $1) c GROUP BY name",
            campaign_id,
        )
        counts = {row["name"]: row["n"] for row in rows}
        accepted = counts.get("accepted", 0)
        if accepted and not first:
            first = time.monotonic()
        elapsed = time.monotonic() - started
        sys.stderr.write(f"\r{accepted:>8} of {result.audience} accepted, {accepted / elapsed:6.0f}/s ")
        if accepted >= result.audience:
            break
        if elapsed > 60 + result.audience / 100:
            raise SystemExit(f"\nnot finished after {elapsed:.0f} s: {counts}")
        await asyncio.sleep(0.25)
    sys.stderr.write("\n")
    pool.terminate()
    return {
        "seconds": time.monotonic() - started,
        "launch_s": launched - started,
        "first_accepted_s": first - started,
    }


def measure(options: Options) -> dict[str, object]:
    """One run."""
    with (
        tempfile.TemporaryDirectory(prefix="hayabin-bench-") as temporary,
        private_postgres(fsync=True) as postgres,
        private_rabbitmq() as rabbitmq,
        smtp_sink() as (sink_port, sink_pid),
    ):
        folder = Path(temporary)
        upgrade(postgres.url)
        policies = folder / "policies"
        policies.mkdir()
        (policies / "default.toml").write_text(
            f"connections = {options.connections}\nconnections_start = {options.connections}\n"
            "messages_per_connection = 100000\ntls = 'none'\n"
        )
        zone = {"*.example": {"MX": "10 mx.sink.example."}, "mx.sink.example": {"A": "127.0.0.1"}}
        with (
            helper_process("tests.support.dns_zone", {"address": "127.0.0.1", "zone": zone}, folder) as dns,
            running_system(folder, postgres.url, rabbitmq.url) as system,
        ):
            master_key = secret_bytes(TokenSettings(token_secret=system.environment["HAYABIN_MASTER_KEY"]).token_secret)
            campaign_id, tenant_id = asyncio.run(seed(postgres.url, master_key, options))
            start_services(system, options, sink_port, int(str(dns["port"])), policies)
            groups = {
                "postgres": lambda: descendants(postgres.process_ids()),
                "rabbitmq": lambda: descendants(rabbitmq.process_ids()),
                "sink": lambda: [sink_pid],
                **{s.name: (lambda s=s: descendants([s.process.pid])) for s in system.services},
            }
            if options.pid_file:
                options.pid_file.write_text(json.dumps({s.name: s.process.pid for s in system.services}))
            before = {name: cpu_of_group(pids()) for name, pids in groups.items()}
            times = asyncio.run(send(postgres.url, campaign_id, tenant_id))
            after = {name: cpu_of_group(pids()) for name, pids in groups.items()}
            rss = {s.name: s.rss_bytes() for s in system.services}
    cpu = {name: round((after[name] - before[name]) * 1e6 / options.emails, 1) for name in groups}
    return {
        "emails": options.emails,
        "seconds": round(times["seconds"], 2),
        "emails_per_s": round(options.emails / times["seconds"], 1),
        "launch_s": round(times["launch_s"], 2),
        "first_accepted_s": round(times["first_accepted_s"], 2),
        "sink": "smtp-sink",
        "broker": "rabbitmq quorum queues, publisher confirms",
        "postgres": "fsync on, synchronous_commit on",
        "dkim": "rsa-2048 + ed25519" if options.double else "rsa-2048",
        "renderers": options.renderers,
        "dispatchers": 1,
        "connections": options.connections,
        "cpu_us_per_email": cpu,
        "cpu_us_per_email_total": round(sum(cpu.values()), 1),
        "rss_bytes": rss,
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "kernel": platform.release()},
    }


def start_services(system: System, options: Options, sink_port: int, dns_port: int, policies: Path) -> None:
    """One scheduler, the renderers, one dispatcher."""
    services = [
        system.launch(
            "dispatcher",
            pool="main",
            source_ips="127.0.0.2=out1.hayabin.example",
            smtp_port=str(sink_port),
            dns_servers=f"127.0.0.1:{dns_port}",
            allow_private_mx="true",
            policy_dir=str(policies),
        ),
        system.launch("scheduler"),
        *(system.launch("renderer", name=f"renderer-{n}") for n in range(options.renderers)),
    ]
    for service in services:
        system.wait_ready(service)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--emails", type=int, default=50_000)
    parser.add_argument("--renderers", type=int, default=2)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--double", action="store_true", help="sign with Ed25519 beside RSA")
    parser.add_argument("--pid-file", type=Path, help="write the pids of the services there (for profilers)")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    result = measure(
        Options(arguments.emails, arguments.renderers, arguments.connections, arguments.double, arguments.pid_file)
    )
    arguments.out.parent.mkdir(exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
