"""A world that can be broken: what a careful client of Hayabin does in it, and what can be asked of its witnesses.

Promises: campaigns are launched over REST as a careful client does (same Idempotency-Key until it has an answer), and
what was acknowledged is remembered here, apart from the ledger.
"""

import asyncio
import contextlib
import json
import random
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from hayabin.database.engine import AWAY as DATABASE_AWAY
from hayabin.database.engine import Pool, open_pool
from hayabin.domain.token import TokenRing
from tests.chaos.fleet import Fleet
from tests.chaos.judge import Allowed, Launch, Verdict, judge
from tests.support.mx_journal import Entry, read_journal
from tests.support.postgres import PostgresInstance
from tests.support.rabbitmq import RabbitInstance

DOMAINS = tuple(f"d{n}.example" for n in range(12))
GREY = "grey.example"
NOBODY = "nobody.example"
TARPIT = "tarpit.example"
POOL = "main"
PEOPLE_SQL = """
WITH people AS (
    INSERT INTO contacts (tenant_id, address, wire, address_key, name)
    SELECT $1, a, a, lower(a), 'Name' FROM unnest($2::text[]) AS p(a) RETURNING id)
INSERT INTO list_members (list_id, contact_id) SELECT $3, id FROM people"""
AWAY = (*DATABASE_AWAY, asyncpg.PostgresError)


