"""Files of imports and exports that hold the person, and what earlier jobs about the person left.

Promises: see ``erase_papers``. A file is read chunk by chunk; one transaction takes one file.
Fails: database errors come out; that file is looked at again.
"""

from typing import Final

from services.api.people_jobs.erase_papers import IMPORT_ERASED, mentioned_in_chunks
from services.api.people_jobs.jobs import Became, Job
from services.api.people_jobs.mentions import Mentions
from services.api.people_jobs.person import Person

_IMPORTS_SQL = """
SELECT j.id, j.state FROM import_jobs j
WHERE j.tenant_id = $1 AND EXISTS (SELECT 1 FROM import_chunks c WHERE c.job_id = j.id) ORDER BY j.id"""
_IMPORT_CHUNK_SQL = "SELECT content FROM import_chunks WHERE job_id = $1 AND number = $2"
_IMPORT_ENDS_SQL = """
UPDATE import_jobs SET state = 'failed', error = $2, finished_at = now()
WHERE id = $1 AND state IN ('preview', 'queued')"""
_EXPORTS_SQL = """
SELECT j.id, j.state FROM export_jobs j
WHERE j.tenant_id = $1 AND EXISTS (SELECT 1 FROM export_chunks c WHERE c.job_id = j.id) ORDER BY j.id"""
_EXPORT_CHUNK_SQL = "SELECT content FROM export_chunks WHERE job_id = $1 AND number = $2"
_EXPORT_EXPIRES_SQL = (
    "UPDATE export_jobs SET state = 'expired', expires_at = now() WHERE id = $1 AND state = 'completed'"
)
_PLACES_SQL = """
SELECT id, state IN ('queued', 'running') AS open FROM import_jobs WHERE tenant_id = $1 AND merged_through = ANY($2)"""
_FORGET_PLACE_SQL = "UPDATE import_jobs SET merged_through = '' WHERE id = $1"
_NAMES_SQL = (
    "SELECT id, filename, error FROM import_jobs WHERE tenant_id = $1 AND filename || COALESCE(error, '') <> ''"
)
_FORGET_NAME_SQL = "UPDATE import_jobs SET filename = $2, error = $3 WHERE id = $1"
_FILTERS_SQL = "SELECT id, filter::text AS filter FROM export_jobs WHERE tenant_id = $1 AND filter <> '{}'"
_FORGET_FILTER_SQL = "UPDATE export_jobs SET filter = '{}' WHERE id = $1"
ERASED: Final = "[erased]"
_OPEN_COPIES_SQL = """
SELECT true FROM person_jobs
WHERE tenant_id = $1 AND kind = 'export' AND state IN ('queued', 'running') AND address_key = ANY($2) LIMIT 1"""
_COPIES_SQL = "SELECT id FROM person_jobs WHERE tenant_id = $1 AND result IS NOT NULL ORDER BY id"
_COPY_SQL = "SELECT result FROM person_jobs WHERE id = $1"
_DROP_COPY_SQL = "UPDATE person_jobs SET result = NULL, expires_at = NULL WHERE id = $1"
_REASONS_SQL = "SELECT id, reason FROM person_jobs WHERE tenant_id = $1 AND id <> $2 AND position('@' IN reason) > 0"
_FORGET_REASON_SQL = "UPDATE person_jobs SET reason = $2 WHERE id = $1"
_RUNNING: Final = frozenset({"running"})


async def forget_imports(job: Job) -> bool:
    """Uploaded files; true while one that holds the person is being imported."""
    mentions = Person.from_notes(job.tenant_id, job.notes).mentions()
    waits = False
    for row in await job.connection.fetch(_IMPORTS_SQL, job.tenant_id):
        if not await mentioned_in_chunks(job, _IMPORT_CHUNK_SQL, row["id"], mentions):
            continue
        if row["state"] in _RUNNING:
            waits = True
            continue
        await job.connection.execute(_IMPORT_ENDS_SQL, row["id"], IMPORT_ERASED)
        await job.run("import_chunks", Became.ERASED, "DELETE FROM import_chunks WHERE job_id = $1", row["id"])
    await _forget_names(job, mentions)
    return await _forget_places(job) or waits


async def _forget_places(job: Job) -> bool:
    """How far an import came is an address key; true while one that is under way is at the person's."""
    waits = False
    for row in await job.connection.fetch(_PLACES_SQL, job.tenant_id, job.notes["keys"]):
        if row["open"]:
            waits = True
        else:
            await job.run("import_jobs", Became.ANONYMISED, _FORGET_PLACE_SQL, row["id"])
    return waits


async def _forget_names(job: Job, mentions: Mentions) -> None:
    """What files were called, and what was said of them."""
    for row in await job.connection.fetch(_NAMES_SQL, job.tenant_id):
        if mentions.in_text(row["filename"]) or mentions.in_text(row["error"]):
            names = [
                None if text is None else mentions.without(text, ERASED) for text in (row["filename"], row["error"])
            ]
            await job.run("import_jobs", Became.ANONYMISED, _FORGET_NAME_SQL, row["id"], *names)
    for row in await job.connection.fetch(_FILTERS_SQL, job.tenant_id):
        if mentions.in_text(row["filter"]):
            await job.run("export_jobs", Became.ANONYMISED, _FORGET_FILTER_SQL, row["id"])


async def forget_exports(job: Job) -> bool:
    """Files to download; true while one is being written that has the person."""
    mentions = Person.from_notes(job.tenant_id, job.notes).mentions()
    waits = False
    for row in await job.connection.fetch(_EXPORTS_SQL, job.tenant_id):
        if not await mentioned_in_chunks(job, _EXPORT_CHUNK_SQL, row["id"], mentions):
            continue
        if row["state"] in _RUNNING:
            waits = True
            continue
        await job.connection.execute(_EXPORT_EXPIRES_SQL, row["id"])
        await job.run("export_chunks", Became.ERASED, "DELETE FROM export_chunks WHERE job_id = $1", row["id"])
    return await _drop_copies(job, mentions) or waits


async def _drop_copies(job: Job, mentions: Mentions) -> bool:
    """Copies of what is held about somebody that have the person in them; true while one of the person is made."""
    for row in await job.connection.fetch(_COPIES_SQL, job.tenant_id):
        if mentions.in_bytes(await job.connection.fetchval(_COPY_SQL, row["id"])):
            await job.run("person_jobs", Became.ERASED, _DROP_COPY_SQL, row["id"])
    for row in await job.connection.fetch(_REASONS_SQL, job.tenant_id, job.id):
        if mentions.in_text(row["reason"]):
            reason = mentions.without(row["reason"], ERASED)
            await job.run("person_jobs", Became.ANONYMISED, _FORGET_REASON_SQL, row["id"], reason)
    return bool(await job.connection.fetchval(_OPEN_COPIES_SQL, job.tenant_id, job.notes["keys"]))
