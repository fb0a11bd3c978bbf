"""Exports: asked for, written by the scheduler, and downloaded for some days by whoever has the right."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import Field

from hayabin.domain.transfer import EXPORT_TRANSITIONS, ExportSubject, TransferState, leading_to
from services.api.access import Db, ExportContacts, Principal, Scope, require_scope
from services.api.download import as_attachment, reading_as
from services.api.exports.subjects import MAX_COLUMNS, SUBJECTS, ColumnsUnknown, FilterUnfit
from services.api.exports.table import ExportEncoding, ExportFormat
from services.api.forms import Form, Id, Line, Moment, Reference
from services.api.paging import Cursor, Limit, after, page
from services.api.problems import Problem, not_found
from services.api.routes.lists import require_list
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/exports", tags=["exports"], route_class=TransactionRoute)
MAX_OPEN = 10
"""Jobs of a tenant that wait or run."""
_COLUMNS = (
    'id, what, filter, columns, format, encoding, masked, state, "rows", size_bytes, characters_replaced, error, '
    "created_at, started_at, finished_at, expires_at"
)
_MEDIA_TYPES = {
    (ExportFormat.CSV, ExportEncoding.UTF_8_SIG): "text/csv; charset=utf-8",
    (ExportFormat.CSV, ExportEncoding.UTF_8): "text/csv; charset=utf-8",
    (ExportFormat.CSV, ExportEncoding.CP932): "text/csv; charset=Shift_JIS",
    (ExportFormat.NDJSON, ExportEncoding.UTF_8): "application/x-ndjson",
}


class FilterForm(Form):
    """Which rows; what applies depends on what is exported."""

    list_id: Reference | None = None
    segment_id: Annotated[Reference | None, Field(description="Of contacts: who meets the segment's rules")] = None
    campaign_id: Reference | None = None
    state: Line | None = None
    since: Annotated[Moment | None, Field(description="Not before; for consents and events")] = None
    until: Annotated[Moment | None, Field(description="Before")] = None


class ExportForm(Form):
    """An export; `columns` left out: all usual ones."""

    what: Annotated[ExportSubject, Field(strict=False)]
    filter: FilterForm = FilterForm()
    columns: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=120)]],
        Field(max_length=MAX_COLUMNS, description="Of contacts and members also attribute:NAME"),
    ] = []
    format: Annotated[ExportFormat, Field(strict=False)] = ExportFormat.CSV
    encoding: Annotated[
        ExportEncoding | None, Field(strict=False, description="Left out: utf-8-sig for CSV, utf-8 for NDJSON")
    ] = None


@router.post("", status_code=202, operation_id="createExport")
async def create(db: Db, who: ExportContacts, form: ExportForm) -> dict[str, Any]:
    """Ask for an export; personal data is masked in it unless your key may read it."""
    subject = SUBJECTS[form.what]
    if subject.scope is not None:
        require_scope(who, subject.scope)
    given = form.filter.model_dump(mode="json", exclude_none=True)
    try:
        subject.check(given)
        columns = subject.chosen(form.columns)
    except FilterUnfit as error:
        errors = [{"pointer": "#/filter", "message": str(error)}]
        raise Problem(422, "invalid-request", f"The filter does not fit: {error}", errors=errors) from error
    except ColumnsUnknown as error:
        there_are = ", ".join(error.there_are)
        errors = [{"pointer": "#/columns", "message": name[:120]} for name in error.unknown[:20]]
        raise Problem(422, "invalid-columns", f"There are: {there_are}, each once.", errors=errors) from error
    await _require_things(db, who, form.filter)
    waiting = await db.fetchval(
        "SELECT count(*) FROM export_jobs WHERE tenant_id = $1 AND state IN ('queued', 'running')", who.tenant_id
    )
    if waiting >= MAX_OPEN:
        raise Problem(409, "limit-reached", f"{MAX_OPEN} exports are under way. Wait for one, or cancel one.")
    masked = not who.may(Scope.CONTACTS_READ_PERSONAL)
    row = await db.fetchrow(
        "INSERT INTO export_jobs (tenant_id, what, filter, columns, format, encoding, masked, key_id) "
        f"VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING {_COLUMNS}",
        who.tenant_id, form.what.value, given, columns, form.format.value, _encoding(form).value, masked, who.key_id,
    )  # fmt: skip
    return dict(row or {})


def _encoding(form: ExportForm) -> ExportEncoding:
    match form.format:
        case ExportFormat.CSV:
            return form.encoding or ExportEncoding.UTF_8_SIG
        case ExportFormat.NDJSON:
            if form.encoding not in (None, ExportEncoding.UTF_8):
                errors = [{"pointer": "#/encoding", "message": "NDJSON is UTF-8"}]
                raise Problem(422, "invalid-request", "NDJSON is UTF-8: leave the encoding out.", errors=errors)
            return ExportEncoding.UTF_8


async def _require_things(db: Db, who: Principal, form: FilterForm) -> None:
    if form.list_id is not None:
        await require_list(db, who, form.list_id)
    if form.segment_id is not None and not await db.fetchval(
        "SELECT 1 FROM segments WHERE id = $1 AND tenant_id = $2", form.segment_id, who.tenant_id
    ):
        raise not_found("segment")
    if form.campaign_id is not None and not await db.fetchval(
        "SELECT 1 FROM campaigns WHERE id = $1 AND tenant_id = $2", form.campaign_id, who.tenant_id
    ):
        raise not_found("campaign")


@router.get("", operation_id="listExports")
async def listed(db: Db, who: ExportContacts, limit: Limit = 100, cursor: Cursor = None) -> dict[str, Any]:
    """Exports, the newest first."""
    rows = await db.fetch(
        f"SELECT {_COLUMNS} FROM export_jobs WHERE tenant_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3",
        who.tenant_id,
        after(cursor) or 2**63 - 1,
        limit + 1,
    )
    return page(rows, limit)


@router.get("/{export_id}", operation_id="getExport")
async def get(db: Db, who: ExportContacts, export_id: Id) -> dict[str, Any]:
    """How far an export is; `completed` ones can be downloaded until `expires_at`."""
    row = await db.fetchrow(
        f"SELECT {_COLUMNS} FROM export_jobs WHERE id = $1 AND tenant_id = $2", export_id, who.tenant_id
    )
    if row is None:
        raise not_found("export")
    return dict(row)


@router.post("/{export_id}/cancel", operation_id="cancelExport")
async def cancel(db: Db, who: ExportContacts, export_id: Id) -> dict[str, Any]:
    """Stop an export that waits or runs; nothing of it is kept."""
    row = await db.fetchrow(
        "UPDATE export_jobs SET state = 'cancelled', finished_at = now() WHERE id = $1 AND tenant_id = $2 "
        f"AND state = ANY($3) RETURNING {_COLUMNS}",
        export_id,
        who.tenant_id,
        leading_to(EXPORT_TRANSITIONS, TransferState.CANCELLED),
    )
    if row is None:
        raise Problem(409, "wrong-state", f"The export is {(await get(db, who, export_id))['state']} already.")
    await db.execute("DELETE FROM export_chunks WHERE job_id = $1", export_id)
    return dict(row)


@router.get("/{export_id}/download", operation_id="downloadExport", response_class=StreamingResponse)
async def download(db: Db, who: ExportContacts, export_id: Id, request: Request) -> StreamingResponse:
    """The file; one with personal data needs the right to read it, whoever asked for it."""
    export = await get(db, who, export_id)
    if export["state"] != TransferState.COMPLETED:
        raise Problem(409, "wrong-state", f"The export is {export['state']}; only a completed one has a file.")
    if not export["masked"]:
        require_scope(who, Scope.CONTACTS_READ_PERSONAL)
    kind = ExportFormat(export["format"])
    return StreamingResponse(
        _chunks(request, who, export_id),
        media_type=_MEDIA_TYPES[kind, ExportEncoding(export["encoding"])],
        headers={
            "Content-Length": str(export["size_bytes"]),
            **as_attachment(f"{export['what']}-{export_id}.{kind}"),
        },
    )


async def _chunks(request: Request, who: Principal, export_id: int) -> AsyncIterator[bytes]:
    number = 0
    while True:
        async with reading_as(request, who.tenant_id) as connection:
            chunk = await connection.fetchval(
                "SELECT content FROM export_chunks WHERE job_id = $1 AND number = $2", export_id, number
            )
        if chunk is None:
            return
        yield chunk
        number += 1
