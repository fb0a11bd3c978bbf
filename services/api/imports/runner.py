"""Works off import jobs, one at a time in each scheduler.

Promises: a job belongs to one worker at a time (a session lock on the job, so it is free the moment its worker's
connection ends); a job whose worker died is begun anew by the next one with the same result; progress and heartbeat
are written with each page; parsing happens in a thread, page by page, the next one while this one is written.
Fails: a file that cannot be imported as a whole ends the job as ``failed`` with a sentence; when the database is away,
full, or otherwise in trouble that passes (``AWAY``), that error comes out, the job stays as it is and is taken up
again; any other failure is logged and ends the job as ``failed``.
"""

import asyncio
import codecs
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from hayabin.database.engine import AWAY, Connection, Database
from hayabin.telemetry.logging import get_logger
from services.api.imports import staging
from services.api.imports.csv_rows import Contact, CsvRows, FileRefused, RowError
from services.api.imports.row_cutter import BOM

SLICE_BYTES = 512 * 1024
"""What is parsed at a time; bounds the rows in memory: those of two such parts."""
MAX_KEPT_ERRORS = 100_000
_LOCKS = 0x68627901 << 32
"""Session locks of jobs are this number and the job's id."""
_CANDIDATES_SQL = """
SELECT id FROM import_jobs WHERE state IN ('queued', 'running')
ORDER BY COALESCE(heartbeat_at, created_at), id LIMIT 20"""

_CLAIM_SQL = """
UPDATE import_jobs SET state = 'running', started_at = COALESCE(started_at, now()), heartbeat_at = now(), rows_read = 0,
    rows_imported = 0, rows_duplicate = 0, rows_invalid = 0
WHERE id = $1 AND state IN ('queued', 'running') RETURNING tenant_id, list_id"""

_PROGRESS_SQL = """
UPDATE import_jobs SET rows_read = rows_read + $2, rows_invalid = rows_invalid + $3, rows_imported = rows_imported + $4,
    heartbeat_at = now() WHERE id = $1"""

_COMPLETE_SQL = """
UPDATE import_jobs SET state = 'completed', finished_at = now(), heartbeat_at = now(),
    rows_duplicate = rows_read - rows_invalid - rows_imported WHERE id = $1"""


@dataclass(frozen=True, slots=True)
class _Job:
    connection: Connection
    id: int
    target: staging.Target


async def run_next_import(database: Database, instance: str) -> bool:
    """Take up a queued or abandoned job and finish it; False if there is none."""
    async with _session(database) as connection:
        job = await _claim(connection)
        if job is None:
            return False
        log = get_logger().bind(import_id=job.id, tenant_id=job.target.tenant_id, worker=instance)
        try:
            await _run(job)
            log.info("import_completed")
        except FileRefused as refused:
            await _fail(job, str(refused))
            log.info("import_refused")
        except AWAY:
            raise
        except Exception:
            log.exception("import_broken")
            await _fail(job, "This is our fault, and it was logged. Ask your operator, then upload the file again.")
        finally:
            await _let_go(job)
    return True


@asynccontextmanager
async def _session(database: Database) -> AsyncIterator[Connection]:
    """A connection that takes a lock of the session; where it may not have been given back, the session ends.

    The pool hands connections on as they are: the next user would hold the job for ever.
    """
    async with database.pool.acquire() as connection:
        try:
            yield connection
        except BaseException:
            connection.terminate()
            raise


async def _claim(connection: Connection) -> _Job | None:
    for candidate in await connection.fetch(_CANDIDATES_SQL):
        job_id: int = candidate["id"]
        if await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCKS | job_id):
            row = await connection.fetchrow(_CLAIM_SQL, job_id)
            if row is not None:
                return _Job(connection, job_id, staging.Target(row["tenant_id"], row["list_id"]))
            await connection.fetchval("SELECT pg_advisory_unlock($1)", _LOCKS | job_id)  # finished meanwhile
    return None


