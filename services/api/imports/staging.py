"""Where the rows of a file wait before they become contacts: a temporary table of the worker's connection.

Promises: rows come in by COPY, in pages; the merge is set-based, in pages of distinct addresses; of rows with the same
address in one file the last one wins, and the others are counted. Merging the same file again gives the same contacts:
what an earlier import or a person has written stays where the file says nothing.
Fails: database errors come out; what was merged before is whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from hayabin.database.engine import Connection
from services.api.imports.csv_rows import Contact

MERGE_ROWS = 20_000
_COLUMNS = ("line", "address", "wire", "address_key", "name", "locale", "attributes")

_MERGE_SQL = """
WITH page AS MATERIALIZED (
    SELECT DISTINCT ON (address_key) * FROM import_rows WHERE address_key > $3
    ORDER BY address_key, line DESC LIMIT $4),
merged AS (
    INSERT INTO contacts (tenant_id, address, wire, address_key, name, locale, attributes)
    SELECT $1, p.address, p.wire, p.address_key, p.name, COALESCE(NULLIF(p.locale, ''), known.locale, 'ja'),
           p.attributes::jsonb
    FROM page p LEFT JOIN contacts known ON known.tenant_id = $1 AND known.address_key = p.address_key
    ORDER BY p.address_key
    ON CONFLICT (tenant_id, address_key) DO UPDATE SET
        address = excluded.address, wire = excluded.wire,
        name = COALESCE(NULLIF(excluded.name, ''), contacts.name),
        locale = excluded.locale, attributes = contacts.attributes || excluded.attributes, updated_at = now()
    RETURNING id),
joined AS (
    INSERT INTO list_members (list_id, contact_id) SELECT $2, id FROM merged WHERE $2::bigint IS NOT NULL
    ON CONFLICT DO NOTHING)
SELECT count(*) AS rows, max(address_key) AS last_key FROM page"""


@dataclass(frozen=True, slots=True)
class Target:
    """Whose contacts the rows become, and which list they are subscribed to."""

    tenant_id: int
    list_id: int | None


@dataclass(frozen=True, slots=True)
class Merged:
    """One page of the merge; ``last_key`` is where the next one begins, None after the last."""

    rows: int
    last_key: str | None


async def begin(connection: Connection) -> None:
    """An empty table."""
    await connection.execute("DROP TABLE IF EXISTS import_rows")
    await connection.execute(
        'CREATE TEMPORARY TABLE import_rows (line bigint, address text, wire text, address_key text COLLATE "C", '
        "name text, locale text, attributes text)"
    )


async def add(connection: Connection, contacts: Sequence[Contact]) -> None:
    """Put rows into the table."""
    await connection.copy_records_to_table(
        "import_rows",
        columns=_COLUMNS,
        records=[
            (c.line, c.address, c.wire, c.key, c.name, c.locale, orjson.dumps(c.attributes).decode()) for c in contacts
        ],
    )


async def order(connection: Connection) -> None:
    """Make the table ready for the merge."""
    await connection.execute("CREATE INDEX ON import_rows (address_key, line DESC)")
    await connection.execute("ANALYZE import_rows")


async def merge_page(connection: Connection, target: Target, after_key: str) -> Merged:
    """Merge the next page of addresses."""
    row = await connection.fetchrow(_MERGE_SQL, target.tenant_id, target.list_id, after_key, MERGE_ROWS)
    if row is None or row["rows"] == 0:
        return Merged(0, None)
    return Merged(row["rows"], row["last_key"] if row["rows"] == MERGE_ROWS else None)


async def end(connection: Connection) -> None:
    """Give the space back."""
    await connection.execute("DROP TABLE IF EXISTS import_rows")
