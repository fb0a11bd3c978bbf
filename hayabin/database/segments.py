"""Segments in the database: loaded with those that they name, counted, listed.

Promises: a segment that names itself, however far around, is refused when it is saved and again when it is read; so is
one that is too deep or too large with all that it names. Counting and listing see one tenant, name it in the statement,
and are planned for the values that they have.
Fails: ``SegmentMissing``, ``SegmentTooDeep``; ``TooSlow`` for a count that takes longer than ``COUNT_S``, which leaves
the transaction to be rolled back; database errors as they are.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import asyncpg
import orjson

from hayabin.database.engine import Connection
from hayabin.database.segment_compiling import Compiling, Parameters
from hayabin.database.segment_count import count_sql, takes_hashes
from hayabin.database.segment_sql import condition
from hayabin.database.tenancy import as_services
from hayabin.domain.segment import MAX_NESTED, MAX_NODES_IN_ALL, Loaded, Meets, Rule
from hayabin.domain.segment_rules import RulesInvalid, parse, walk
from hayabin.domain.tenant_settings import TenantSettings

COUNT_S: Final = 8.0
_SEGMENT_LOCK: Final = 7246004
_PLANNING_SQL = """
SELECT set_config('plan_cache_mode', $1, true), set_config('statement_timeout', $2, true),
       set_config('enable_sort', $3, true), set_config('enable_bitmapscan', $3, true),
       set_config('work_mem', $4, true), set_config('enable_nestloop', $5, true)"""
_WORK_MEM: Final = "32MB"
"""Of a count: a million ids in a hash, which at the server's default of 4 MB would be written to disk in parts."""
_LOAD_SQL = "SELECT id, rules::text AS rules FROM segments WHERE tenant_id = $1 AND id = ANY($2)"
_HOLD_SQL = f"{_LOAD_SQL} FOR KEY SHARE"
_NOW_SQL = "SELECT now() AS now, settings FROM tenants WHERE id = $1"
_TYPES_SQL = "SELECT name, type FROM attribute_definitions WHERE tenant_id = $1"


class SegmentMissing(Exception):
    """A segment that is named is not there."""


class SegmentTooDeep(Exception):
    """A segment names itself, or is too deep or too large with all that it names; the message says which."""


class TooSlow(Exception):
    """The rules take too long to be counted."""


async def types_of(connection: Connection, tenant_id: int) -> dict[str, str]:
    """The types of a tenant's attributes, by name."""
    return {row["name"]: row["type"] for row in await connection.fetch(_TYPES_SQL, tenant_id)}


async def moment(connection: Connection, tenant_id: int) -> datetime:
    """Now, by the database's clock, in the tenant's time zone."""
    row = await connection.fetchrow(_NOW_SQL, tenant_id)
    if row is None:
        raise SegmentMissing
    return TenantSettings.of(row["settings"]).local(row["now"])


async def lock(connection: Connection, tenant_id: int) -> None:
    """Let nobody else change the tenant's segments until the transaction ends: two might name each other."""
    await connection.execute("SELECT pg_advisory_xact_lock($1, hashint8($2))", _SEGMENT_LOCK, tenant_id)


async def load(
    connection: Connection, tenant_id: int, rule: Rule, segment_id: int | None = None, *, hold: bool = False
) -> Loaded:
    """Rules, with those that they name; ``segment_id`` is whose they are (going to be).

    ``hold``: nobody changes or deletes those until the transaction ends.

    Raises:
        SegmentMissing, SegmentTooDeep: see the module.
    """
    nested: dict[int, Rule] = {}
    types = await types_of(connection, tenant_id)
    wanted = _named(rule)
    for _ in range(MAX_NESTED + 1):
        if not wanted:
            break
        found = await connection.fetch(_HOLD_SQL if hold else _LOAD_SQL, tenant_id, sorted(wanted))
        rows = {row["id"]: row["rules"] for row in found}
        if len(rows) < len(wanted):
            raise SegmentMissing
        nested |= {row_id: _stored(rules, types) for row_id, rules in rows.items()}
        wanted = {named for row_id in rows for named in _named(nested[row_id])} - nested.keys()
    if _nodes(rule, nested, (segment_id,), MAX_NODES_IN_ALL) > MAX_NODES_IN_ALL:
        raise SegmentTooDeep(f"more than {MAX_NODES_IN_ALL} rules in all, with those of the segments that it names")
    return Loaded(rule, nested)


def _stored(rules: str, types: Mapping[str, str]) -> Rule:
    """Rules as they were saved; where an attribute has got another type since, as they were meant."""
    tree = orjson.loads(rules)
    try:
        return parse(tree, types)
    except RulesInvalid:
        return parse(tree, {})


