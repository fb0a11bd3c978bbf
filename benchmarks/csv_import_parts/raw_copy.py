"""The peer: what PostgreSQL needs for the same rows when nobody looks at them.

The file goes by COPY into an unlogged table, and from there by one statement into ``contacts``: the table of
production with its indexes, constraints and foreign key. Of rows with the same address the last one wins, as in ours.
Nothing is checked: no address is parsed, no bad row would be told, no progress is seen, nothing survives a restart
before the end.
Units: seconds.
"""

import time
from dataclasses import dataclass

import asyncpg

from benchmarks.csv_import_parts.people_csv import PeopleFile

_STAGING_SQL = """
CREATE UNLOGGED TABLE raw_rows (email text, name text, company text, prefecture text, joined text)"""

# A table that is only appended to has its rows in the order of the file, so ctid is the line.
_MERGE_SQL = """
INSERT INTO contacts (tenant_id, address, wire, address_key, name, attributes)
SELECT DISTINCT ON (lower(email)) $1::bigint, email, email, lower(email), name,
       jsonb_build_object('company', company, 'prefecture', prefecture, 'joined', joined)
FROM raw_rows ORDER BY lower(email), ctid DESC
ON CONFLICT (tenant_id, address_key) DO UPDATE SET
    address = excluded.address, wire = excluded.wire, name = COALESCE(NULLIF(excluded.name, ''), contacts.name),
    attributes = contacts.attributes || excluded.attributes, updated_at = now()"""


@dataclass(frozen=True, slots=True)
class RawCopy:
    """How long it took."""

    copy_s: float
    merge_s: float

    @property
    def total_s(self) -> float:
        """From the first byte to the commit."""
        return self.copy_s + self.merge_s


async def raw_copy(url: str, tenant_id: int, people: PeopleFile) -> RawCopy:
    """Bring the file into ``contacts`` for a tenant."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_STAGING_SQL)
        began_s = time.monotonic()
        with people.path.open("rb") as file:
            await connection.copy_to_table("raw_rows", source=file, format="csv", header=True)
        copied_s = time.monotonic()
        await connection.execute(_MERGE_SQL, tenant_id)
        merged_s = time.monotonic()
        await connection.execute("DROP TABLE raw_rows")
    finally:
        await connection.close()
    return RawCopy(copied_s - began_s, merged_s - copied_s)
