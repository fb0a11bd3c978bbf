"""Reading and writing contacts: the SQL of the contact routes, and what holds for values that are no attributes.

Promises: every statement names the tenant; a change and its history are one statement. Of two requests that create the
same person in the same moment both say ``created`` in the history.
Fails: ``Problem`` 422 for a stage or time zone that is not there, 409 for somebody who was erased.
"""

from typing import Any

from asyncpg import Record

from hayabin.database.contact_history import TRACKED, ChangeSource, forget_oldest, noted
from hayabin.database.erasing import erased_sql
from hayabin.domain import time_zones
from services.api.access import Db, Principal, Scope, require_scope
from services.api.attribute_types import ValueInvalid, definitions, typed
from services.api.problems import Problem

COLUMNS = "id, address AS email, name, locale, stage, time_zone, flags, attributes, created_at, updated_at"
_PRUNE_EACH = 32

UPSERT_SQL = f"""
WITH before AS MATERIALIZED (
    SELECT {TRACKED} FROM contacts WHERE tenant_id = $1 AND address_key = $4
      AND (tenant_id, address_key) >= ($1, $4) -- says nothing new: the unique index is taken, statistics or none
    FOR UPDATE),
after AS (
    INSERT INTO contacts (tenant_id, address, wire, address_key, flags, name, locale, stage, time_zone, attributes)
    SELECT $1, $2, $3, $4, $5, COALESCE($6, ''), COALESCE($7, 'ja'), COALESCE($8, ''), COALESCE($9, ''),
           jsonb_strip_nulls($10)
    FROM (SELECT count(*) FROM before) first -- so that what was is read before it is written
    WHERE NOT {erased_sql("$1", "$4")}
    ON CONFLICT (tenant_id, address_key) DO UPDATE SET address = excluded.address, wire = excluded.wire,
        flags = excluded.flags, name = COALESCE($6, contacts.name), locale = COALESCE($7, contacts.locale),
        stage = COALESCE($8, contacts.stage), time_zone = COALESCE($9, contacts.time_zone),
        attributes = jsonb_strip_nulls(contacts.attributes || $10), updated_at = now()
    RETURNING *, xmax = 0 AS created),
history AS ({noted("before", "after", "$11", f"'{ChangeSource.API}'")} RETURNING id)
SELECT {COLUMNS}, created, (SELECT max(h.id) FROM history h) AS noted FROM after"""

CHANGE_SQL = f"""
WITH before AS MATERIALIZED (SELECT {TRACKED} FROM contacts WHERE id = $1 AND tenant_id = $2 FOR UPDATE),
after AS (
    UPDATE contacts c SET name = COALESCE($3, c.name), locale = COALESCE($4, c.locale), stage = COALESCE($5, c.stage),
        time_zone = COALESCE($6, c.time_zone), attributes = jsonb_strip_nulls(c.attributes || $7), updated_at = now()
    FROM before b WHERE c.id = b.id RETURNING c.*),
history AS ({noted("before", "after", "$8", f"'{ChangeSource.API}'")} RETURNING id)
SELECT {COLUMNS}, (SELECT max(h.id) FROM history h) AS noted FROM after"""

LIST_SQL = f"""
SELECT {COLUMNS} FROM contacts c WHERE tenant_id = $1 AND id > $2 AND ($4::text IS NULL OR address_key = $4)
  AND ($5::text IS NULL OR stage = $5) AND ($6::timestamptz IS NULL OR created_at > $6)
  AND ($7::bigint IS NULL OR EXISTS (
      SELECT 1 FROM list_members m WHERE m.contact_id = c.id AND m.list_id = $7 AND m.state = 'subscribed'))
  AND ($8::text IS NULL OR address_key ^@ $8)
  AND ($9::text IS NULL OR CASE WHEN $10::jsonb IS NULL THEN attributes ->> $9 = $11 ELSE attributes @> $10 END)
ORDER BY id LIMIT $3"""


def actor_of(who: Principal) -> str:
    """Who changes something, as the history names them."""
    return f"user:{who.user_id}" if who.user_id is not None else f"key:{who.key_id}"


def settled(row: Record) -> dict[str, Any]:
    """A row of a statement above as the API shows it."""
    return {name: value for name, value in row.items() if name not in ("created", "noted")}


async def keep_history_short(db: Db, who: Principal, row: Record) -> None:
    """Now and then, drop the oldest changes of a contact that has very many."""
    if row["noted"] is not None and row["noted"] % _PRUNE_EACH == 0:
        await forget_oldest(db, who.tenant_id, row["id"])


async def require_stage(db: Db, who: Principal, stage: str | None, pointer: str = "#/stage") -> None:
    """Pass silently where the tenant has the stage, or has none at all; empty is always possible.

    Raises:
        Problem: 422, with the stages that there are.
    """
    if not stage:
        return
    rows = await db.fetch("SELECT name FROM contact_stages WHERE tenant_id = $1 ORDER BY position", who.tenant_id)
    names = [row["name"] for row in rows]
    if names and stage not in names:
        message = "one of " + ", ".join(names)[:1000]
        raise Problem(
            422, "unknown-stage", "There is no such stage.", errors=[{"pointer": pointer, "message": message}]
        )


def require_time_zone(name: str | None) -> None:
    """Pass silently where the IANA database has the time zone; empty is always possible.

    Raises:
        Problem: 422.
    """
    if name and name not in time_zones.names():
        errors = [{"pointer": "#/time_zone", "message": "no time zone of the IANA database, such as Asia/Tokyo"}]
        raise Problem(422, "invalid-request", "There is no such time zone.", errors=errors)


async def wanted_attribute(
    db: Db, who: Principal, name: str | None, value: str | None
) -> tuple[str | None, dict[str, Any] | None, str | None]:
    """The last three arguments of ``LIST_SQL``: name, what the attributes contain, text of an untyped one.

    Raises:
        Problem: 422 where one of the two is missing or the value is no such value, 403 for a personal attribute.
    """
    if name is None and value is None:
        return None, None, None
    if name is None or value is None:
        errors = [{"pointer": "query:value" if name else "query:attribute", "message": "give both"}]
        raise Problem(422, "invalid-request", "An attribute is compared with a value.", errors=errors)
    definition = (await definitions(db, who.tenant_id)).get(name)
    if definition is None:
        return name, None, value
    if definition.personal:
        require_scope(who, Scope.CONTACTS_READ_PERSONAL)
    try:
        return name, {name: typed(definition, value)}, None
    except ValueInvalid as error:
        errors = [{"pointer": "query:value", "message": str(error)}]
        raise Problem(422, "invalid-attribute", "The attribute has no such values.", errors=errors) from error
