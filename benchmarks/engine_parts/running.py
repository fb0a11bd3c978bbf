"""The whole system at work on a stage: REST API, scheduler, renderers, dispatchers, and a tenant to send for.

Promises: the processes are those of production; each mail is the 20 KB newsletter with an RSA-2048 signature. How many
there are of each, and how many connections a dispatcher may open to a host, says ``Layout``; nothing else differs from
the defaults but that connections need not grow, which takes minutes and is measured by ``engine``.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
import httpx

from benchmarks.engine_parts.sink_watch import SinkWatch
from benchmarks.engine_parts.stage import DOMAINS, HOSTS, SOURCE_IP, Stage
from benchmarks.newsletter import ATTRIBUTES, newsletter
from hayabin.database.engine import Pool, open_pool
from hayabin.database.launch import launch
from hayabin.database.sealing import seal
from hayabin.settings import TokenSettings, secret_bytes
from services.api.access import Scope, new_key
from services.api.dkim_keys import new_key as new_dkim_key
from tests.support.instances import free_port
from tests.support.seed import Seeded, seed_campaign
from tests.support.system import Service

REQUEST_TIMEOUT_S = 200.0  # longer than the API itself gives any operation

_PEOPLE_SQL = """
WITH people AS (
    INSERT INTO contacts (tenant_id, address, wire, address_key, name, attributes)
    SELECT $1, a, a, a, 'Name ' || n, $3::jsonb
    FROM generate_series(0, $2::int - 1) n CROSS JOIN LATERAL (
        SELECT format('u%s-%s@%s', $4::bigint, n, ($5::text[])[n % cardinality($5::text[]) + 1]) AS a) address
    RETURNING id)
INSERT INTO list_members (list_id, contact_id) SELECT $4, id FROM people"""

_DRAFT_SQL = """
INSERT INTO campaigns (tenant_id, name, class, template_version_id, list_id, domain_id, from_name, from_address, pool)
SELECT tenant_id, name, class, template_version_id, $2, domain_id, from_name, from_address, pool
FROM campaigns WHERE id = $1 RETURNING id"""


@dataclass(frozen=True, slots=True)
class Layout:
    """Which processes run: a dispatcher for each tuple of source IPs, so many renderers; connections to each host."""

    dispatchers: tuple[tuple[str, ...], ...] = ((SOURCE_IP,),)
    renderers: int = 2
    connections: int = 1000 // HOSTS


@dataclass(slots=True)
class World:
    """The running system."""

    place: Stage
    pool: Pool
    watch: SinkWatch
    client: httpx.AsyncClient
    tests: Seeded  # the campaign whose test mails are sent, of the tenant that the client acts for

    async def seed(self, addresses: list[str], slug: str) -> Seeded:
        """Make a draft campaign with a signing key, of a tenant of its own."""
        return await seed(self.place, addresses, slug)

    async def people(self, count: int, *, domain: str = "") -> int:
        """Give the client's tenant a list of so many people with all attributes; returns the list's id.

        They are of all domains, one after the other, or of the one given.
        """
        domains = [domain] if domain else [f"d{n}.example" for n in range(DOMAINS)]
        tenant_id = self.tests.tenant_id
        list_id: int = await self.pool.fetchval(
            "INSERT INTO lists (tenant_id, name) VALUES ($1, $2) RETURNING id", tenant_id, f"{count} at {time.time()}"
        )
        await self.pool.execute(_PEOPLE_SQL, tenant_id, count, ATTRIBUTES, list_id, domains, timeout=REQUEST_TIMEOUT_S)
        for table in ("contacts", "list_members"):  # as autovacuum would have done after a while
            await self.pool.execute(f"ANALYZE {table}")
        return list_id

    async def draft(self, list_id: int) -> int:
        """Give the client's tenant a draft campaign to a list; returns its id."""
        return int(await self.pool.fetchval(_DRAFT_SQL, self.tests.campaign_id, list_id))

    async def move(self, campaign_id: int, move: str) -> float:
        """Ask the API to ``launch``, ``pause``, ``resume`` or ``cancel`` a campaign; returns the seconds it took.

        Raises: SystemExit with the answer where it is refused.
        """
        asked_s = time.monotonic()
        answer = await self.client.post(f"/v1/campaigns/{campaign_id}/{move}", timeout=REQUEST_TIMEOUT_S)
        took_s = time.monotonic() - asked_s
        if answer.status_code != httpx.codes.OK:
            raise SystemExit(f"{move} was answered {answer.status_code} after {took_s:.1f} s: {answer.text}")
        return took_s

    async def launch(self, seeded: Seeded) -> float:
        """Launch without the API; returns when that was committed."""
        async with self.pool.acquire() as connection, connection.transaction():
            await launch(connection, seeded.campaign_id, tenant_id=seeded.tenant_id)
        return time.monotonic()

    async def accepted(self, campaign_id: int) -> int:
        """Count what the ledger has as accepted."""
        return int(
            await self.pool.fetchval(
                "SELECT count(*) FROM messages WHERE campaign_id = $1 AND state = 'accepted'", campaign_id
            )
        )

    async def ledger(self, campaign_id: int) -> dict[str, int]:
        """Count the ledger's rows of a campaign by state."""
        rows = await self.pool.fetch(
            "SELECT state, count(*) AS n FROM messages WHERE campaign_id = $1 GROUP BY state", campaign_id
        )
        return {row["state"]: row["n"] for row in rows}


@asynccontextmanager
async def running(place: Stage, layout: Layout | None = None) -> AsyncIterator[World]:
    """Start all processes, with a tenant and its API key."""
    layout = layout or Layout()
    place.policy(
        "default",
        connections=layout.connections,
        connections_start=layout.connections,
        messages_per_connection=1000,
        recipients_per_session=1000,
        connection_spacing_s=0,
        tls="none",
    )
    port = free_port()
    await asyncio.to_thread(_start, place, port, layout)
    pool = await open_pool(place.database_url, name="bench", size=3)
    tests = await seed(place, ["nobody@d0.example"], "tests")
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


def _start(place: Stage, port: int, layout: Layout) -> None:
    started = [
        place.system.launch("api", http_host="127.0.0.1", http_port=str(port)),
        place.system.launch("scheduler"),
    ]
    start_workers(place, layout)
    for service in started:
        place.system.wait_ready(service)


def start_workers(place: Stage, layout: Layout, *, first: int = 0) -> list[Service]:
    """Start the layout's renderers and dispatchers, numbered from ``first`` on; returns them once they are ready."""
    numbers = range(first, first + layout.renderers)
    renderers = [place.system.launch("renderer", name=f"renderer-{n}") for n in numbers]
    many = first + len(layout.dispatchers) > 1
    dispatchers = [
        place.dispatcher(ips=ips, name=f"dispatcher-{n}" if many else "")
        for n, ips in enumerate(layout.dispatchers, start=first)
    ]
    for service in renderers:
        place.system.wait_ready(service)
    return [*renderers, *dispatchers]


async def seed(place: Stage, addresses: list[str], slug: str) -> Seeded:
    """Make a tenant with a draft campaign to these people, and a signing key."""
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
