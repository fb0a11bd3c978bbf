"""Fairness in the whole system: transactional mail, and a small campaign, beside one of 100,000.

Everything runs: REST API, scheduler, two renderers, one dispatcher; each mail is the 20 KB newsletter with an RSA-2048
signature; receivers are 40 domains on 8 hosts, 150 ms a reply, and the same for all mail.

Transactional: test sends by ``POST /v1/campaigns/{id}/test``, one by one at random moments; measured from the answer
that accepts one to its first MAIL at the sink. Small beside large: from the launch of a campaign of 1,000 until the
ledger has all of it as accepted, alone and launched while the large one runs; medians.
Units: milliseconds for transactional mail, seconds for campaigns.
"""

import asyncio
import json
import random
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
import httpx

from benchmarks.engine_parts.exactness import percentile
from benchmarks.engine_parts.sink_watch import SinkWatch
from benchmarks.engine_parts.stage import HOSTS, Servers, Stage, many_domains, people, say, stage
from benchmarks.newsletter import ATTRIBUTES, newsletter
from benchmarks.report import Goal
from hayabin.database.engine import Pool, open_pool
from hayabin.database.launch import launch
from hayabin.database.sealing import seal
from hayabin.settings import TokenSettings, secret_bytes
from services.api.access import Scope, new_key
from services.api.dkim_keys import new_key as new_dkim_key
from tests.support.instances import free_port
from tests.support.seed import Seeded, seed_campaign
from tests.support.waiting import eventually

TRANSACTIONAL_GOAL_MS = 1000
SMALL_GOAL = 2.0
SMALL = 1_000
WATCHED = "tx-"
_TIMEOUT_S = 120.0
_MEAN_PAUSE_S = 0.15


@dataclass(slots=True)
class World:
    """The running system."""

    place: Stage
    pool: Pool
    watch: SinkWatch
    client: httpx.AsyncClient
    tests: Seeded  # the campaign whose test mails are sent, of the tenant that the client acts for

    async def seed(self, addresses: list[str], slug: str) -> Seeded:
        """Make a draft campaign with a signing key."""
        return await _seed(self.place, addresses, slug)

    async def launch(self, seeded: Seeded) -> float:
        """Launch; returns when that was committed."""
        async with self.pool.acquire() as connection, connection.transaction():
            await launch(connection, seeded.campaign_id, tenant_id=seeded.tenant_id)
        return time.monotonic()

    async def accepted(self, seeded: Seeded) -> int:
        """Count what the ledger has as accepted."""
        return int(
            await self.pool.fetchval(
                "SELECT count(*) FROM messages WHERE campaign_id = $1 AND state = 'accepted'", seeded.campaign_id
            )
        )


def measure_transactional(servers: Servers, *, short: bool) -> tuple[dict[str, Any], list[Goal]]:
    """Measure transactional mail, idle and beside a bulk campaign."""
    with stage(servers, replace(many_domains(), watched=WATCHED)) as place:
        result = asyncio.run(_transactional(place, short=short))
    goals = []
    for name in ("idle", "beside_bulk"):
        p50, p99 = result[name]["p50_ms"], result[name]["p99_ms"]
        met = p99 < TRANSACTIONAL_GOAL_MS and not result[name]["lost"]
        measured = f"p50 {p50:.0f} ms, p99 {p99:.0f} ms"
        goals.append(Goal("transactional", name, measured, f"p99 < {TRANSACTIONAL_GOAL_MS} ms", met))
    return result, goals


def measure_small(servers: Servers, *, short: bool) -> tuple[dict[str, Any], list[Goal]]:
    """Measure a small campaign, alone and beside a large one."""
    with stage(servers, many_domains()) as place:
        result = asyncio.run(_small(place, short=short))
    measured = f"{result['ratio']:.2f} ({result['alone_s']:.1f} s alone, {result['beside_s']:.1f} s beside)"
    return result, [
        Goal("small_beside_large", "completion", measured, f"<= {SMALL_GOAL:.0f} x", result["ratio"] <= SMALL_GOAL)
    ]


async def _transactional(place: Stage, *, short: bool) -> dict[str, Any]:
    bulk, idle, longest_s = (20_000, 25, 10.0) if short else (100_000, 100, 60.0)
    async with _running(place) as world:
        large = await world.seed(people(bulk), "large")
        stopping = asyncio.Event()
        say(f"transactional: {idle} mails alone")
        alone = await _one_by_one(world, "idle", stopping, most=idle)
        launched_s = await world.launch(large)
        say(f"transactional: beside a campaign of {bulk}")
        await eventually(lambda: world.accepted(large), lambda n: n > 0, timeout_s=60)
        sending = asyncio.create_task(_one_by_one(world, "busy", stopping, most=10_000))
        while True:
            accepted = await world.accepted(large)
            if accepted == bulk or time.monotonic() - launched_s > longest_s:
                break
            await asyncio.sleep(1)
        elapsed_s = time.monotonic() - launched_s
        stopping.set()
        beside = await sending
        say(f"  {accepted} of {bulk} accepted after {elapsed_s:.0f} s")
        await asyncio.sleep(5)  # the slowest of them
        seen = (await world.watch.whole())["first_seen"]
    bulk_shown = {"mails": bulk, "accepted_meanwhile": accepted, "emails_per_s": round(accepted / elapsed_s, 1)}
    return {"idle": _latencies(alone, seen), "beside_bulk": _latencies(beside, seen), "bulk": bulk_shown}


