"""Where the rows of a file wait before they become contacts: temporary tables of the worker's connection.

Promises: rows come in by COPY, in pages; the merge is set-based, in pages of distinct addresses in their order; of rows
with the same address in one file the last one wins, and the others are counted. Merging the same file again gives the
same contacts: what an earlier import or a person has written stays where the file says nothing.
Fails: database errors come out; what was merged before is whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from hayabin.database.engine import Connection
from services.api.imports.csv_rows import Contact

MERGE_BLOCKS = 512
"""Blocks of the table (8 KB) in one page of the merge: so it is bounded in bytes, and some 20,000 rows as a rule."""
ORDER_S = 900.0
_SORT_MEMORY = "64MB"
_COLUMNS = ("line", "address", "wire", "key", "name", "locale", "attributes")

# A sorted copy read from its beginning to its end: by an index, each row would be a read of another block.
_ORDER_SQL = """
CREATE TEMPORARY TABLE import_people AS
SELECT DISTINCT ON (address_key) address, COALESCE(wire, address) AS wire, address_key, name, locale, attributes
FROM (SELECT line, address, wire, COALESCE(key, address) COLLATE "C" AS address_key, name, locale, attributes
      FROM import_rows) given
ORDER BY address_key, line DESC"""


def _merge_sql(*, locales: bool) -> str:
    """Where the file says no locale at all, nobody needs to know what was there before."""
    known = "LEFT JOIN contacts known ON known.tenant_id = $1 AND known.address_key = p.address_key"
    return f"""
    INSERT INTO contacts (tenant_id, address, wire, address_key, name, locale, attributes)
    SELECT $1, p.address, p.wire, p.address_key, p.name,
           COALESCE(NULLIF(p.locale, ''), {"known.locale, " if locales else ""}'ja'), p.attributes::jsonb
    FROM import_people p {known if locales else ""} WHERE p.ctid >= $2 AND p.ctid < $3
    {"ORDER BY p.address_key" if locales else ""} -- as the table is, and nothing to sort where nothing is joined
    ON CONFLICT (tenant_id, address_key) DO UPDATE SET
        address = excluded.address, wire = excluded.wire,
        name = COALESCE(NULLIF(excluded.name, ''), contacts.name),
        locale = {"excluded" if locales else "contacts"}.locale,
        attributes = contacts.attributes || excluded.attributes, updated_at = now()"""  # noqa: S608 - constants of ours


_MERGE_SQL = {locales: _merge_sql(locales=locales) for locales in (False, True)}
_MERGE_AND_SUBSCRIBE_SQL = {
    locales: f"""
WITH merged AS ({merge} RETURNING id),
joined AS (INSERT INTO list_members (list_id, contact_id) SELECT $4, id FROM merged ON CONFLICT DO NOTHING)
SELECT count(*) FROM merged"""  # noqa: S608 - constants of ours
    for locales, merge in _MERGE_SQL.items()
}


@dataclass(frozen=True, slots=True)
class Target:
    """Whose contacts the rows become, and which list they are subscribed to."""

    tenant_id: int
    list_id: int | None


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the merge: blocks of the sorted table."""

    first_block: int
    end_block: int


async def begin(connection: Connection) -> None:
    """An empty table; ``wire`` and ``key`` are NULL where they are as ``address``, which is nearly always."""
    await end(connection)
    await connection.execute(
        "CREATE TEMPORARY TABLE import_rows (line bigint, address text, wire text, key text, name text, locale text, "
        "attributes text)"
    )


async def add(connection: Connection, contacts: Sequence[Contact]) -> None:
    """Put rows into the table."""
    await connection.copy_records_to_table(
        "import_rows",
        columns=_COLUMNS,
        records=[
            (
                line,
                address,
                None if wire == address else wire,
                None if key == address else key,
                name,
                locale,
                orjson.dumps(attributes).decode(),
            )
            for line, address, wire, key, name, locale, attributes in contacts
        ],
    )


async def order(connection: Connection) -> list[Page]:
    """Sort the addresses for the merge, each once; returns its pages."""
    async with connection.transaction():
        await connection.execute(f"SET LOCAL work_mem = '{_SORT_MEMORY}'")
        await connection.execute(_ORDER_SQL, timeout=ORDER_S)
    await connection.execute("DROP TABLE import_rows")
    size = await connection.fetchval("SELECT pg_relation_size('import_people') / current_setting('block_size')::bigint")
    return [Page(first, first + MERGE_BLOCKS) for first in range(0, size, MERGE_BLOCKS)]


async def merge(connection: Connection, target: Target, page: Page, *, locales: bool) -> int:
    """Merge a page; returns its rows. ``locales``: whether the file has a column of them."""
    bounds = ((page.first_block, 0), (page.end_block, 0))
    if target.list_id is None:
        status: str = await connection.execute(_MERGE_SQL[locales], target.tenant_id, *bounds)
        return int(status.rpartition(" ")[2])
    rows: int = await connection.fetchval(_MERGE_AND_SUBSCRIBE_SQL[locales], target.tenant_id, *bounds, target.list_id)
    return rows


async def end(connection: Connection) -> None:
    """Give the space back."""
    await connection.execute("DROP TABLE IF EXISTS import_rows, import_people")
