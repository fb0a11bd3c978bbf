"""Source IPs of pools, as the operator set them and as the dispatchers report them, laid over each other.

Promises: ``source_ips`` (the operator's word) stands over ``pool_sources`` (what dispatchers announce, by a setting or
because they took what was added here): an address that was removed here is not used, whatever a setting says. An
address is active in one pool only.
Fails: ``Problem`` 409 for an address that is another pool's; database errors come out.
"""

from typing import Any

from services.api.access import Db
from services.api.problems import Problem

LIVE_S = 60.0
"""Whoever was not seen for so long does not use the address."""
_ADDRESS_LOCK = "source_ip:"

SOURCES_SQL = f"""
SELECT COALESCE(s.pool, r.pool) AS pool, COALESCE(s.address, r.address) AS address,
       COALESCE(s.ehlo_name, r.ehlo_name) AS ehlo_name,
       CASE WHEN s.pool IS NULL OR (s.state = 'removed' AND r.seen_at > now() - make_interval(secs => {LIVE_S}))
            THEN 'settings' ELSE 'api' END AS origin,
       CASE WHEN p.state = 'removed' OR s.state = 'removed' THEN 'removed' WHEN s.problem <> '' THEN 'waiting'
            WHEN GREATEST(s.owner_seen_at, r.seen_at) > now() - make_interval(secs => {LIVE_S}) THEN 'active'
            ELSE 'waiting' END AS state,
       COALESCE(s.owner, r.dispatcher) AS dispatcher, GREATEST(s.owner_seen_at, r.seen_at) AS seen_at,
       COALESCE(s.problem, '') AS problem
FROM source_ips s FULL JOIN pool_sources r ON r.pool = s.pool AND r.address = s.address
JOIN ip_pools p ON p.name = COALESCE(s.pool, r.pool)
WHERE ($1::text IS NULL OR p.name = $1) AND ($2::text IS NULL OR COALESCE(s.address, r.address) = $2)
ORDER BY pool, address"""  # noqa: S608 - a constant of ours

_ELSEWHERE_SQL = f"""
SELECT pool FROM source_ips s JOIN ip_pools p ON p.name = s.pool AND p.state = 'active'
WHERE address = $2 AND pool <> $1 AND s.state = 'active'
UNION ALL
SELECT r.pool FROM pool_sources r JOIN ip_pools p ON p.name = r.pool AND p.state = 'active'
WHERE address = $2 AND pool <> $1 AND seen_at > now() - make_interval(secs => {LIVE_S})
  AND NOT EXISTS (SELECT 1 FROM source_ips s WHERE s.pool = r.pool AND s.address = r.address AND s.state = 'removed')
LIMIT 1"""  # noqa: S608 - a constant of ours

_ADD_SQL = """
INSERT INTO source_ips (pool, address, ehlo_name) VALUES ($1, $2, $3)
ON CONFLICT (pool, address) DO UPDATE SET ehlo_name = excluded.ehlo_name, state = 'active',
    owner = CASE WHEN source_ips.state = 'active' THEN source_ips.owner END,
    owner_seen_at = CASE WHEN source_ips.state = 'active' THEN source_ips.owner_seen_at END, problem = ''"""

_REMOVE_SQL = """
INSERT INTO source_ips (pool, address, ehlo_name, state)
SELECT pool, address, ehlo_name, 'removed' FROM pool_sources WHERE pool = $1 AND address = $2
UNION ALL
SELECT pool, address, ehlo_name, 'removed' FROM source_ips WHERE pool = $1 AND address = $2 LIMIT 1
ON CONFLICT (pool, address) DO UPDATE SET state = 'removed' WHERE source_ips.state = 'active' RETURNING address"""

USED_ADDRESSES_SQL = """
SELECT address FROM source_ips WHERE state = 'active'
UNION
SELECT address FROM pool_sources r WHERE NOT EXISTS (
    SELECT 1 FROM source_ips s WHERE s.pool = r.pool AND s.address = r.address AND s.state = 'removed')
ORDER BY address"""
"""Every address that mail may come from: for the SPF record of the return path."""


async def sources_of(db: Db, pool: str | None = None, address: str | None = None) -> list[dict[str, Any]]:
    """The source IPs of all pools, of one, or one of one, by pool and address."""
    return [dict(row) for row in await db.fetch(SOURCES_SQL, pool, address)]


async def add(db: Db, pool: str, address: str, ehlo_name: str) -> dict[str, Any]:
    """Make an address active in a pool, and give it as it is shown; in the caller's transaction.

    Raises:
        Problem: 409 where it is active in another pool.
    """
    await db.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", _ADDRESS_LOCK + address)
    elsewhere = await db.fetchval(_ELSEWHERE_SQL, pool, address)
    if elsewhere is not None:
        raise Problem(409, "address-in-use", f"{address} is active in the pool {elsewhere}: remove it there first.")
    await db.execute(_ADD_SQL, pool, address, ehlo_name)
    return (await sources_of(db, pool, address))[0]


async def remove(db: Db, pool: str, address: str) -> bool:
    """Take an address out of a pool; tells whether it was in it."""
    return await db.fetchval(_REMOVE_SQL, pool, address) is not None
