"""The audit log as a file: CSV for spreadsheet programs, NDJSON for programs.

Promises: lines come in the order of the chain, those that are not linked yet at the end, each once, whatever is linked
meanwhile; they are read page by page, each in a transaction of its own as the tenant, so no connection is held while
the receiver is slow; no cell is taken for a formula.
Fails: an error in the middle breaks the connection off, so that a part is never taken for the whole.
"""

import csv
import io
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, assert_never

import orjson

from hayabin.database import tenancy
from hayabin.database.engine import Connection, Database
from hayabin.database.lending import borrowed
from services.api.audit_lines import Filter, Place, page_after
from services.api.file_kind import FileKind
from services.api.spreadsheet import formula_safe

COLUMNS: Final = (
    "seq", "entry_id", "at", "actor", "key_id", "user_id", "action", "object_type", "object_id", "trace_id", "ip",
    "detail", "prev_hash", "hash",
)  # fmt: skip
_WAIT_S: Final = 10.0
_PAGE_S: Final = 30.0


def as_json(row: Any) -> dict[str, Any]:
    """A line as the API shows it; hashes in hexadecimal."""
    return {name: row[name].hex() if isinstance(row[name], bytes) else row[name] for name in COLUMNS if name in row}


def head(kind: FileKind) -> str:
    """What the file begins with."""
    return "\ufeff" + ",".join(COLUMNS) + "\r\n" if kind is FileKind.CSV else ""


def lines_of(kind: FileKind, rows: Sequence[Any]) -> str:
    """Some lines of the file."""
    match kind:
        case FileKind.CSV:
            text = io.StringIO()
            csv.writer(text).writerows([_cell(value) for value in as_json(row).values()] for row in rows)
            return text.getvalue()
        case FileKind.NDJSON:
            return "".join(orjson.dumps(as_json(row)).decode() + "\n" for row in rows)
        case _:
            assert_never(kind)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        value = orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    return formula_safe(value.isoformat() if hasattr(value, "isoformat") else str(value))


async def pages(connection: Connection, tenant_id: int, which: Filter) -> AsyncIterator[list[Any]]:
    """All lines, in pages, on one connection."""
    place = Place()
    while not place.ended:
        yield await page_after(connection, tenant_id, place, which)


async def streamed(database: Database, tenant_id: int, kind: FileKind, which: Filter) -> AsyncIterator[str]:
    """The file; see the module."""
    place = Place()

    async def ask() -> list[Any]:
        async with (
            borrowed(database.pool, wait_s=_WAIT_S, within_s=_PAGE_S) as loan,
            loan.connection.transaction(readonly=True),
        ):
            await tenancy.enter(loan.connection, tenant_id)
            return await page_after(loan.connection, tenant_id, place, which)

    yield head(kind)
    while not place.ended:
        yield lines_of(kind, await ask())
