"""The peer: what PostgreSQL needs for the same rows when nobody looks at them.

The file goes by COPY into an unlogged table, and from there by one statement into the tables of production with their
indexes, constraints, triggers and foreign keys: ``contacts``, with the defined attributes cast to their types; whoever
is new on the list into ``list_members``, their history and their evidence into ``subscription_changes`` and
``consents``. Of rows with the same address the last one wins, as in ours.
Nothing is checked: no address is parsed, no bad row would be told, no progress is seen, nothing survives a restart
before the end.
Units: seconds.
"""

import time
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from benchmarks.csv_import_parts.people_csv import PeopleFile

_STAGING_SQL = """
CREATE UNLOGGED TABLE raw_rows (email text, name text, company text, prefecture text, joined text, visits text)"""

# A table that is only appended to has its rows in the order of the file, so ctid is the line.
_MERGE_SQL = """
WITH merged AS (
    INSERT INTO contacts (tenant_id, address, wire, address_key, name, attributes)
    SELECT DISTINCT ON (lower(email)) $1::bigint, email, email, lower(email), name,
           jsonb_build_object('company', company, 'prefecture', prefecture, 'joined', joined::date,
                              'visits', visits::numeric)
    FROM raw_rows ORDER BY lower(email), ctid DESC
    ON CONFLICT (tenant_id, address_key) DO UPDATE SET
        address = excluded.address, wire = excluded.wire, name = COALESCE(NULLIF(excluded.name, ''), contacts.name),
        attributes = contacts.attributes || excluded.attributes, updated_at = now()
    RETURNING id, address_key),
joined AS (
    INSERT INTO list_members (list_id, contact_id, state, consent) SELECT $2, id, 'subscribed', 'written' FROM merged
    ON CONFLICT DO NOTHING RETURNING contact_id),
history AS (
    INSERT INTO subscription_changes (tenant_id, list_id, contact_id, state, action, source)
    SELECT $1, $2, contact_id, 'subscribed', 'opt_in', 'raw' FROM joined)
INSERT INTO consents (tenant_id, contact_id, address_key, list_id, action, basis, source, note, occurred_at)
SELECT $1, id, address_key, $2, 'opt_in', 'written', 'raw', 'bench', $3::timestamptz FROM merged"""


@dataclass(frozen=True, slots=True)
class RawCopy:
    """How long it took."""

    copy_s: float
    merge_s: float

    @property
    def total_s(self) -> float:
        """From the first byte to the commit."""
        return self.copy_s + self.merge_s


async def raw_copy(url: str, tenant_id: int, list_id: int, consented_at: datetime, people: PeopleFile) -> RawCopy:
    """Bring the file into ``contacts`` and onto a list for a tenant."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_STAGING_SQL)
        began_s = time.monotonic()
        with people.path.open("rb") as file:
            await connection.copy_to_table("raw_rows", source=file, format="csv", header=True)
        copied_s = time.monotonic()
        await connection.execute(_MERGE_SQL, tenant_id, list_id, consented_at, timeout=600)
        merged_s = time.monotonic()
        await connection.execute("DROP TABLE raw_rows")
    finally:
        await connection.close()
    return RawCopy(copied_s - began_s, merged_s - copied_s)
