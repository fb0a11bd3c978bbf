"""Counting segments: a million contacts with five attributes, ten million events, p95 of the common rules.

One command: ``python -m benchmarks.segments [--short] [--contacts N] [--events N] [--out FILE]``; progress on stderr. A
private PostgreSQL (its settings are the server's defaults but for ``shared_buffers`` of 1 GB; a session is that of the
API) is filled, then each rule is counted ``ROUNDS`` times in turns, by the API's own route function in a transaction
like that of a request: HTTP, authentication and JSON are left out. Kept for each rule: the number found, p50, p95, the
longest, how long the same count takes within the tenants' role (row-level security), and the plan with times
(``EXPLAIN (ANALYZE, BUFFERS)``). Last, what an index costs whoever writes: the one that there is on recipients, and one
that there is not, on attributes.
"""

import asyncio
import contextlib
import time
from typing import Any

from benchmarks.engine_parts.exactness import percentile
from benchmarks.engine_parts.stage import say
from benchmarks.report import begin, parser
from benchmarks.segments_parts.other_ways import prices
from benchmarks.segments_parts.population import Population, populate
from benchmarks.segments_parts.questions import Tree, common, dearer
from hayabin.database import segments
from hayabin.database.engine import Connection, open_pool
from hayabin.database.migrate import upgrade
from hayabin.database.segment_count import count_sql, takes_hashes
from hayabin.database.tenancy import enter
from hayabin.domain.segment import Loaded
from hayabin.domain.segment_rules import parse
from services.api.access import Principal, Scope
from services.api.routes.segments import counted
from tests.support.postgres import private_postgres

GOAL_MS = 500.0
ROUNDS = 20
_WITHIN_ROUNDS = 3


async def measure(
    connection: Connection, population: Population, rules: dict[str, Tree], rounds: int
) -> dict[str, Any]:
    """Count each rule again and again, in turns."""
    who = Principal(population.tenant_id, 0, frozenset(Scope))
    ids = {name: await _saved(connection, population, name, tree) for name, tree in rules.items()}
    times: dict[str, list[float]] = {name: [] for name in rules}
    found: dict[str, int] = {}
    for number in range(rounds + 1):
        for name, segment_id in ids.items():
            began_s = time.perf_counter()
            with contextlib.suppress(segments.TooSlow):  # then its time is the limit, and nobody is found
                async with connection.transaction(readonly=True):
                    await enter(connection, population.tenant_id)
                    found[name] = (await counted(connection, who, segment_id))["count"]
            if number:  # the first warms up
                times[name].append((time.perf_counter() - began_s) * 1000)
    measured = {}
    for name, tree in rules.items():
        measured[name] = {
            "rules": tree,
            "people": found.get(name),
            "p50_ms": round(percentile(times[name], 50), 1),
            "p95_ms": round(percentile(times[name], 95), 1),
            "longest_ms": round(max(times[name]), 1),
            **await _looked_at(connection, population, tree),
        }
        one = measured[name]
        say(f"{name}: {one['people']}, p95 {one['p95_ms']} ms, within the role {one['within_role_ms']} ms")
    return measured


async def _saved(connection: Connection, population: Population, name: str, tree: Tree) -> int:
    segment_id: int = await connection.fetchval(
        "INSERT INTO segments (tenant_id, name, rules) VALUES ($1, $2, $3) RETURNING id",
        population.tenant_id,
        name,
        tree,
    )
    return segment_id


async def _looked_at(connection: Connection, population: Population, tree: Tree) -> dict[str, Any]:
    """The plan as it is counted, and the time of the same statement within the tenants' role."""
    loaded = Loaded(parse(tree, {}), {})
    sql, parameters = count_sql(loaded, population.tenant_id, await segments.moment(connection, population.tenant_id))
    hashes = takes_hashes(loaded)
    async with connection.transaction(readonly=True):
        rows = await segments.bounded(connection, f"EXPLAIN (ANALYZE, BUFFERS) {sql}", parameters, 60.0, hashes=hashes)
    times = []
    for _ in range(_WITHIN_ROUNDS):
        async with connection.transaction(readonly=True):
            await enter(connection, population.tenant_id)
            began_s = time.perf_counter()
            await segments.bounded(connection, sql, parameters, 60.0, hashes=hashes)
            times.append((time.perf_counter() - began_s) * 1000)
    return {"within_role_ms": round(percentile(times, 50), 1), "plan": [row[0] for row in rows]}


async def run(url: str, contacts: int, events: int, rounds: int) -> dict[str, Any]:
    """Fill and measure."""
    pool = await open_pool(url, name="bench", size=1)
    population = await populate(pool, contacts, events)
    async with pool.acquire() as connection:
        await connection.execute("INSERT INTO installation DEFAULT VALUES ON CONFLICT DO NOTHING")
        found = {
            "sizes": population.sizes,
            "rounds": rounds,
            "common": await measure(connection, population, common(population), rounds),
            "dearer": await measure(connection, population, dearer(population), rounds),
            "indexes": await prices(connection, min(contacts // 10, 100_000)),
        }
    await pool.close()
    return found


def main() -> None:
    """Measure, print, write."""
    options = parser("segments", __doc__)
    options.add_argument("--contacts", type=int, help="of the tenant that counts (1,000,000; short: 5,000)")
    options.add_argument("--events", type=int, help="opens and clicks (10,000,000; short: 50,000)")
    arguments = options.parse_args()
    report = begin("segments", arguments)
    contacts = arguments.contacts or (5_000 if arguments.short else 1_000_000)
    events = arguments.events or (50_000 if arguments.short else 10_000_000)
    with private_postgres(fsync=True, settings={"shared_buffers": "1GB"}) as postgres:
        upgrade(postgres.url)
        found = asyncio.run(run(postgres.url, contacts, events, 3 if arguments.short else ROUNDS))
    for name, rule in found["common"].items():
        measured = f"p95 {rule['p95_ms']:.0f} ms (p50 {rule['p50_ms']:.0f}), {rule['people']} people"
        report.goal("segments", name, measured, f"p95 <= {GOAL_MS:.0f} ms", met=rule["p95_ms"] <= GOAL_MS)
    report.write(found)


if __name__ == "__main__":
    main()