@dataclass(slots=True)
class ChaosWorld:
    """See the module."""

    folder: Path
    postgres: PostgresInstance
    rabbitmq: RabbitInstance
    pool: Pool
    fleet: Fleet
    random: random.Random
    ring: TokenRing
    key: str = ""
    tenant_id: int = 0
    version_id: int = 0
    mx_port: int = 0
    dns_port: int = 0
    launches: list[Launch] = field(default_factory=list)
    requests: list[tuple[str, int]] = field(default_factory=list)  # of this client: what was asked, and the status
    also: list[int] = field(default_factory=list)  # campaigns that were launched by the way
    judge_from: float = 0.0  # receivers' journals before this time are of a world that is gone
    disks: Any = None  # small ones under both servers, where there are
    links: Any = None  # the proxies, in a world that has them

    # --- the client

    async def call(self, method: str, path: str, *, patience_s: float = 120.0, **more: Any) -> httpx.Response:
        """Ask an API replica, again and again while it is away (no connection, 5xx, 429) with the same key."""
        headers = {"Authorization": f"Bearer {self.key}", "Idempotency-Key": secrets.token_hex(8)}
        if method == "GET":
            del headers["Idempotency-Key"]
        end_s = time.monotonic() + patience_s
        while True:
            answer: httpx.Response | None = None
            async with httpx.AsyncClient(base_url=self.random.choice(self.fleet.urls("api")), timeout=70) as client:
                with contextlib.suppress(httpx.HTTPError):
                    answer = await client.request(method, path, headers=headers, **more)
            if answer is not None:
                self.requests.append((f"{method} {path.partition('?')[0]}", answer.status_code))
                if (answer.status_code < 500 and answer.status_code not in {409, 429}) or time.monotonic() > end_s:
                    return answer
                if answer.status_code == 409 and "in-flight" not in answer.text:
                    return answer
            elif time.monotonic() > end_s:
                raise TimeoutError(f"{method} {path}: no API answered in {patience_s} s")
            await asyncio.sleep(0.3)

    async def campaign(
        self, people: int, *, domains: Sequence[str] = DOMAINS, message_class: str = "bulk", **form: Any
    ) -> tuple[int, frozenset[str]]:
        """Make a list and a draft campaign; returns its id and the addresses."""
        name = secrets.token_hex(4)
        addresses = [f"u{n}.{name}@{domains[n % len(domains)]}" for n in range(people)]
        list_id = await self.pool.fetchval(
            "INSERT INTO lists (tenant_id, name) VALUES ($1, $2) RETURNING id", self.tenant_id, name
        )
        await self.pool.execute(PEOPLE_SQL, self.tenant_id, addresses, list_id)
        body = {
            "name": name, "template_version_id": self.version_id, "list_id": list_id, "from_name": "Chaos",
            "from_address": "news@chaos.example", "class": message_class, **form,
        }  # fmt: skip
        made = await self.call("POST", "/v1/campaigns", json=body)
        assert made.status_code == 201, made.text
        return int(made.json()["id"]), frozenset(addresses)

    async def launch(self, people: int, **more: Any) -> int:
        """Make a campaign and launch it; what is acknowledged is remembered."""
        campaign_id, addresses = await self.campaign(people, **more)
        await self.launch_made(campaign_id, addresses)
        return campaign_id

    async def launch_made(self, campaign_id: int, addresses: frozenset[str]) -> None:
        """Launch a campaign that was made."""
        answer = await self.call("POST", f"/v1/campaigns/{campaign_id}/launch", json={"allow_unverified_domain": True})
        assert answer.status_code == 200, answer.text
        self.remember(campaign_id, addresses)

    def remember(self, campaign_id: int, addresses: frozenset[str]) -> None:
        """Take note of a launch that was acknowledged."""
        self.launches.append(Launch(campaign_id, addresses))

    def taken_also(self) -> list[int]:
        """The campaigns that were launched by the way since the last time."""
        found, self.also = self.also, []
        return found

    async def stats(self, campaign_id: int) -> dict[str, Any]:
        """What the API says of a campaign."""
        answer = await self.call("GET", f"/v1/campaigns/{campaign_id}/stats")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    # --- witnesses

    def journal(self) -> list[Entry]:
        """What the receivers took so far."""
        return read_journal(self.folder / "mx.jsonl")

    def taken_bytes(self) -> int:
        """How long the receivers' journal is: it grows while anything is sent."""
        path = self.folder / "mx.jsonl"
        return path.stat().st_size if path.exists() else 0

    async def query(self, sql: str, *arguments: object) -> list[Any]:
        """Rows of the database, waiting while it is away."""
        while True:
            try:
                return list(await self.pool.fetch(sql, *arguments))
            except AWAY:
                await asyncio.sleep(0.3)

    async def states(self, campaign_id: int) -> dict[str, int]:
        """Rows by state."""
        rows = await self.query(
            "SELECT state, count(*) AS n FROM messages WHERE campaign_id = $1 GROUP BY 1", campaign_id
        )
        return {row["state"]: row["n"] for row in rows}

    async def in_flight(self, instance: str) -> int:
        """Claims that a life which ended has left open."""
        rows = await self.query(
            "SELECT count(*) AS n FROM messages WHERE state = 'claimed' AND claimed_by = $1", instance
        )
        return int(rows[0]["n"])

    async def taken(self, campaign_id: int, share: float, *, timeout_s: float = 120.0) -> None:
        """Wait until a share of the campaign is settled, as long as something is within ``timeout_s``."""
        audience = next(len(launch.addresses) for launch in self.launches if launch.campaign_id == campaign_id)
        most, end_s = 0, time.monotonic() + timeout_s
        while True:
            states = await self.states(campaign_id)
            settled = sum(n for state, n in states.items() if state not in {"due", "claimed", "deferred"})
            if settled >= audience * share:
                return
            if settled > most:
                most, end_s = settled, time.monotonic() + timeout_s
            if time.monotonic() > end_s:
                raise TimeoutError(f"campaign {campaign_id} did not come to {share:.0%}: {states} for {timeout_s} s")
            await asyncio.sleep(0.1 if audience < 10_000 else 0.5)  # it counts rows

    async def completed(self, campaign_ids: Sequence[int], *, timeout_s: float) -> float | None:
        """Wait until campaigns are complete; returns how long that took, None if nothing moved for ``timeout_s``."""
        begun_s = moved_s = time.monotonic()
        taken = 0
        while time.monotonic() < moved_s + timeout_s:
            now_taken = self.taken_bytes()
            if now_taken != taken:
                taken, moved_s = now_taken, time.monotonic()
            open_ones = await self.query(
                "SELECT id FROM campaigns WHERE id = ANY($1) AND state NOT IN ('completed', 'cancelled', 'failed') "
                "OR id = ANY($1) AND state = 'cancelled' AND completed_at IS NULL",
                list(campaign_ids),
            )
            if not open_ones:
                return time.monotonic() - begun_s
            self.fleet.bury()
            await asyncio.sleep(0.2)
        return None

    async def follow(self, url: str) -> None:
        """Look for the database elsewhere from now on."""
        self.pool.terminate()
        self.pool = await open_pool(url, name="judge", size=4)

    async def judged(self, campaign_ids: Sequence[int], allowed: Allowed | None = None) -> Verdict:
        """Let the judge look at some campaigns."""
        stats = {campaign_id: await self.stats(campaign_id) for campaign_id in campaign_ids}
        launches = [launch for launch in self.launches if launch.campaign_id in campaign_ids]
        async with self.pool.acquire() as connection:
            journal = [entry for entry in self.journal() if entry.ts >= self.judge_from]
            return await judge(connection, launches, journal, self.ring, stats, allowed)


def kept_logs(world: ChaosWorld, folder: Path) -> None:
    """Keep the logs of a world for who looks into a failure."""
    folder.mkdir(parents=True, exist_ok=True)
    for log in world.folder.glob("*.log"):
        (folder / log.name).write_bytes(log.read_bytes()[-200_000:])
    (folder / "requests.json").write_text(json.dumps(world.requests))
