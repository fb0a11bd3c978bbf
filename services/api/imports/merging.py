"""From sorted rows to contacts, page by page, in the mode of the job.

Promises: a page is set-based and whole: contacts, their history, subscriptions with their evidence, suppressions. What
a file does not say stays; whoever unsubscribed stays unsubscribed; whoever was erased is not added again, and nothing
of them is kept but the line. Merging a page again gives the same contacts. What rows a mode leaves out is told by line.
Fails: database errors come out; nothing of the page was written then.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from hayabin.database import contact_history, subscriptions
from hayabin.database.consent import Evidence
from hayabin.database.engine import Connection
from hayabin.database.erasing import erased_sql
from hayabin.domain.consent import SubscriptionState
from hayabin.domain.transfer import ImportMode
from services.api.imports import opting_out
from services.api.imports.contact_rows import RowError
from services.api.imports.staging import Page

_ERASED_SQL = f"""
DELETE FROM import_people p WHERE p.ctid >= $2 AND p.ctid < $3 AND {erased_sql("$1", "p.address_key")}
RETURNING p.line"""  # noqa: S608 - expressions of ours

# Contacts are looked up one by one, by their index: joined, all contacts of the tenant may be read for each page. And a
# young table looks so small that the planner would read all of it for each row. The collation is the index's: that of
# the sorted table is another one, in which it could not be used.
_BY_INDEX_SQL = "SET LOCAL enable_seqscan = off"
_EXISTS_SQL = """
WITH known AS MATERIALIZED (
    SELECT p.ctid AS place FROM import_people p
    CROSS JOIN LATERAL (
        SELECT FROM contacts WHERE tenant_id = $1 AND address_key = p.address_key COLLATE "default" OFFSET 0) c
    WHERE p.ctid >= $2 AND p.ctid < $3)
DELETE FROM import_people WHERE ctid = ANY(ARRAY(SELECT place FROM known)) RETURNING line, address"""

# Locked, so that whoever is there for the look is there for the update.
_UNKNOWN_SQL = """
WITH looked AS MATERIALIZED (
    SELECT p.ctid AS place, c.id FROM import_people p LEFT JOIN LATERAL (
        SELECT id FROM contacts WHERE tenant_id = $1 AND address_key = p.address_key COLLATE "default"
        FOR NO KEY UPDATE) c ON true
    WHERE p.ctid >= $2 AND p.ctid < $3)
DELETE FROM import_people WHERE ctid = ANY(ARRAY(SELECT place FROM looked WHERE id IS NULL)) RETURNING line, address"""

_KNOWN_LOCALES = """LEFT JOIN LATERAL (
        SELECT locale FROM contacts
        WHERE tenant_id = $1 AND address_key = p.address_key COLLATE "default" OFFSET 0) known ON true"""
_LEFT_SQL = (
    "SELECT count(*) AS rows, max(address_key) AS through FROM import_people p WHERE p.ctid >= $1 AND p.ctid < $2"
)
_MOMENTS_SQL = """
SELECT c.id, p.consented_at FROM import_people p
CROSS JOIN LATERAL (
    SELECT id FROM contacts WHERE tenant_id = $1 AND address_key = p.address_key COLLATE "default" OFFSET 0) c
