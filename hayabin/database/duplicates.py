"""Contacts that may be one person: groups by mailbox, or by name and an attribute; a page of them at a time.

Promises: a page by mailbox looks at ``LOOKED_AT`` entries of an index that has only addresses which are written
differently from their mailbox (plus-tags, dots at Gmail), so it costs the same whatever the number of contacts; it may
have fewer groups than asked for, or none, and still lead to a next one. By attribute there is no index, which every
import would pay for: the value is read of each contact, names only of those who share theirs with somebody. Call
outside of the tenant's role (``as_services``), in which no index on an expression is used; the statements name the
tenant.
Fails: database errors come out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hayabin.database.engine import Connection

LOOKED_AT: Final = 2000
COMPARED: Final = 10_000
"""Contacts whose names are compared for a page by attribute; those of one value always all."""

MAILBOX_SQL: Final = (
    r"COALESCE(replace(split_part(substring(address_key, '^(.*)@(gmail|googlemail)\.com$'), '+', 1), '.', '') "
    r"|| '@gmail.com', regexp_replace(address_key, '(.)\+[^@]*@', '\1@'))"
)
"""Expression: the address that mail to an address key comes to, without its tag, and at Gmail without dots."""
VARIANT_SQL: Final = (
    "address_key LIKE '%_+%' OR address_key LIKE '%.%@gmail.com' OR address_key LIKE '%@googlemail.com'"
)
"""Condition: an address key that is not its own mailbox; of two contacts with one mailbox, one at least is such."""

KEYS_SQL = f"""
SELECT {MAILBOX_SQL} AS key FROM contacts WHERE tenant_id = $1 AND ({VARIANT_SQL}) AND {MAILBOX_SQL} > $2
ORDER BY {MAILBOX_SQL} LIMIT {LOOKED_AT}"""  # noqa: S608 - constants of ours

BY_MAILBOX_SQL = f"""
SELECT k.key, same.contacts, same.ids FROM unnest($2::text[]) AS k(key) CROSS JOIN LATERAL (
    SELECT count(*) AS contacts, (array_agg(id ORDER BY id))[:$4] AS ids FROM (
        SELECT id FROM contacts WHERE tenant_id = $1 AND ({VARIANT_SQL}) AND ({MAILBOX_SQL}) = k.key
        UNION ALL SELECT id FROM contacts WHERE tenant_id = $1 AND address_key = k.key) one) same
WHERE same.contacts > 1 ORDER BY k.key LIMIT $3"""  # noqa: S608 - constants of ours

# Hashes: short to sort, and a cursor that tells nobody's name. OFFSET 0: computed once for each contact.
_BY_ATTRIBUTE_SQL = f"""
WITH shared AS MATERIALIZED (
    SELECT value, ids, sum(cardinality(ids)) OVER (ORDER BY value) - cardinality(ids) AS before FROM (
        SELECT value, array_agg(id) AS ids FROM (
            SELECT id, hashtextextended(attributes ->> $2, 0) & {2**63 - 1} AS value FROM contacts
            WHERE tenant_id = $1 AND name <> '' AND COALESCE(attributes ->> $2, '') <> '' OFFSET 0) given
        WHERE value >= $3 GROUP BY value HAVING count(*) > 1 ORDER BY value LIMIT {COMPARED}) found),
compared AS (SELECT value, unnest(ids) AS id FROM shared WHERE before < {COMPARED})
SELECT looked.through, looked.is_end, g.value, g.name, g.contacts, g.ids
FROM (SELECT max(value) FILTER (WHERE before < {COMPARED}) AS through,
             count(*) < {COMPARED} AND bool_and(before < {COMPARED}) AS is_end FROM shared) looked
LEFT JOIN LATERAL (
    SELECT value, name, count(*) AS contacts, (array_agg(id ORDER BY id))[:$6] AS ids FROM (
        SELECT s.value, c.id,
               hashtextextended(lower(translate(normalize(c.name, NFKC), E' \\t\\r\\n', '')), 0) & {2**63 - 1} AS name
        FROM compared s JOIN contacts c ON c.id = s.id AND c.tenant_id = $1 OFFSET 0) one
    WHERE (value, name) > ($3, $4) GROUP BY value, name HAVING count(*) > 1 ORDER BY value, name LIMIT $5) g ON true
ORDER BY g.value, g.name"""  # noqa: S608 - constants of ours

_AS_THEY_ARE_SQL = "SET LOCAL jit = off"
"""Of these expressions the planner knows too little: what it would compile for takes longer than all the work."""
_SORTED_SQL = "SET LOCAL work_mem = '32MB'; SET LOCAL enable_hashagg = off"
"""Where nearly every value is another one, a hash table of all would not fit its memory; a sort does."""
_LAST: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Group:
    """Contacts that may be one person: how many, and the ids of the first."""

    contacts: int
    ids: Sequence[int]


@dataclass(frozen=True, slots=True)
class Groups:
    """A page; ``next_after`` is where the next one begins, None where there is none."""

    found: Sequence[Group]
    next_after: str | None


async def by_mailbox(connection: Connection, tenant_id: int, after: str, limit: int, shown: int) -> Groups:
    """Groups by mailbox, in its order; of each ``shown`` ids. Call within a transaction."""
    await connection.execute(_AS_THEY_ARE_SQL)
    looked_at = [row["key"] for row in await connection.fetch(KEYS_SQL, tenant_id, after)]
    keys = list(dict.fromkeys(looked_at))
    rows = await connection.fetch(BY_MAILBOX_SQL, tenant_id, keys, limit + 1, shown)
    found = [Group(row["contacts"], row["ids"]) for row in rows[:limit]]
    if len(rows) > limit:
        return Groups(found, rows[limit - 1]["key"])
    return Groups(found, keys[-1] if len(looked_at) == LOOKED_AT else None)


async def by_attribute(
    connection: Connection, tenant_id: int, attribute: str, after: tuple[int, int], limit: int, shown: int
) -> Groups:
    """Groups by the name, whatever its spaces and letter case, and the value of an attribute; in no order of note.

    Call within a transaction.
    """
    await connection.execute(f"{_AS_THEY_ARE_SQL}; {_SORTED_SQL}")
    rows = await connection.fetch(_BY_ATTRIBUTE_SQL, tenant_id, attribute, *after, limit + 1, shown)
    groups = [row for row in rows if row["ids"]]
    found = [Group(row["contacts"], row["ids"]) for row in groups[:limit]]
    if len(groups) > limit:
        return Groups(found, f"{groups[limit - 1]['value']} {groups[limit - 1]['name']}")
    through = rows[0]["through"]
    return Groups(found, None if rows[0]["is_end"] or through is None else f"{through} {_LAST}")