async def _one_by_one(world: World, name: str, stopping: asyncio.Event, *, most: int) -> dict[str, float]:
    """Launch test sends at random moments; returns when each was accepted by the API, by address."""
    pauses = random.Random(7)
    answers: dict[str, float] = {}

    async def one(address: str) -> None:
        path = f"/v1/campaigns/{world.tests.campaign_id}/test"
        answer = await world.client.post(path, json={"to": [address], "variables": ATTRIBUTES})
        answer.raise_for_status()
        answers[address] = time.monotonic()

    async with asyncio.TaskGroup() as sends:
        for number in range(most):
            if stopping.is_set():
                break
            sends.create_task(one(f"{WATCHED}{name}-{number}@d{number % 40}.example"))
            await asyncio.sleep(pauses.expovariate(1 / _MEAN_PAUSE_S))
    return answers


def _latencies(accepted: dict[str, float], seen: dict[str, float]) -> dict[str, Any]:
    times_ms = [max(0.0, seen[address] - at_s) * 1000 for address, at_s in accepted.items() if address in seen]
    return {
        "mails": len(accepted),
        "lost": len(accepted) - len(times_ms),
        "p50_ms": round(percentile(times_ms, 50), 1),
        "p90_ms": round(percentile(times_ms, 90), 1),
        "p99_ms": round(percentile(times_ms, 99), 1),
        "most_ms": round(max(times_ms), 1),
    }


async def _small(place: Stage, *, short: bool) -> dict[str, Any]:
    bulk, times = (20_000, 1) if short else (100_000, 3)
    async with _running(place) as world:
        large = await world.seed(people(bulk), "large")
        smalls = [await world.seed(people(SMALL, prefix=f"small{n}-"), f"small{n}") for n in range(2 * times + 1)]
        await _completion(world, smalls.pop())  # the first one pays for what every process does once
        alone = [await _completion(world, smalls.pop()) for _ in range(times)]
        say(f"small_beside_large: alone {alone}")
        await world.launch(large)
        await eventually(lambda: world.accepted(large), lambda n: n > bulk // 20, timeout_s=60)
        beside: list[float] = []
        progress: list[int] = []
        for _ in range(times):
            if progress and progress[-1] >= bulk:
                break
            beside.append(await _completion(world, smalls.pop()))
            progress.append(await world.accepted(large))
            say(f"small_beside_large: {beside[-1]} s beside, {progress[-1]} of {bulk} accepted meanwhile")
    alone_s, beside_s = statistics.median(alone), statistics.median(beside)
    return {
        "recipients": {"small": SMALL, "large": bulk},
        "alone": alone,
        "beside": beside,
        "large_accepted_at_the_end": progress,
        "alone_s": alone_s,
        "beside_s": beside_s,
        "ratio": round(beside_s / alone_s, 2),
    }


async def _completion(world: World, seeded: Seeded) -> float:
    launched_s = await world.launch(seeded)
    await eventually(lambda: world.accepted(seeded), lambda n: n == SMALL, timeout_s=_TIMEOUT_S)
    return round(time.monotonic() - launched_s, 2)


@asynccontextmanager
async def _running(place: Stage) -> AsyncIterator[World]:
    """Start all processes, with a tenant and its API key."""
    place.policy(
        "default",
        connections=1000 // HOSTS,
        connections_start=1000 // HOSTS,
        messages_per_connection=1000,
        recipients_per_session=1000,
        connection_spacing_s=0,
        tls="none",
    )
    port = free_port()
    await asyncio.to_thread(_start, place, port)
    pool = await open_pool(place.database_url, name="bench", size=3)
    tests = await _seed(place, ["nobody@d0.example"], "tests")
    key = new_key()
    await pool.execute(
        "INSERT INTO api_keys (tenant_id, name, prefix, secret_hash, scopes) VALUES ($1, '', $2, $3, $4)",
        tests.tenant_id,
        key.prefix,
        key.secret_hash,
        [scope.value for scope in Scope],
    )
    headers = {"Authorization": f"Bearer {key.shown}"}
    async with (
        SinkWatch(place.sink["watching"]) as watch,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30) as client,
    ):
        yield World(place, pool, watch, client, tests)
    pool.terminate()


def _start(place: Stage, port: int) -> None:
    place.dispatcher()
    started = [
        place.system.launch("api", http_host="127.0.0.1", http_port=str(port)),
        place.system.launch("scheduler"),
        *(place.system.launch("renderer", name=f"renderer-{n}") for n in range(2)),
    ]
    for service in started:
        place.system.wait_ready(service)


async def _seed(place: Stage, addresses: list[str], slug: str) -> Seeded:
    connection = await asyncpg.connect(place.database_url)
    seeded = await seed_campaign(connection, addresses, slug=slug, compiled=newsletter().to_json(), pool=place.pool)
    await connection.execute(
        "UPDATE contacts SET attributes = $2::jsonb WHERE tenant_id = $1", seeded.tenant_id, json.dumps(ATTRIBUTES)
    )
    secret = TokenSettings(token_secret=place.system.environment["HAYABIN_MASTER_KEY"]).token_secret
    key = new_dkim_key("rsa-sha256")
    sealed = seal(secret_bytes(secret), seeded.tenant_id, f"dkim:{slug}.example:rsa", key.private_der)
    await connection.execute(
        "INSERT INTO dkim_keys (domain_id, selector, algorithm, public_key, private_key) "
        "VALUES ($1, 'rsa', 'rsa-sha256', $2, $3)",
        seeded.domain_id,
        key.public,
        sealed,
    )
    for table in ("contacts", "list_members"):
        await connection.execute(f"ANALYZE {table}")
    await connection.close()
    return seeded