async def _let_go(job: _Job) -> None:
    if not job.connection.is_closed():
        await staging.end(job.connection)
        await job.connection.fetchval("SELECT pg_advisory_unlock($1)", _LOCKS | job.id)


async def _fail(job: _Job, error: str) -> None:
    await job.connection.execute(
        "UPDATE import_jobs SET state = 'failed', error = $2, finished_at = now() WHERE id = $1", job.id, error
    )
    await job.connection.execute("DELETE FROM import_chunks WHERE job_id = $1", job.id)


async def _run(job: _Job) -> None:
    await job.connection.execute("DELETE FROM import_errors WHERE job_id = $1", job.id)
    await staging.begin(job.connection)
    encoding = await _encoding(job)
    await job.connection.execute("UPDATE import_jobs SET encoding = $2 WHERE id = $1", job.id, encoding)
    reader = CsvRows("utf-8" if encoding.startswith("utf-8") else encoding)
    await _stage(job, reader)
    for page in await staging.order(job.connection):
        async with job.connection.transaction():
            rows = await staging.merge(job.connection, job.target, page, locales=reader.has_locales)
            await job.connection.execute(_PROGRESS_SQL, job.id, 0, 0, rows)
    async with job.connection.transaction():
        await job.connection.execute(_COMPLETE_SQL, job.id)
        await job.connection.execute("DELETE FROM import_chunks WHERE job_id = $1", job.id)


async def _stage(job: _Job, reader: CsvRows) -> None:
    kept = 0
    ahead: asyncio.Task[list[Contact | RowError]] | None = None
    try:
        async for part in _slices(job):
            found = [] if ahead is None else await ahead
            ahead = asyncio.create_task(asyncio.to_thread(reader.feed, part))
            kept += await _keep(job, found, MAX_KEPT_ERRORS - kept)
        found = [] if ahead is None else await ahead
    finally:
        if ahead is not None:
            ahead.cancel()
    kept += await _keep(job, found, MAX_KEPT_ERRORS - kept)
    await _keep(job, await asyncio.to_thread(reader.finish), MAX_KEPT_ERRORS - kept)


async def _slices(job: _Job) -> AsyncIterator[bytes]:
    """The file again, in small parts."""
    number = 0
    while True:
        chunk: bytes | None = await job.connection.fetchval(
            "SELECT content FROM import_chunks WHERE job_id = $1 AND number = $2", job.id, number
        )
        if chunk is None:
            return
        for start in range(0, len(chunk), SLICE_BYTES):
            yield chunk[start : start + SLICE_BYTES]
        number += 1


async def _encoding(job: _Job) -> str:
    """``utf-8-sig``, ``utf-8`` or ``cp932``: UTF-8 is believed only if all of the file is."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    first = True
    try:
        async for part in _slices(job):
            if first and part.startswith(BOM):
                return "utf-8-sig"
            first = False
            decoder.decode(part)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return "cp932"
    return "utf-8"


async def _keep(job: _Job, found: Sequence[Contact | RowError], room: int) -> int:
    """Stage contacts, write errors down (``room`` of them), say how far it is; returns the errors written."""
    if not found:
        return 0
    contacts = [item for item in found if isinstance(item, Contact)]
    errors = [item for item in found if isinstance(item, RowError)]
    some = errors[: max(room, 0)]
    if contacts:
        await staging.add(job.connection, contacts)
    async with job.connection.transaction():
        if some:
            await job.connection.execute(
                "INSERT INTO import_errors (job_id, line, column_name, reason, value) "
                "SELECT $1, * FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[]) ON CONFLICT DO NOTHING",
                job.id,
                [error.line for error in some],
                [error.column for error in some],
                [error.reason for error in some],
                [error.value for error in some],
            )
        await job.connection.execute(_PROGRESS_SQL, job.id, len(found), len(errors), 0)
    return len(some)
