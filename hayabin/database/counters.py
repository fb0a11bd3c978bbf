"""Counters of a campaign, kept incrementally.

Promises: whoever changes a state appends deltas in the same transaction; a reading sums the folded counters and the
deltas that wait, so it is exact at every commit; nobody waits for a hot row.
"""

from collections.abc import Mapping

from hayabin.database.engine import Connection

_READ_SQL = """
SELECT name, sum(n)::bigint AS n FROM (
    SELECT name, n FROM counters WHERE campaign_id = $1
    UNION ALL SELECT name, n FROM counter_deltas WHERE campaign_id = $1) both_parts
GROUP BY name"""

_FOLD_SQL = """
WITH taken AS (
    DELETE FROM counter_deltas WHERE id IN (SELECT id FROM counter_deltas ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)
    RETURNING campaign_id, name, n),
summed AS (SELECT campaign_id, name, sum(n)::bigint AS n FROM taken GROUP BY campaign_id, name ORDER BY 1, 2),
kept AS (
    INSERT INTO counters (campaign_id, name, n) SELECT campaign_id, name, n FROM summed
    ON CONFLICT (campaign_id, name) DO UPDATE SET n = counters.n + excluded.n)
SELECT count(*) FROM taken"""


async def read_counters(connection: Connection, campaign_id: int) -> dict[str, int]:
    """Every counter of the campaign by name; a name that never counted is absent."""
    return {row["name"]: row["n"] for row in await connection.fetch(_READ_SQL, campaign_id)}


async def add(connection: Connection, campaign_id: int, changes: Mapping[str, int]) -> None:
    """Append deltas, within the caller's transaction."""
    await connection.execute(
        "INSERT INTO counter_deltas (campaign_id, name, n) SELECT $1, * FROM unnest($2::text[], $3::bigint[])",
        campaign_id,
        list(changes),
        list(changes.values()),
    )


async def fold(connection: Connection, *, limit: int = 20_000) -> int:
    """Fold waiting deltas into the counters; returns how many were folded."""
    folded: int = await connection.fetchval(_FOLD_SQL, limit)
    return folded
