"""Imports: a file goes in as a stream, is kept, and is worked off by the scheduler."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from hayabin.domain.transfer import ImportMode, TransferState
from services.api.access import Db, ReadContacts, WriteContacts
from services.api.forms import Id
from services.api.imports.file_form import HEAD_BYTES, Said, Sniffer
from services.api.imports.job_rows import COLUMNS, shown_job
from services.api.imports.options import UploadOptions, require_consent, upload_options
from services.api.paging import Cursor, Limit, after, page
from services.api.problems import Problem, not_found
from services.api.routes.lists import require_list
from services.api.transaction import TransactionRoute
from services.api.upload import file_parts

router = APIRouter(prefix="/v1/imports", tags=["imports"], route_class=TransactionRoute)
CHUNK_BYTES = HEAD_BYTES
"""So that the first chunk is all that a preview needs."""
_MEDIA_TYPES = (
    "text/csv", "application/csv", "text/plain", "application/octet-stream", "multipart/form-data",
    "text/tab-separated-values", "application/x-ndjson", "application/jsonl",
)  # fmt: skip
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
    options: Annotated[UploadOptions, Depends(upload_options)],
    list_id: Annotated[int | None, Query(ge=1, le=2**63 - 1, description="Subscribe who is imported to it")] = None,
    filename: Annotated[str, Query(max_length=200, description="What you call the file")] = "",
) -> dict[str, Any]:
    """Upload CSV, TSV or NDJSON (UTF-8, CP932, UTF-16) and queue its import; follow it at `GET /v1/imports/{id}`.

    With `dry_run=true` nothing is imported: look at `GET /v1/imports/{id}/preview`, then `POST /v1/imports/{id}/start`.
    """
    media_type = request.headers.get("content-type", "text/csv").partition(";")[0].strip().lower()
    if media_type not in _MEDIA_TYPES:
        raise Problem(415, "unsupported-media-type", "Send the file itself as text/csv, or as multipart/form-data.")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Problem(415, "unsupported-media-type", "Send the file as it is, not compressed.")
    if list_id is not None:
        await require_list(db, who, list_id)
    subscribes = list_id is not None and options.mode is not ImportMode.UNSUBSCRIBE and not options.dry_run
    await require_consent(db, who, subscribes=subscribes, consent=options.consent, mapping=options.mapping)
    said = Said(options.format, options.encoding, options.delimiter, filename, media_type)
    with request.app.state.uploads.slot(who.tenant_id):
        job_id = await db.fetchval(_NEW_SQL, who.tenant_id, list_id, options.mode.value, options.mapping,
                                   options.consent, _first_state(options).value)  # fmt: skip
        sniffer = Sniffer(said)
        size = await _store(db, job_id, request, sniffer)
    if size == 0:
        raise Problem(422, "empty-file", "The file is empty.")
    name = clean(filename or request.state.upload_name)
    form = sniffer.form_of(name)
    row = await db.fetchrow(
        _STORED_SQL, job_id, size, name, form.format.value, form.encoding.value, form.delimiter or None
    )
    return shown_job(row or {})


def _first_state(options: UploadOptions) -> TransferState:
    return TransferState.PREVIEW if options.dry_run else TransferState.QUEUED


_NEW_SQL = """
INSERT INTO import_jobs (tenant_id, list_id, mode, mapping, consent, state) VALUES ($1, $2, $3, $4, $5, $6)
RETURNING id"""
_STORED_SQL = f"""
UPDATE import_jobs SET size_bytes = $2, filename = $3, format = $4, encoding = $5, delimiter = $6 WHERE id = $1
RETURNING {COLUMNS}"""


async def _store(db: Db, job_id: int, request: Request, sniffer: Sniffer) -> int:
    """Keep the file in chunks, and look at it on the way; returns its size in bytes."""
    size = number = 0
    buffer = bytearray()
    async for part in file_parts(request):
        buffer += part
        size += len(part)
        while len(buffer) >= CHUNK_BYTES:
            await _keep(db, job_id, number, bytes(buffer[:CHUNK_BYTES]), sniffer)
            del buffer[:CHUNK_BYTES]
            number += 1
    if buffer:
        await _keep(db, job_id, number, bytes(buffer), sniffer)
    return size


async def _keep(db: Db, job_id: int, number: int, chunk: bytes, sniffer: Sniffer) -> None:
    sniffer.see(chunk)
    await db.execute("INSERT INTO import_chunks VALUES ($1, $2, $3)", job_id, number, chunk)


@router.get("", operation_id="listImports")
async def listed(db: Db, who: ReadContacts, limit: Limit = 100, cursor: Cursor = None) -> dict[str, Any]:
    """Imports, the newest first."""
    rows = await db.fetch(
        f"SELECT {COLUMNS} FROM import_jobs WHERE tenant_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3",
        who.tenant_id,
        after(cursor) or 2**63 - 1,
        limit + 1,
    )
    return page([shown_job(row) for row in rows], limit)


@router.get("/{import_id}", operation_id="getImport")
async def get(db: Db, who: ReadContacts, import_id: Id) -> dict[str, Any]:
    """How far an import is: rows, rate, percent, seconds that remain."""
    row = await db.fetchrow(
        f"SELECT {COLUMNS} FROM import_jobs WHERE id = $1 AND tenant_id = $2", import_id, who.tenant_id
    )
    if row is None:
        raise not_found("import")
    return shown_job(row)


def clean(filename: str) -> str:
    """A file's name without what is not printable, at most 200 characters."""
    return "".join(character for character in filename if character.isprintable())[:200]
