"""A CSV of a million rows over REST, beside what PostgreSQL alone needs for it, in one run.

One command: ``python -m benchmarks.csv_import [--short] [--profile] [--out FILE]``; progress on stderr. Ours are the
processes of production, ``serve`` and ``scheduler``: the file is uploaded as a stream and its job followed to the end.
Two attributes are defined, so they are read by their types; everybody comes onto a list, with evidence of consent.
The peer is a raw COPY and one merge of the same file into the same tables (see ``csv_import_parts/raw_copy.py``). They
take turns, each into emptied tables, after a checkpoint; what they wrote is compared row by row, by digests. PostgreSQL
has fsync on. ``--profile`` runs ours once under py-spy, for where the time goes, and measures nothing else.
Units: seconds; microseconds of CPU (user + system) a row; bytes.
Fails: SystemExit where the two have not written the same contacts.
"""

import asyncio
import contextlib
import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.csv_import_parts.over_rest import Import, import_over_rest
from benchmarks.csv_import_parts.people_csv import DEFINITIONS, PeopleFile, write_people
from benchmarks.csv_import_parts.profile import own_time, profiled
from benchmarks.csv_import_parts.raw_copy import RawCopy, raw_copy
from benchmarks.engine_parts.stage import say
from benchmarks.processes import cpu_of_group, descendants, most_memory_bytes
from benchmarks.report import Report, begin, parser
from hayabin.database.migrate import upgrade
from services.api.access import Scope, new_key
from tests.support.instances import free_port
from tests.support.postgres import PostgresInstance, private_postgres
from tests.support.rabbitmq import private_rabbitmq
from tests.support.system import Service, running_system

GOAL = 1.5
RSS_GOAL_MIB = 300
CONSENTED_AT = datetime(2026, 5, 1, tzinfo=UTC)
_EMPTY_SQL = "TRUNCATE contacts, import_jobs, import_chunks, subscription_changes, consents RESTART IDENTITY CASCADE"
_DIGEST_SQL = """
SELECT count(*) AS contacts, COALESCE(sum(hashtextextended(
    address || wire || address_key || name || locale || attributes::text || flags::text, 0)::numeric), 0)::text
    AS digest,
    (SELECT COALESCE(sum(hashtextextended(c.address_key || m.state || m.consent, 0)::numeric), 0)::text
     FROM list_members m JOIN contacts c ON c.id = m.contact_id) AS members,
    (SELECT COALESCE(sum(hashtextextended(k.address_key || k.action || k.basis || k.note || k.occurred_at::text, 0)
     ::numeric), 0)::text FROM consents k) AS evidence,
    (SELECT count(*) FROM subscription_changes) AS changes
FROM contacts"""


@dataclass(frozen=True, slots=True)
class Place:
    """The running processes, and whose contacts are written."""

    postgres: PostgresInstance
    services: Mapping[str, Service]
    base_url: str
    tenant_id: int
    list_id: int
    key: str
    people: PeopleFile
    timeout_s: float

    def cpu_s(self) -> dict[str, float]:
        """CPU of each process so far; asked only between measures, when PostgreSQL's sessions of ours are alive."""
        found = {name: cpu_of_group([service.process.pid]) for name, service in self.services.items()}
        return {**found, "postgres": cpu_of_group(descendants(self.postgres.process_ids()))}

    def us_a_row(self, before: Mapping[str, float]) -> dict[str, float]:
        """Microseconds of CPU a row since ``before``."""
        return {name: round((used - before[name]) / self.people.rows * 1e6, 2) for name, used in self.cpu_s().items()}


async def emptied(url: str) -> None:
    """Empty what the one before wrote, so that nobody pays for another's dirty pages."""
    connection = await asyncpg.connect(url)
    await connection.execute("SET session_replication_role = replica")  # two of the tables are append-only by a trigger
    for tries_left in reversed(range(20)):
        try:
            await connection.execute(_EMPTY_SQL)
            break
        except asyncpg.DeadlockDetectedError:  # the scheduler looks at these tables, in an order of its own
            if not tries_left:
                raise
    await connection.execute("CHECKPOINT")
    await connection.close()


async def digest(url: str) -> dict[str, Any]:
    """What ``contacts`` has, whatever its order."""
    connection = await asyncpg.connect(url)
    await connection.execute("ANALYZE contacts, list_members, consents")  # or a million is compared with a million
    found = dict(await connection.fetchrow(_DIGEST_SQL) or {})
    await connection.close()
    return found


async def one_import(place: Place) -> tuple[Import, dict[str, float]]:
    """Ours, once; with CPU a row."""
    await emptied(place.postgres.url)
    before = place.cpu_s()
    query: dict[str, str | int] = {
        "list_id": place.list_id, "consent_basis": "written", "consent_source": "bench",
        "consented_at": CONSENTED_AT.isoformat(),
    }  # fmt: skip
    found = await import_over_rest(place.base_url, place.key, place.people, query, timeout_s=place.timeout_s)
    return found, place.us_a_row(before)


async def one_raw_copy(place: Place) -> tuple[RawCopy, dict[str, float]]:
    """The peer, once; with CPU a row."""
    await emptied(place.postgres.url)
    before = place.cpu_s()
    found = await raw_copy(place.postgres.url, place.tenant_id, place.list_id, CONSENTED_AT, place.people)
    return found, place.us_a_row(before)


