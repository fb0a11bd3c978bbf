"""Imports: a CSV goes in as a stream, is kept, and is worked off by the scheduler; errors are rows to download."""

import csv
import io
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from services.api.access import Db, ReadContacts, WriteContacts
from services.api.forms import Id
from services.api.paging import Cursor, Limit, after, page
from services.api.problems import Problem, not_found
from services.api.routes.lists import require_list
from services.api.transaction import TransactionRoute
from services.api.upload import file_parts

router = APIRouter(prefix="/v1/imports", tags=["imports"], route_class=TransactionRoute)
CHUNK_BYTES = 1024 * 1024
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""Spreadsheet programs begin a formula with these; Japanese ones with their full-width forms too."""
_COLUMNS = (
    "id, list_id, filename, state, encoding, size_bytes, rows_read, rows_imported, rows_duplicate, rows_invalid, "
    "error, created_at, started_at, finished_at"
)
_MEDIA_TYPES = ("text/csv", "application/csv", "text/plain", "application/octet-stream", "multipart/form-data")
_FILE = "email,name,company\na..b@docomo.ne.jp,田中 花子,サンプル商事\n"


@router.post("", status_code=202, operation_id="startImport", openapi_extra={
    "requestBody": {"required": True, "content": {
        "text/csv": {"schema": {"type": "string"}, "example": _FILE},
        "multipart/form-data": {"schema": {
            "type": "object", "required": ["file"], "properties": {"file": {"type": "string", "format": "binary"}}}},
    }}
})  # fmt: skip
async def start(
    db: Db,
    who: WriteContacts,
    request: Request,
    list_id: Annotated[int | None, Query(ge=1, le=2**63 - 1, description="Subscribe who is imported to it")] = None,
    filename: Annotated[str, Query(max_length=200, description="What you call the file")] = "",
) -> dict[str, Any]:
    """Upload a CSV (UTF-8 with or without BOM, CP932) and queue its import; follow it at `GET /v1/imports/{id}`."""
    media_type = request.headers.get("content-type", "text/csv").partition(";")[0].strip().lower()
    if media_type not in _MEDIA_TYPES:
        raise Problem(415, "unsupported-media-type", "Send the file itself as text/csv, or as multipart/form-data.")
    if list_id is not None:
        await require_list(db, who, list_id)
    with request.app.state.uploads.slot(who.tenant_id):
        job_id = await db.fetchval(
            "INSERT INTO import_jobs (tenant_id, list_id) VALUES ($1, $2) RETURNING id", who.tenant_id, list_id
        )
        size = await _store(db, job_id, request)
    if size == 0:
        raise Problem(422, "empty-file", "The file is empty.")
    row = await db.fetchrow(
        f"UPDATE import_jobs SET size_bytes = $2, filename = $3 WHERE id = $1 RETURNING {_COLUMNS}",
        job_id,
        size,
        clean(filename or request.state.upload_name),
    )
    return dict(row or {})


async def _store(db: Db, job_id: int, request: Request) -> int:
    """Keep the file in chunks; returns its size in bytes."""
    size = number = 0
    buffer = bytearray()
    async for part in file_parts(request):
        buffer += part
        size += len(part)
        while len(buffer) >= CHUNK_BYTES:
            await db.execute(
                "INSERT INTO import_chunks VALUES ($1, $2, $3)", job_id, number, bytes(buffer[:CHUNK_BYTES])
            )
            del buffer[:CHUNK_BYTES]
            number += 1
    if buffer:
        await db.execute("INSERT INTO import_chunks VALUES ($1, $2, $3)", job_id, number, bytes(buffer))
    return size


@router.get("", operation_id="listImports")
async def listed(db: Db, who: ReadContacts, limit: Limit = 100, cursor: Cursor = None) -> dict[str, Any]:
    """Imports, the newest first."""
    rows = await db.fetch(
        f"SELECT {_COLUMNS} FROM import_jobs WHERE tenant_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3",
        who.tenant_id,
        after(cursor) or 2**63 - 1,
        limit + 1,
    )
    return page(rows, limit)


@router.get("/{import_id}", operation_id="getImport")
async def get(db: Db, who: ReadContacts, import_id: Id) -> dict[str, Any]:
    """How far an import is."""
    row = await db.fetchrow(
        f"SELECT {_COLUMNS} FROM import_jobs WHERE id = $1 AND tenant_id = $2", import_id, who.tenant_id
    )
    if row is None:
        raise not_found("import")
    return dict(row)


@router.get("/{import_id}/errors", operation_id="listImportErrors")
async def errors(db: Db, who: ReadContacts, import_id: Id, limit: Limit = 100, cursor: Cursor = None) -> dict[str, Any]:
    """The rows that were not imported, in order of line."""
    await get(db, who, import_id)
    return page(await _errors(db, import_id, after(cursor), limit + 1), limit, key="line")


@router.get("/{import_id}/errors.csv", operation_id="downloadImportErrors", response_class=Response)
async def errors_csv(db: Db, who: ReadContacts, import_id: Id) -> Response:
    """The rows that were not imported, as CSV for spreadsheet programs (at most 100,000)."""
    await get(db, who, import_id)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["line", "column", "reason", "value"])
    for row in await _errors(db, import_id, 0, 100_000):
        writer.writerow([row["line"], formula_safe(row["column"]), row["reason"], formula_safe(row["value"])])
    return Response(
        ("\ufeff" + text.getvalue()).encode(),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="import-{import_id}-errors.csv"'},
    )


async def _errors(db: Db, import_id: int, after_line: int, limit: int) -> list[Any]:
    return list(
        await db.fetch(
            'SELECT line, column_name AS "column", reason, value FROM import_errors WHERE job_id = $1 AND line > $2 '
            "ORDER BY line LIMIT $3",
            import_id,
            after_line,
            limit,
        )
    )


def formula_safe(value: str) -> str:
    """A cell that no spreadsheet program takes for a formula."""
    return f"'{value}" if value.startswith(_FORMULA) else value


def clean(filename: str) -> str:
    """A file's name without what is not printable, at most 200 characters."""
    return "".join(character for character in filename if character.isprintable())[:200]
