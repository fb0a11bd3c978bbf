"""What a person does with an uploaded file: look at it, start it, stop it."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query

from hayabin.domain.transfer import IMPORT_TRANSITIONS, ImportMode, TransferState, leading_to
from services.api.access import Db, Principal, ReadContacts, Scope, WriteContacts
from services.api.forms import Id
from services.api.imports.contact_rows import FileRefused
from services.api.imports.file_form import HEAD_BYTES, FileForm, Said, Sniffer
from services.api.imports.header_mapping import Target, said
from services.api.imports.job_rows import COLUMNS, shown_job
from services.api.imports.options import (
    MAX_MAPPING_CHARS,
    StartForm,
    invalid_mapping,
    mapping_of,
    require_consent,
    require_mapping,
)
from services.api.imports.preview import Head, header_of, preview_of, suggested
from services.api.imports.vocabulary import vocabulary_of
from services.api.masking import masked_value, personal_names, shown
from services.api.problems import Problem, not_found
from services.api.routes.lists import require_list
from services.api.transaction import TransactionRoute

router = APIRouter(prefix="/v1/imports", tags=["imports"], route_class=TransactionRoute)
_JOB_SQL = "SELECT * FROM import_jobs WHERE id = $1 AND tenant_id = $2"
_START_SQL = f"""
UPDATE import_jobs SET state = 'queued', mapping = $3, mode = $4, list_id = $5, consent = $6, format = $7,
    encoding = $8, delimiter = $9, dry_run = $10, started_at = NULL, heartbeat_at = NULL, merged_through = '',
    people = 0, people_merged = 0, bytes_read = 0, rows_read = 0, rows_imported = 0, rows_duplicate = 0,
    rows_invalid = 0
WHERE id = $1 AND tenant_id = $2 RETURNING {COLUMNS}"""
_CANCEL_SQL = f"""
UPDATE import_jobs SET state = 'cancelled', finished_at = now() WHERE id = $1 AND tenant_id = $2 AND state = ANY($3)
RETURNING {COLUMNS}"""


@router.get("/{import_id}/preview", operation_id="previewImport")
async def preview(
    db: Db,
    who: ReadContacts,
    import_id: Id,
    mapping: Annotated[str, Query(max_length=MAX_MAPPING_CHARS, description="JSON: try this mapping")] = "",
) -> dict[str, Any]:
    """What an uploaded file seems to be: format, header, suggested mapping, and its first 100 rows as they are read."""
    job = await db.fetchrow(_JOB_SQL, import_id, who.tenant_id)
    if job is None:
        raise not_found("import")
    head = await _head(db, job)
    used = mapping_of(mapping) or job["mapping"]
    known = await vocabulary_of(db, who.tenant_id)
    found = await asyncio.to_thread(preview_of, head, _form(head, job, StartForm()), used, known)
    return {"id": job["id"], **await _masked(db, who, found)}


@router.post("/{import_id}/start", status_code=202, operation_id="startUploadedImport")
async def start(db: Db, who: WriteContacts, import_id: Id, form: StartForm) -> dict[str, Any]:
    """Import a file that was uploaded with `dry_run=true`, as its preview shows it or as you say."""
    job = await db.fetchrow(f"{_JOB_SQL} FOR UPDATE", import_id, who.tenant_id)
    if job is None:
        raise not_found("import")
    if job["state"] not in leading_to(IMPORT_TRANSITIONS, TransferState.QUEUED):
        raise Problem(409, "wrong-state", f"The import is {job['state']}; only one in `preview` can be started.")
    if form.list_id is not None:
        await require_list(db, who, form.list_id)
    head = await _head(db, job)
    file_form = _form(head, job, form)
    mapping = await _mapping_of(db, who, head, file_form, form.mapping or job["mapping"])
    consent = form.consent.stored() if form.consent else job["consent"]
    list_id = form.list_id or job["list_id"]
    subscribes = list_id is not None and form.mode is not ImportMode.UNSUBSCRIBE and not form.dry_run
    await require_consent(db, who, subscribes=subscribes, consent=consent, mapping=mapping)
    row = await db.fetchrow(
        _START_SQL, import_id, who.tenant_id, mapping, form.mode.value, list_id, consent, file_form.format.value,
        file_form.encoding.value, file_form.delimiter or None, form.dry_run,
    )  # fmt: skip
    return shown_job(row or {})


@router.post("/{import_id}/cancel", operation_id="cancelImport")
async def cancel(db: Db, who: WriteContacts, import_id: Id) -> dict[str, Any]:
    """Stop an import within a page of it; what was imported before stays, and `rows_imported` says how much."""
    row = await db.fetchrow(
        _CANCEL_SQL, import_id, who.tenant_id, leading_to(IMPORT_TRANSITIONS, TransferState.CANCELLED)
    )
    if row is None:
        state = await db.fetchval(
            "SELECT state FROM import_jobs WHERE id = $1 AND tenant_id = $2", import_id, who.tenant_id
        )
        if state is None:
            raise not_found("import")
        raise Problem(409, "wrong-state", f"The import is {state} already.")
    await db.execute("DELETE FROM import_chunks WHERE job_id = $1", import_id)
    return shown_job(row)


async def _head(db: Db, job: Any) -> Head:
    content = await db.fetchval("SELECT content FROM import_chunks WHERE job_id = $1 AND number = 0", job["id"])
    if content is None:
        raise Problem(409, "wrong-state", f"The import is {job['state']}, and its file is gone. Upload it again.")
    return Head(content, job["size_bytes"] <= HEAD_BYTES)


def _form(head: Head, job: Any, form: StartForm) -> FileForm:
    """What was found out of the whole file at the upload, where nobody says otherwise now."""
    if (form.format, form.encoding, form.delimiter) == (None, None, None) and job["format"]:
        return FileForm.of(job["format"], job["encoding"], job["delimiter"])
    known = FileForm.of(job["format"] or "csv", job["encoding"] or "utf-8", job["delimiter"])
    sniffer = Sniffer(Said(form.format or known.format, form.encoding or known.encoding, form.delimiter))
    sniffer.see(head.content)
    return sniffer.form()


async def _mapping_of(
    db: Db, who: Principal, head: Head, form: FileForm, mapping: dict[str, str] | None
) -> dict[str, str]:
    """The mapping that is used, held against the header."""
    known = await vocabulary_of(db, who.tenant_id)
    try:
        names = await asyncio.to_thread(header_of, head, form)
        if mapping is None:
            mapping = {one.column: one.target for one in await asyncio.to_thread(suggested, names, known)}
        if Target.EMAIL not in mapping.values():
            raise invalid_mapping(f"no column is mapped to `email`. The file has: {', '.join(names)[:300]}")
        require_mapping(mapping)
        if form.delimiter:
            said(names, mapping)
    except FileRefused as refused:
        raise invalid_mapping(str(refused)) from refused
    return mapping


async def _masked(db: Db, who: Principal, found: dict[str, Any]) -> dict[str, Any]:
    if who.may(Scope.CONTACTS_READ_PERSONAL):
        return found
    personal = await personal_names(db, who)
    rows = []
    for row in found["rows"]:
        contact = None if row["contact"] is None else shown(row["contact"], who, personal)
        error = None if row["error"] is None else {**row["error"], "value": masked_value(row["error"]["value"])}
        rows.append({"line": row["line"], "contact": contact, "error": error})
    return {**found, "rows": rows}
