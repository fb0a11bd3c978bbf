"""What is done with a job: read, stage, sort, merge; or, in a dry run, read alone.

Promises: parsing happens in a thread, part by part, the next one while this one is written; progress and a sign of life
are written with each part and page, and so a cancelled job is noticed. Merging goes on after the last page that was
merged before.
Fails: ``FileRefused`` for the file as a whole, ``Cancelled``, database errors.
"""

import asyncio
from collections.abc import Sequence

from services.api.imports import staging
from services.api.imports.contact_rows import Contact, RowError
from services.api.imports.file_form import FileForm, Said, Sniffer
from services.api.imports.file_reader import Rows, reader_of
from services.api.imports.header_mapping import Target as ColumnTarget
from services.api.imports.job import Job
from services.api.imports.merging import Target, merge
from services.api.imports.vocabulary import vocabulary_of


async def run(job: Job) -> None:
    """Do it from wherever it is."""
    await job.forget_reading()
    form = job.form or await _find_out(job)
    reader = reader_of(form, job.mapping, await vocabulary_of(job.connection, job.tenant_id))
    if not job.dry_run:
        await staging.begin(job.connection)
    await _read(job, reader)
    if not job.dry_run:
        await job.note_people(await staging.order(job.connection))
        await _merge(job, reader)
    await job.note_end()


async def _find_out(job: Job) -> FileForm:
    sniffer = Sniffer(Said(filename=job.filename))
    async for part in job.slices():
        sniffer.see(part)
    form = sniffer.form()
    await job.note_form(form)
    return form


async def _read(job: Job, reader: Rows) -> None:
    ahead: asyncio.Task[list[Contact | RowError]] | None = None
    size_bytes = 0
    try:
        async for part in job.slices():
            found = [] if ahead is None else await ahead
            ahead = asyncio.create_task(asyncio.to_thread(reader.feed, part))
            await _keep(job, reader, found, size_bytes)
            size_bytes = len(part)
        found = [] if ahead is None else await ahead
    finally:
        if ahead is not None:
            ahead.cancel()
    await _keep(job, reader, found, size_bytes)
    await _keep(job, reader, await asyncio.to_thread(reader.finish), 0)


async def _keep(job: Job, reader: Rows, found: Sequence[Contact | RowError], size_bytes: int) -> None:
    """Stage contacts, write errors down, say how far it is."""
    if not found and not size_bytes:
        return
    errors = [item for item in found if isinstance(item, RowError)]
    contacts = [item for item in found if isinstance(item, Contact)]
    if contacts and not job.dry_run:
        await staging.add(job.connection, contacts, has_more=bool(reader.says - {ColumnTarget.LOCALE}))
    await job.note_read(len(found), errors, size_bytes)


async def _merge(job: Job, reader: Rows) -> None:
    target = Target(
        tenant_id=job.tenant_id, list_id=job.list_id, mode=job.mode, evidence=job.evidence(),
        says=reader.says - {ColumnTarget.CONSENTED_AT}, has_moments=ColumnTarget.CONSENTED_AT in reader.says,
        keeps_history=await _is_anybody_there(job),
    )  # fmt: skip
    for page in await staging.pages(job.connection, job.merged_through):
        async with job.connection.transaction():
            await job.note_merged(await merge(job.connection, target, page))


async def _is_anybody_there(job: Job) -> bool:
    """Whether the tenant had a contact before this job."""
    found: bool = await job.connection.fetchval(
        "SELECT EXISTS (SELECT 1 FROM contacts WHERE tenant_id = $1)", job.tenant_id
    )
    return found
