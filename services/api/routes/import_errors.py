"""The rows of an import that were not imported: page by page, or as one table to download."""

import csv
import io
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from services.api.access import Db, Principal, ReadContacts, Scope
from services.api.download import as_attachment, reading_as
from services.api.forms import Id
from services.api.imports.job import MAX_KEPT_ERRORS
from services.api.masking import masked_value
from services.api.paging import Cursor, Limit, after, page
from services.api.problems import not_found
from services.api.spreadsheet import formula_safe
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/imports", tags=["imports"], route_class=TransactionRoute)
_PAGE_ROWS = 5000
_ERRORS_SQL = """
SELECT line, column_name AS "column", reason, value FROM import_errors WHERE job_id = $1 AND line > $2
ORDER BY line LIMIT $3"""


@router.get("/{import_id}/errors", operation_id="listImportErrors")
async def errors(db: Db, who: ReadContacts, import_id: Id, limit: Limit = 100, cursor: Cursor = None) -> dict[str, Any]:
    """The rows that were not imported, in order of line (the first 100,000 are kept)."""
    await require_import(db, who, import_id)
    rows = await db.fetch(_ERRORS_SQL, import_id, after(cursor), limit + 1)
    return page([_shown(row, who) for row in rows], limit, key="line")


@router.get("/{import_id}/errors.csv", operation_id="downloadImportErrors", response_class=StreamingResponse)
async def errors_csv(db: Db, who: ReadContacts, import_id: Id, request: Request) -> StreamingResponse:
    """The rows that were not imported, as CSV for spreadsheet programs; the last line says how many were not kept."""
    not_kept = await require_import(db, who, import_id)
    return StreamingResponse(
        _table(request, who, import_id, not_kept),
        media_type="text/csv; charset=utf-8",
        headers=as_attachment(f"import-{import_id}-errors.csv"),
    )


async def _table(request: Request, who: Principal, import_id: int, not_kept: int) -> AsyncIterator[bytes]:
    yield ("\ufeff" + _lines([["line", "column", "reason", "value"]])).encode()
    line = 0
    while True:
        async with reading_as(request, who.tenant_id) as connection:
            rows = await connection.fetch(_ERRORS_SQL, import_id, line, _PAGE_ROWS)
        if not rows:
            break
        line = rows[-1]["line"]
        shown = [_shown(row, who) for row in rows]
        cells = [[e["line"], formula_safe(e["column"]), e["reason"], formula_safe(e["value"])] for e in shown]
        yield _lines(cells).encode()
    if not_kept:
        yield _lines([["", "", "not_kept", f"{not_kept} more rows"]]).encode()


def _lines(rows: list[list[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _shown(row: Any, who: Principal) -> dict[str, Any]:
    error = dict(row)
    if not who.may(Scope.CONTACTS_READ_PERSONAL):
        error["value"] = masked_value(error["value"])
    return error


async def require_import(db: Db, who: Principal, import_id: int) -> int:
    """404 unless the import is the tenant's; gives how many of its errors were not kept."""
    row = await db.fetchrow(
        "SELECT GREATEST(rows_invalid + rows_exists + rows_unknown + rows_erased - $3, 0) AS not_kept "
        "FROM import_jobs WHERE id = $1 AND tenant_id = $2",
        import_id,
        who.tenant_id,
        MAX_KEPT_ERRORS,
    )
    if row is None:
        raise not_found("import")
    not_kept: int = row["not_kept"]
    return not_kept