async def rounds(place: Place, count: int) -> dict[str, Any]:
    """Let them take turns."""
    peers: list[dict[str, Any]] = []
    ours: list[dict[str, Any]] = []
    for number in range(count):
        raw, raw_cpu = await one_raw_copy(place)
        wanted = await digest(place.postgres.url)
        peers.append({**asdict(raw), "total_s": raw.total_s, "cpu_us_a_row": raw_cpu})
        say(f"round {number + 1}: raw {raw.total_s:.2f} s (COPY {raw.copy_s:.2f})")
        imported, cpu = await one_import(place)
        found = await digest(place.postgres.url)
        if found != wanted:
            raise SystemExit(f"the import wrote {found}, raw COPY and merge {wanted}")
        ours.append({"total_s": imported.total_s, "upload_s": imported.upload_s, "cpu_us_a_row": cpu})
        say(f"round {number + 1}: ours {imported.total_s:.2f} s (upload {imported.upload_s:.2f}), {cpu} us a row")
    raw_s = statistics.median(peer["total_s"] for peer in peers)
    ours_s = statistics.median(run["total_s"] for run in ours)
    return {
        "raw_s": round(raw_s, 3),
        "ours_s": round(ours_s, 3),
        "ratio": round(ours_s / raw_s, 3),
        "ratio_of_each_round": [round(o["total_s"] / p["total_s"], 3) for o, p in zip(ours, peers, strict=True)],
        "rows_per_s": round(place.people.rows / ours_s),
        "rounds": {"raw": peers, "ours": ours},
        "most_memory_bytes": {name: most_memory_bytes(service.process.pid) for name, service in place.services.items()},
        "contacts": wanted["contacts"],
    }


async def profile(place: Place, folder: Path) -> dict[str, Any]:
    """Ours, once, under py-spy."""
    files = {name: folder / f"import-{name}.raw.txt" for name in place.services}
    with contextlib.ExitStack() as spies:
        for name, service in place.services.items():
            spies.enter_context(profiled(service.process.pid, files[name]))
        imported, cpu = await one_import(place)
    where = {name: {"own_time": own_time(file.read_text()), "stacks": file.name} for name, file in files.items()}
    return {"profiled": where, "upload_s": imported.upload_s, "total_s": imported.total_s, "cpu_us_a_row": cpu}


async def seed(url: str) -> tuple[int, int, str]:
    """A tenant with a list and defined attributes, and a key of it."""
    connection = await asyncpg.connect(url)
    tenant_id = await connection.fetchval("INSERT INTO tenants (slug, name) VALUES ('bench', 'Bench') RETURNING id")
    key = new_key()
    await connection.execute(
        "INSERT INTO api_keys (tenant_id, name, prefix, secret_hash, scopes) VALUES ($1, '', $2, $3, $4)",
        tenant_id,
        key.prefix,
        key.secret_hash,
        [scope.value for scope in Scope],
    )
    list_id = await connection.fetchval(
        "INSERT INTO lists (tenant_id, name) VALUES ($1, 'bench') RETURNING id", tenant_id
    )
    for name, kind in DEFINITIONS.items():
        await connection.execute(
            "INSERT INTO attribute_definitions (tenant_id, name, type, max_chars, max_items) "
            "VALUES ($1, $2, $3, 100, 1)",
            tenant_id,
            name,
            kind,
        )
    await connection.close()
    return tenant_id, list_id, key.shown


def run(rows: int, count: int, report: Report, *, only_profile: bool) -> dict[str, Any]:
    """Start everything, and measure."""
    with (
        tempfile.TemporaryDirectory(prefix="hayabin-bench-") as temporary,
        private_postgres(fsync=True) as postgres,
        private_rabbitmq() as rabbitmq,
    ):
        folder = Path(temporary)
        people = write_people(folder / "people.csv", rows)
        upgrade(postgres.url)
        tenant_id, list_id, key = asyncio.run(seed(postgres.url))
        port = free_port()
        with running_system(folder, postgres.url, rabbitmq.url) as system:
            services = {
                "serve": system.launch("api", http_host="127.0.0.1", http_port=str(port)),
                "scheduler": system.launch("scheduler"),
            }
            for service in services.values():
                system.wait_ready(service)
            base_url = f"http://127.0.0.1:{port}"
            place = Place(postgres, services, base_url, tenant_id, list_id, key, people, timeout_s=60 + rows / 5000)
            if only_profile:
                report.out.parent.mkdir(parents=True, exist_ok=True)
                found = asyncio.run(profile(place, report.out.parent))
            else:
                found = asyncio.run(rounds(place, count))
            return {"rows": people.rows, "addresses": people.addresses, "size_bytes": people.size_bytes, **found}


def main() -> None:
    """Measure, print, write."""
    options = parser("csv_import", __doc__)
    options.add_argument("--rows", type=int, help="rows of the file (1,000,000; short: 5,000)")
    options.add_argument(
        "--profile", action="store_true", help="only say where the time goes (csv_import-profile.json)"
    )
    arguments = options.parse_args()
    report = begin("csv_import", arguments)
    if arguments.profile and arguments.out is None:
        report.out = report.out.with_stem("csv_import-profile")
    rows = arguments.rows or (5_000 if arguments.short else 1_000_000)
    found = run(rows, 1 if arguments.short else 3, report, only_profile=arguments.profile)
    if not arguments.profile:
        ratio = found["ratio"]
        report.goal("import", "time", f"{ratio:.2f} x raw COPY and merge", f"<= {GOAL} x", met=ratio <= GOAL)
        for name, size in found["most_memory_bytes"].items():
            mib = size / 2**20
            report.goal(
                "import", f"memory of {name}", f"{mib:.0f} MiB", f"<= {RSS_GOAL_MIB} MiB", met=mib <= RSS_GOAL_MIB
            )
    report.write(found)


if __name__ == "__main__":
    main()
