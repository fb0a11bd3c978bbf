"""What changed of a contact, when, and by whom: ``contact_changes``.

Promises: a row for each field that changed, with the value before and after; nothing where nothing changed. The same
statement that writes the contact writes its history: give ``noted`` the names of two parts of its WITH clause. Values
are bounded, and so are the rows of one contact once ``forget_oldest`` is called. History goes with its contact.
An import writes no row for whom it creates, as that would be a million more: ``created_by_import`` tells it from when
the contact came and which imports ran then.
Fails: database errors come out.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final

from hayabin.database.engine import Connection

KEPT_ROWS: Final = 500
"""For one contact."""
VALUE_MAX_CHARS: Final = 2000
"""A longer value is kept as ``{"chars": n}``."""
TRACKED: Final = "id, tenant_id, address, name, locale, stage, time_zone, attributes"
"""The columns of ``contacts`` that the parts given to ``noted`` must have."""


class ChangeSource(StrEnum):
    """By which way a change came; the values are stored, and part of the API."""

    API = "api"
    IMPORT = "import"
    FORM = "form"
    PREFERENCE = "preference"
    MERGE = "merge"


def noted(before: str, after: str, actor: str, source: str) -> str:
    """SQL: the INSERT that writes the history; for a WITH clause or as a statement.

    ``before`` and ``after``: rows of contacts (``TRACKED``) as they were and as they are; who has no row in ``before``
    is new, and gets one row, ``created``. ``actor`` and ``source`` are SQL expressions of ours.
    """
    return f"""
    INSERT INTO contact_changes (tenant_id, contact_id, actor, source, field, old, new)
    SELECT a.tenant_id, a.id, {actor}, {source}, d.field, {_bounded("d.old")}, {_bounded("d.new")}
    FROM {after} a LEFT JOIN {before} b ON b.id = a.id CROSS JOIN LATERAL (
        SELECT 'created' AS field, NULL::jsonb AS old, NULL::jsonb AS new WHERE b.id IS NULL
        UNION ALL SELECT f.field, to_jsonb(f.old), to_jsonb(f.new) FROM (VALUES
            ('email', b.address, a.address), ('name', b.name, a.name), ('locale', b.locale, a.locale),
            ('stage', b.stage, a.stage), ('time_zone', b.time_zone, a.time_zone)) AS f(field, old, new)
        WHERE b.id IS NOT NULL AND f.old <> f.new
        UNION ALL SELECT 'attributes.' || k, b.attributes -> k, a.attributes -> k
        FROM jsonb_object_keys(b.attributes || a.attributes) k
        WHERE b.id IS NOT NULL AND b.attributes <> a.attributes
          AND b.attributes -> k IS DISTINCT FROM a.attributes -> k) d"""  # noqa: S608 - expressions of ours


def _bounded(value: str) -> str:
    return (
        f"CASE WHEN length({value}::text) > {VALUE_MAX_CHARS} "
        f"THEN jsonb_build_object('chars', length({value}::text)) ELSE {value} END"
    )


_CREATED_SQL = f"""
SELECT c.created_at AS at, CASE WHEN count(*) = 1 THEN 'import:' || min(j.id) ELSE '' END AS actor
FROM contacts c JOIN import_jobs j ON j.tenant_id = c.tenant_id AND j.mode IN ('insert', 'upsert') AND NOT j.dry_run
    AND j.rows_imported > 0 AND c.created_at BETWEEN j.started_at AND COALESCE(j.finished_at, now())
WHERE c.tenant_id = $1 AND c.id = $2
    AND (SELECT h.field FROM contact_changes h WHERE h.contact_id = c.id ORDER BY h.id LIMIT 1)
        IS DISTINCT FROM 'created'
    AND NOT EXISTS (SELECT FROM contact_changes h WHERE h.contact_id = c.id OFFSET {KEPT_ROWS - 1})
GROUP BY c.created_at"""  # noqa: S608 - a constant of ours


async def created_by_import(connection: Connection, tenant_id: int, contact_id: int) -> dict[str, Any] | None:
    """The row ``created`` of a contact whose history begins without one; None where no import can have made it.

    Its id is 0, so it comes before all. ``actor`` is empty where several imports ran at the time. Nothing is said where
    the oldest rows may have been forgotten.
    """
    row = await connection.fetchrow(_CREATED_SQL, tenant_id, contact_id)
    if row is None:
        return None
    return {"id": 0, "at": row["at"], "actor": row["actor"], "source": ChangeSource.IMPORT.value,
            "field": "created", "old": None, "new": None}  # fmt: skip


async def note(
    connection: Connection,
    tenant_id: int,
    contact_ids: Sequence[int],
    *,
    actor: str,
    source: ChangeSource,
    field: str,
) -> None:
    """Write one row for each contact, without values: for who changes many at once (an import)."""
    await connection.execute(
        "INSERT INTO contact_changes (tenant_id, contact_id, actor, source, field) "
        "SELECT $1, id, $3, $4, $5 FROM unnest($2::bigint[]) AS id",
        tenant_id,
        list(contact_ids),
        actor,
        source,
        field,
    )


async def forget_oldest(connection: Connection, tenant_id: int, contact_id: int) -> None:
    """Keep the newest ``KEPT_ROWS`` rows of a contact."""
    await connection.execute(
        "DELETE FROM contact_changes WHERE tenant_id = $1 AND contact_id = $2 AND id <= ("
        "SELECT id FROM contact_changes WHERE contact_id = $2 ORDER BY id DESC OFFSET $3 LIMIT 1)",
        tenant_id,
        contact_id,
        KEPT_ROWS,
    )
