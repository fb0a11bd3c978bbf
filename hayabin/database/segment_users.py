"""What names a segment, and what a segment names.

Promises: whoever uses a segment is found however far around; what is not the tenant's is as if it were not there.
Fails: database errors as they are.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from hayabin.database.engine import Connection
from hayabin.database.segments import stored
from hayabin.domain.segment import Did, Meets, OnList, Rule
from hayabin.domain.segment_rules import walk

_USERS_SQL = """
SELECT 'segment' AS kind, id, name FROM segments WHERE tenant_id = $1 AND id <> $2
  AND jsonb_path_exists(rules, 'strict $.**.segment ? (@ == $id)', jsonb_build_object('id', $2::bigint), true)
UNION ALL
SELECT 'campaign', id, name FROM campaigns
WHERE tenant_id = $1 AND (state IN ('draft', 'scheduled', 'failed') OR filling)
  AND (audience_definition -> 'include_segments' @> to_jsonb($2::bigint)
       OR audience_definition -> 'exclude_segments' @> to_jsonb($2::bigint))
ORDER BY 1, 2 LIMIT 20"""
_FILLING_SQL = """
SELECT 'campaign' AS kind, k.id, k.name,
       ARRAY(SELECT jsonb_array_elements_text(COALESCE(k.audience_definition -> 'include_segments', '[]')
                                              || COALESCE(k.audience_definition -> 'exclude_segments', '[]'))::bigint)
           AS segments
FROM campaigns k WHERE k.tenant_id = $1 AND k.filling"""
_NAMING_SQL = """
SELECT s.id FROM segments s CROSS JOIN jsonb_path_query(s.rules, 'strict $.**.segment', '{}', true) AS named(value)
WHERE s.tenant_id = $1 AND jsonb_typeof(named.value) = 'number' AND (named.value)::bigint = ANY($2)"""
_MISSING_SQL = """
SELECT 'list' AS kind, g.id FROM unnest($2::bigint[]) AS g(id)
WHERE NOT EXISTS (SELECT 1 FROM lists l WHERE l.id = g.id AND l.tenant_id = $1)
UNION ALL
SELECT 'campaign', g.id FROM unnest($3::bigint[]) AS g(id)
WHERE NOT EXISTS (SELECT 1 FROM campaigns k WHERE k.id = g.id AND k.tenant_id = $1)
UNION ALL
SELECT 'segment', g.id FROM unnest($4::bigint[]) AS g(id)
WHERE NOT EXISTS (SELECT 1 FROM segments s WHERE s.id = g.id AND s.tenant_id = $1)"""


async def missing(
    connection: Connection, tenant_id: int, lists: Iterable[int], campaigns: Iterable[int], segments: Iterable[int]
) -> set[tuple[str, int]]:
    """Those of the ids that are not the tenant's, as (``list`` | ``campaign`` | ``segment``, id)."""
    rows = await connection.fetch(
        _MISSING_SQL, tenant_id, sorted(set(lists)), sorted(set(campaigns)), sorted(set(segments))
    )
    return {(row["kind"], row["id"]) for row in rows}


async def missing_in(connection: Connection, tenant_id: int, rule: Rule) -> set[tuple[str, int]]:
    """What the rules name and the tenant does not have; see ``missing``."""
    rules = list(walk(rule))
    lists = [one.list_id for one in rules if isinstance(one, OnList) and one.list_id is not None]
    campaigns = [n for one in rules if isinstance(one, Did) and isinstance(one.value, tuple) for n in one.value]
    segments = [one.segment_id for one in rules if isinstance(one, Meets)]
    return await missing(connection, tenant_id, lists, campaigns, segments)


def pointers_to(tree: Any, kind: str, row_id: int, pointer: str = "#/rules") -> list[str]:
    """Where checked rules, as JSON, name a list, campaign or segment."""
    if "all" in tree or "any" in tree:
        name = "all" if "all" in tree else "any"
        inner = [(f"{pointer}/{name}/{n}", one) for n, one in enumerate(tree[name])]
        return [found for place, one in inner for found in pointers_to(one, kind, row_id, place)]
    if "not" in tree:
        return pointers_to(tree["not"], kind, row_id, f"{pointer}/not")
    if kind == "campaign":
        ids = tree.get("value") if "activity" in tree else None
        return [f"{pointer}/value/{n}" for n, one in enumerate(ids) if one == row_id] if isinstance(ids, list) else []
    return [f"{pointer}/{kind}"] if tree.get(kind) == row_id else []


async def users(connection: Connection, tenant_id: int, segment_id: int) -> Sequence[Any]:
    """Segments and campaigns to come that name the segment: ``kind``, ``id``, ``name``."""
    found: Sequence[Any] = await connection.fetch(_USERS_SQL, tenant_id, segment_id)
    return found


async def naming(connection: Connection, tenant_id: int, segment_id: int) -> set[int]:
    """Segments that name it, or one that does, however far around."""
    found: set[int] = set()
    new = {segment_id}
    while new:
        rows = await connection.fetch(_NAMING_SQL, tenant_id, sorted(new))
        new = {row["id"] for row in rows} - found
        found |= new
    return found


async def require_naming_hold(connection: Connection, tenant_id: int, segment_id: int) -> None:
    """Pass silently where all that name the segment can still be used, after it has changed.

    Raises:
        SegmentTooDeep: not with what it names now.
    """
    for one in sorted(await naming(connection, tenant_id, segment_id)):
        await stored(connection, tenant_id, one)


async def filling(connection: Connection, tenant_id: int, segment_id: int) -> Sequence[Any]:
    """Campaigns that are being put into the ledger by the segment or by one that names it, however far around."""
    rows = await connection.fetch(_FILLING_SQL, tenant_id)
    if not rows:
        return []
    affected = {segment_id, *await naming(connection, tenant_id, segment_id)}
    return [row for row in rows if affected.intersection(row["segments"])]
