"""Where the rows of a file wait before they become contacts: temporary tables of the worker's connection.

Promises: rows come in by COPY, in pages; once all are there, the addresses stand sorted, each once: of rows with the
same address in one file the last one wins. Pages of the sorted table are bounded in bytes.
Fails: database errors come out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from hayabin.database.engine import Connection
from hayabin.domain.address_flags import flags_of
from services.api.imports.contact_rows import Contact

MERGE_BLOCKS = 512
"""Blocks of the table (8 KB) in one page of the merge: so it is bounded in bytes, and some 20,000 rows as a rule."""
ORDER_S = 900.0
_SORT_MEMORY = "64MB"
_ROWS = ("line", "address", "wire", "key", "name", "locale", "attributes", "flags")
_MORE = ("stage", "time_zone", "consented_at")

# A sorted copy read from its beginning to its end: by an index, each row would be a read of another block.
_ORDER_SQL = """
CREATE TEMPORARY TABLE import_people AS
SELECT DISTINCT ON (address_key) line, address, COALESCE(wire, address) AS wire, address_key, name, locale, attributes,
       flags, stage, time_zone, consented_at
FROM (SELECT *, COALESCE(key, address) COLLATE "C" AS address_key FROM import_rows) given
ORDER BY address_key, line DESC"""


@dataclass(frozen=True, slots=True)
class Place:
    """A row of the sorted table, by where it stands."""

    block: int
    offset: int = 0

    @property
    def tid(self) -> tuple[int, int]:
        """As the database wants it."""
        return (self.block, self.offset)


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the merge: from one place of the sorted table up to, and without, another."""

    first: Place
    end: Place


async def begin(connection: Connection) -> None:
    """An empty table; ``wire`` and ``key`` are NULL where they are as ``address``, which is nearly always."""
    await end(connection)
    await connection.execute(
        "CREATE TEMPORARY TABLE import_rows (line bigint, address text, wire text, key text, name text, locale text, "
        "attributes text, flags text[], stage text, time_zone text, consented_at timestamptz)"
    )


async def add(connection: Connection, contacts: Sequence[Contact], *, has_more: bool = True) -> None:
    """Put rows into the table; ``has_more``: whether any may have a stage, a time zone or a moment of consent."""
    await connection.copy_records_to_table(
        "import_rows",
        columns=(*_ROWS, *_MORE) if has_more else _ROWS,
        records=[_record(contact) + contact[7:] for contact in contacts] if has_more else map(_record, contacts),
    )


def _record(contact: Contact) -> tuple[Any, ...]:
    line, address, wire, key, name, locale, attributes, _, _, _ = contact
    return (
        line,
        address,
        None if wire == address else wire,
        None if key == address else key,
        name,
        locale,
        orjson.dumps(attributes).decode(),
        flags_of(key) or None,
    )


async def order(connection: Connection) -> int:
    """Sort the addresses for the merge, each once; returns how many there are."""
    async with connection.transaction():
        await connection.execute(f"SET LOCAL work_mem = '{_SORT_MEMORY}'")
        status: str = await connection.execute(_ORDER_SQL, timeout=ORDER_S)
    await connection.execute("DROP TABLE import_rows")
    return int(status.rpartition(" ")[2])


async def pages(connection: Connection, merged_through: str) -> list[Page]:
    """The pages that are to be merged: those after an address key that an earlier worker came to."""
    size = await connection.fetchval("SELECT pg_relation_size('import_people') / current_setting('block_size')::bigint")
    start = Place(0)
    if merged_through:
        left = await connection.fetchval(
            "SELECT min(ctid)::text FROM import_people WHERE address_key > $1", merged_through
        )
        if left is None:
            return []
        block, offset = left.strip("()").split(",")
        start = Place(int(block), int(offset))
    firsts = [start, *(Place(block) for block in range(start.block + MERGE_BLOCKS, size, MERGE_BLOCKS))]
    ends = [*firsts[1:], Place(size)]
    return [Page(first, end_) for first, end_ in zip(firsts, ends, strict=True)] if size else []


async def end(connection: Connection) -> None:
    """Give the space back."""
    await connection.execute("DROP TABLE IF EXISTS import_rows, import_people")
