"""What the database says of a pool and of one address, read once and changed in nothing.

Promises: one read-only transaction, so all is of one moment; of suppressions it gives numbers of tenants alone.
Fails with asyncpg's errors; a pool that is not there has an empty ``pool_state``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from hayabin.database.engine import Connection
from hayabin.database.suppressing import PLATFORM_TENANT, domain_sql
from hayabin.domain.warmup import WarmupPlan
from services.dispatcher.suspensions import Origin, Suspension

LIVE_S: Final = 30.0
"""Reports and announcements older than this say nothing of now."""

_SOURCES_SQL = """
SELECT COALESCE(s.address, r.address) AS address, COALESCE(s.ehlo_name, r.ehlo_name) AS ehlo_name,
       COALESCE(s.problem, '') AS problem, COALESCE(s.state = 'removed', false) AS removed,
       COALESCE(GREATEST(s.owner_seen_at, r.seen_at) > now() - make_interval(secs => $2), false) AS live
FROM (SELECT * FROM source_ips WHERE pool = $1) s
FULL JOIN (SELECT * FROM pool_sources WHERE pool = $1) r ON r.address = s.address
ORDER BY address"""
_SUSPENSIONS_SQL = """
SELECT pool, source_ip, provider, origin, reason, until FROM suspensions
WHERE (pool IS NULL OR pool = $1) AND (until IS NULL OR until > now()) ORDER BY id"""
_USAGE_SQL = """
SELECT source_ip, lane, granted FROM lane_usage
WHERE day = (now() AT TIME ZONE 'UTC')::date AND source_ip = ANY($1)"""
_REPORTS_SQL = """
SELECT source_ip, lane, state, reason, next_try_at, waiting, connections, connection_limit, begun_per_s, limit_per_s
FROM lane_reports WHERE pool = $1 AND reported_at > now() - make_interval(secs => $2)"""
_OF_ADDRESS = f"s.address_key IN ($1, {domain_sql('$1')}) AND (s.expires_at IS NULL OR s.expires_at > now())"
_SUPPRESSED_SQL = f"""
SELECT count(*) AS tenants, count(*) FILTER (WHERE wholly) AS wholly, count(*) FILTER (WHERE lists) AS for_lists
FROM (SELECT
        EXISTS (SELECT 1 FROM suppressions s
                WHERE s.tenant_id IN ({PLATFORM_TENANT}, t.id) AND s.list_id = 0 AND {_OF_ADDRESS}) AS wholly,
        EXISTS (SELECT 1 FROM suppressions s WHERE s.tenant_id = t.id AND s.list_id > 0 AND {_OF_ADDRESS}) AS lists
      FROM tenants t WHERE t.id <> {PLATFORM_TENANT}) every"""  # noqa: S608 - constants of ours


@dataclass(frozen=True, slots=True)
class KnownSource:
    """A source IP of the pool; ``live``: a dispatcher has it in use."""

    ip: str
    ehlo_name: str
    live: bool = True
    removed: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """See the module; keys are source IP and lane (or warm-up key), or provider."""

    pool_state: str
    sources: tuple[KnownSource, ...]
    suspensions: tuple[Suspension, ...]
    overrides: Mapping[str, Mapping[str, Any]]
    effective: Mapping[str, Mapping[str, Any]]
    warmups: Mapping[tuple[str, str], WarmupPlan]
    used_today: Mapping[tuple[str, str], int]
    reports: Mapping[tuple[str, str], Mapping[str, Any]]
    learnt_provider: str | None
    suppressed: Mapping[str, int]


async def pools_in_use(connection: Connection) -> list[str]:
    """Give the names of the active pools."""
    rows = await connection.fetch("SELECT name FROM ip_pools WHERE state = 'active' ORDER BY name")
    return [row["name"] for row in rows]


async def read_kept(connection: Connection, pool: str, domain: str, address_key: str) -> Kept:
    """Read it all; ``connection`` gives JSONB as Python objects."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        sources = tuple(
            KnownSource(row["address"], row["ehlo_name"], row["live"], row["removed"], row["problem"])
            for row in await connection.fetch(_SOURCES_SQL, pool, LIVE_S)
        )
        ips = [source.ip for source in sources]
        warmups = await connection.fetch("SELECT * FROM warmups WHERE source_ip = ANY($1)", ips)
        used = await connection.fetch(_USAGE_SQL, ips)
        reports = await connection.fetch(_REPORTS_SQL, pool, LIVE_S)
        effective = await connection.fetch("SELECT provider, settings FROM effective_policies WHERE pool = $1", pool)
        overrides = await connection.fetch("SELECT provider, settings FROM provider_policies")
        suppressed = await connection.fetchrow(_SUPPRESSED_SQL, address_key)
        return Kept(
            pool_state=await connection.fetchval("SELECT state FROM ip_pools WHERE name = $1", pool) or "",
            sources=sources,
            suspensions=tuple(_suspension(row) for row in await connection.fetch(_SUSPENSIONS_SQL, pool)),
            overrides={row["provider"]: row["settings"] for row in overrides},
            effective={row["provider"]: row["settings"] for row in effective},
            warmups={(row["source_ip"], row["provider"]): _plan(row) for row in warmups},
            used_today={(row["source_ip"], row["lane"]): row["granted"] for row in used},
            reports={(row["source_ip"], row["lane"]): dict(row) for row in reports},
            learnt_provider=await connection.fetchval("SELECT provider FROM recipient_domains WHERE name = $1", domain),
            suppressed=dict(suppressed or {}),
        )


def _suspension(row: asyncpg.Record) -> Suspension:
    return Suspension(
        row["pool"], row["source_ip"], row["provider"], Origin(row["origin"]), row["reason"], row["until"]
    )


def _plan(row: asyncpg.Record) -> WarmupPlan:
    return WarmupPlan(row["start_per_day"], row["growth"], row["end_per_day"], row["started_on"])