def _named(rule: Rule) -> set[int]:
    return {one.segment_id for one in walk(rule) if isinstance(one, Meets)}


def _nodes(rule: Rule, nested: Mapping[int, Rule], above: tuple[int | None, ...], most: int) -> int:
    """How many rules there are in all; stops counting above ``most``."""
    if len(above) > MAX_NESTED + 1:
        raise SegmentTooDeep(f"more than {MAX_NESTED} levels of segments within segments")
    count = 0
    for one in walk(rule):
        count += 1
        if isinstance(one, Meets):
            if one.segment_id in above:
                raise SegmentTooDeep("it names itself, directly or through others")
            if one.segment_id not in nested:
                raise SegmentTooDeep(f"more than {MAX_NESTED} levels of segments within segments")
            count += _nodes(nested[one.segment_id], nested, (*above, one.segment_id), most - count)
        if count > most:
            break
    return count


async def stored(connection: Connection, tenant_id: int, segment_id: int, *, hold: bool = False) -> Loaded:
    """A saved segment; ``hold`` as in ``load``.

    Raises:
        SegmentMissing, SegmentTooDeep: see the module.
    """
    row = await connection.fetchrow(_HOLD_SQL if hold else _LOAD_SQL, tenant_id, [segment_id])
    if row is None:
        raise SegmentMissing
    rule = _stored(row["rules"], await types_of(connection, tenant_id))
    return await load(connection, tenant_id, rule, segment_id, hold=hold)


def where(loaded: Loaded, tenant_id: int, now: datetime, parameters: Parameters) -> str:
    """The WHERE clause for ``contacts c``: the tenant's that meet the rules."""
    tenant = parameters.add(tenant_id, "bigint")
    return f"c.tenant_id = {tenant} AND {condition(loaded.rule, Compiling(parameters, tenant, now, loaded.nested))}"


async def count(connection: Connection, tenant_id: int, loaded: Loaded) -> int:
    """How many contacts meet the rules, within a request's transaction.

    Counted outside of the tenants' role: the statement names the tenant, and under the policy of members a count with
    lists is planned for one process (`benchmarks/out/segments.json`: up to 40 % longer).

    Raises:
        TooSlow: see the module.
    """
    statement = count_sql(loaded, tenant_id, await moment(connection, tenant_id))
    async with as_services(connection):
        rows = await bounded(connection, *statement, hashes=takes_hashes(loaded))
    found: int = rows[0]["count"]
    return found


async def people(connection: Connection, tenant_id: int, loaded: Loaded, *, after_id: int, limit: int) -> Sequence[Any]:
    """Contacts that meet the rules, in order of id, within the caller's transaction; fails as ``count`` does."""
    parameters = Parameters()
    meets = where(loaded, tenant_id, await moment(connection, tenant_id), parameters)
    sql = (
        "SELECT c.id AS contact_id, c.address AS email, c.name, c.locale, c.stage, c.attributes FROM contacts c "  # noqa: S608 - see segment_sql
        f"WHERE {meets} AND c.id > {parameters.add(after_id, 'bigint')} "
        f"ORDER BY c.id LIMIT {parameters.add(limit, 'bigint')}"
    )
    return await bounded(connection, sql, parameters)


async def bounded(
    connection: Connection,
    sql: str,
    parameters: Parameters,
    within_s: float = COUNT_S,
    *,
    in_order: bool = False,
    hashes: bool = False,
) -> Sequence[Any]:
    """Run a compiled statement, planned for its values, within a time.

    ``in_order``: it reads a page by an index; on a table that grew since its last ANALYZE the planner would rather read
    and sort all of it. ``hashes``: it reads whole tables; nobody knows how many people an attribute leaves, so the
    planner takes them for few, and would look each up.

    Raises:
        TooSlow: see the module.
    """
    before = await connection.fetchrow(
        "SELECT current_setting('statement_timeout') AS timeout, current_setting('work_mem') AS work_mem"
    )
    sorting, loops = "off" if in_order else "on", "off" if hashes else "on"
    await connection.execute(_PLANNING_SQL, "force_custom_plan", str(int(within_s * 1000)), sorting, _WORK_MEM, loops)
    try:
        found: Sequence[Any] = await connection.fetch(sql, *parameters.values)
    except asyncpg.QueryCanceledError as error:
        raise TooSlow from error
    if before is not None:
        await connection.execute(_PLANNING_SQL, "auto", before["timeout"], "on", before["work_mem"], "on")
    return found