WHERE p.ctid >= $2 AND p.ctid < $3"""
_KEPT_SQL = """
SELECT count(*) FROM list_members WHERE list_id = $1 AND contact_id = ANY($2)
AND state IN ('unsubscribed', 'bounced', 'complained')"""


@dataclass(frozen=True, slots=True)
class Target:
    """Whose contacts the rows become, in which mode, and which list they are subscribed to, on what grounds."""

    tenant_id: int
    list_id: int | None
    mode: ImportMode
    evidence: Evidence
    says: frozenset[str]
    """Of what the file speaks, besides addresses, names and attributes."""
    has_moments: bool
    """Whether its rows may say when each person consented."""
    keeps_history: bool
    """Whether there may be somebody to be changed."""


@dataclass(slots=True)
class Merged:
    """What became of a page."""

    through: str
    rows: int = 0
    imported: int = 0
    exists: int = 0
    unknown: int = 0
    erased: int = 0
    unsubscribed: int = 0
    kept_unsubscribed: int = 0
    errors: list[RowError] = field(default_factory=list)


async def merge(connection: Connection, target: Target, page: Page) -> Merged:
    """Merge a page; call within a transaction."""
    bounds = (page.first.tid, page.end.tid)
    await connection.execute(_BY_INDEX_SQL)
    left: Any = await connection.fetchrow(_LEFT_SQL, *bounds)
    merged = Merged(left["through"] or "", left["rows"])
    merged.erased = await _leave_out(connection, _ERASED_SQL, target, bounds, merged, "erased")
    match target.mode:
        case ImportMode.UNSUBSCRIBE:
            merged.unsubscribed = await opting_out.page(
                connection, target.tenant_id, target.list_id, bounds, target.evidence
            )
            return merged
        case ImportMode.INSERT:
            merged.exists = await _leave_out(connection, _EXISTS_SQL, target, bounds, merged, "exists")
        case ImportMode.UPDATE:
            merged.unknown = await _leave_out(connection, _UNKNOWN_SQL, target, bounds, merged, "unknown")
        case ImportMode.UPSERT:
            pass
    await _write(connection, target, bounds, merged)
    return merged


async def _leave_out(
    connection: Connection, sql: str, target: Target, bounds: tuple[Any, Any], merged: Merged, reason: str
) -> int:
    rows = await connection.fetch(sql, target.tenant_id, *bounds)
    merged.errors += [RowError(row["line"], "", reason, dict(row).get("address", "")) for row in rows]
    return len(rows)


async def _write(connection: Connection, target: Target, bounds: tuple[Any, Any], merged: Merged) -> None:
    wants_ids = target.list_id is not None
    sql = merge_sql(target.says, target.mode, history=target.keeps_history, ids=wants_ids)
    actor = [target.evidence.source] if target.keeps_history else []
    if target.list_id is None:
        merged.imported = await connection.fetchval(sql, target.tenant_id, *bounds, *actor)
        return
    ids: list[int] = await connection.fetchval(sql, target.tenant_id, *bounds, *actor) or []
    merged.imported = len(ids)
    for moment, some in (await _by_moment(connection, target, bounds, ids)).items():
        evidence = target.evidence if moment is None else _at(target.evidence, moment)
        await subscriptions.move(
            connection, target.tenant_id, target.list_id, some, SubscriptionState.SUBSCRIBED, evidence
        )
    if target.keeps_history:
        merged.kept_unsubscribed = await connection.fetchval(_KEPT_SQL, target.list_id, ids)


async def _by_moment(
    connection: Connection, target: Target, bounds: tuple[Any, Any], ids: Sequence[int]
) -> dict[datetime | None, list[int]]:
    if not target.has_moments:
        return {None: list(ids)} if ids else {}
    found: dict[datetime | None, list[int]] = defaultdict(list)
    wanted = set(ids)
    for row in await connection.fetch(_MOMENTS_SQL, target.tenant_id, *bounds):
        if row["id"] in wanted:
            found[row["consented_at"]].append(row["id"])
    return found


def _at(evidence: Evidence, moment: datetime) -> Evidence:
    return Evidence(
        action=evidence.action, basis=evidence.basis, source=evidence.source, wording=evidence.wording,
        note=evidence.note, occurred_at=moment,
    )  # fmt: skip


@lru_cache(maxsize=64)
def merge_sql(says: frozenset[str], mode: ImportMode, *, history: bool, ids: bool) -> str:
    """The statement that writes a page of contacts; what is made of it is ours alone.

    Shape: $1 tenant, $2 and $3 the page, $4 who does it (with ``history``); gives the ids, or their number.
    """
    what = "array_agg(id ORDER BY id)" if ids else "count(*)"
    if not history:
        return f"WITH merged AS ({_upsert_sql(says, mode)} RETURNING id) SELECT {what} FROM merged"  # noqa: S608 - ours
    tracked = ", ".join(f"c.{name}" for name in contact_history.TRACKED.split(", "))
    return f"""
    WITH before AS MATERIALIZED (
        SELECT {tracked} FROM import_people p CROSS JOIN LATERAL (
            SELECT * FROM contacts WHERE tenant_id = $1 AND address_key = p.address_key COLLATE "default" OFFSET 0) c
        WHERE p.ctid >= $2 AND p.ctid < $3),
    merged AS ({_upsert_sql(says, mode)} RETURNING {contact_history.TRACKED}),
    changed AS MATERIALIZED (SELECT m.* FROM merged m WHERE m.id IN (SELECT id FROM before)),
    history AS ({contact_history.noted("before", "changed", "$4", f"'{contact_history.ChangeSource.IMPORT}'")})
    SELECT {what} FROM merged"""  # noqa: S608 - ours


def _upsert_sql(says: frozenset[str], mode: ImportMode) -> str:
    """Where the file says no locale at all, nobody needs to know what was there before."""
    locales = "locale" in says
    more = [name for name in ("stage", "time_zone") if name in says]
    columns = "".join(f", {name}" for name in more)
    values = "".join(f", COALESCE(p.{name}, '')" for name in more)
    kept = "".join(f"{name} = COALESCE(NULLIF(excluded.{name}, ''), contacts.{name}), " for name in more)
    known = _KNOWN_LOCALES if locales else ""
    conflict = f"""UPDATE SET
        address = excluded.address, wire = excluded.wire, flags = excluded.flags, {kept}
        name = COALESCE(NULLIF(excluded.name, ''), contacts.name),
        locale = {"excluded" if locales else "contacts"}.locale,
        attributes = contacts.attributes || excluded.attributes, updated_at = now()"""
    return f"""
    INSERT INTO contacts (tenant_id, address, wire, address_key, name, locale, attributes, flags{columns})
    SELECT $1, p.address, p.wire, p.address_key, p.name,
           COALESCE(NULLIF(p.locale, ''), {"known.locale, " if locales else ""}'ja'), p.attributes::jsonb,
           COALESCE(p.flags, '{{}}'){values}
    FROM import_people p {known} WHERE p.ctid >= $2 AND p.ctid < $3
    {"ORDER BY p.address_key" if locales else ""} -- as the table is, and nothing to sort where nothing is joined
    ON CONFLICT (tenant_id, address_key) DO {"NOTHING" if mode is ImportMode.INSERT else conflict}"""  # noqa: S608 - ours
