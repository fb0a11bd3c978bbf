"""Works off import jobs, one at a time in each scheduler.

Promises: a job whose worker died is begun anew by another one, with the same result (contacts are merged by address,
errors written anew); progress and heartbeat are written with each page; parsing happens in a thread.
Fails: a file that cannot be imported as a whole ends the job as ``failed`` with a sentence; database errors come
out and leave the job to be taken up again.
"""

import asyncio
import codecs
from collections.abc import Sequence

from hayabin.database.engine import Connection, Database, Pool
from hayabin.telemetry.logging import get_logger
from services.api.imports.csv_rows import BOM, Contact, CsvRows, FileRefused, RowError

PAGE_ROWS = 5000
STALE_S = 30.0
MAX_KEPT_ERRORS = 100_000

_CLAIM_SQL = """
UPDATE import_jobs SET state = 'running', started_at = COALESCE(started_at, now()), heartbeat_at = now(), rows_read = 0,
    rows_imported = 0, rows_invalid = 0
WHERE id = (SELECT id FROM import_jobs WHERE state = 'queued'
               OR (state = 'running' AND heartbeat_at < now() - make_interval(secs => $1))
            ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, tenant_id, list_id"""

_MERGE_SQL = """
WITH merged AS (
    INSERT INTO contacts (tenant_id, address, wire, address_key, name, locale, attributes)
    SELECT $1, * FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::jsonb[])
    ON CONFLICT (tenant_id, address_key) DO UPDATE SET
        name = CASE WHEN excluded.name = '' THEN contacts.name ELSE excluded.name END, locale = excluded.locale,
        attributes = contacts.attributes || excluded.attributes, updated_at = now()
    RETURNING id)
INSERT INTO list_members (list_id, contact_id) SELECT $2, id FROM merged WHERE $2::bigint IS NOT NULL
ON CONFLICT DO NOTHING"""


async def run_next_import(database: Database, instance: str) -> bool:
    """Take up a queued or abandoned job and finish it; False if there is none."""
    pool = database.pool
    job = await pool.fetchrow(_CLAIM_SQL, STALE_S)
    if job is None:
        return False
    log = get_logger().bind(import_id=job["id"], worker=instance)
    try:
        await _run(pool, job["id"], job["tenant_id"], job["list_id"])
    except FileRefused as refused:
        await pool.execute(
            "UPDATE import_jobs SET state = 'failed', error = $2, finished_at = now() WHERE id = $1",
            job["id"],
            str(refused),
        )
        log.info("import_refused")
    else:
        log.info("import_completed")
    await pool.execute("DELETE FROM import_chunks WHERE job_id = $1", job["id"])
    return True


async def _run(pool: Pool, job_id: int, tenant_id: int, list_id: int | None) -> None:
    await pool.execute("DELETE FROM import_errors WHERE job_id = $1", job_id)
    numbers = [r["number"] for r in await pool.fetch(
        "SELECT number FROM import_chunks WHERE job_id = $1 ORDER BY number", job_id)]  # fmt: skip
    encoding = await _encoding(pool, job_id, numbers)
    await pool.execute("UPDATE import_jobs SET encoding = $2 WHERE id = $1", job_id, encoding)
    reader = CsvRows("utf-8" if encoding.startswith("utf-8") else encoding)
    for number in numbers:
        chunk = await _chunk(pool, job_id, number)
        found = await asyncio.to_thread(reader.feed, chunk)
        for start in range(0, max(len(found), 1), PAGE_ROWS):
            await _write(pool, job_id, tenant_id, list_id, found[start : start + PAGE_ROWS])
    await _write(pool, job_id, tenant_id, list_id, await asyncio.to_thread(reader.finish))
    await pool.execute("UPDATE import_jobs SET state = 'completed', finished_at = now() WHERE id = $1", job_id)


async def _chunk(pool: Pool, job_id: int, number: int) -> bytes:
    content: bytes = await pool.fetchval(
        "SELECT content FROM import_chunks WHERE job_id = $1 AND number = $2", job_id, number
    )
    return content


async def _encoding(pool: Pool, job_id: int, numbers: Sequence[int]) -> str:
    """``utf-8-sig``, ``utf-8`` or ``cp932``: UTF-8 is believed only if all of the file is."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for place, number in enumerate(numbers):
            chunk = await _chunk(pool, job_id, number)
            if place == 0 and chunk.startswith(BOM):
                return "utf-8-sig"
            await asyncio.to_thread(decoder.decode, chunk, number == numbers[-1])
    except UnicodeDecodeError:
        return "cp932"
    return "utf-8"


async def _write(
    pool: Pool, job_id: int, tenant_id: int, list_id: int | None, found: Sequence[Contact | RowError]
) -> None:
    contacts = [item for item in found if isinstance(item, Contact)]
    errors = [item for item in found if isinstance(item, RowError)]
    async with pool.acquire() as connection, connection.transaction():
        await _merge(connection, tenant_id, list_id, contacts)
        await _keep_errors(connection, job_id, errors)
        await connection.execute(
            "UPDATE import_jobs SET rows_read = rows_read + $2, rows_imported = rows_imported + $3, "
            "rows_invalid = rows_invalid + $4, heartbeat_at = now() WHERE id = $1",
            job_id,
            len(found),
            len(contacts),
            len(errors),
        )


async def _merge(connection: Connection, tenant_id: int, list_id: int | None, contacts: list[Contact]) -> None:
    last = {contact.key: contact for contact in contacts}  # the same address twice: the later row wins
    rows = sorted(last.values(), key=lambda contact: contact.key)
    if rows:
        await connection.execute(
            _MERGE_SQL,
            tenant_id,
            list_id,
            [c.address for c in rows],
            [c.wire for c in rows],
            [c.key for c in rows],
            [c.name for c in rows],
            [c.locale for c in rows],
            [c.attributes for c in rows],
        )


async def _keep_errors(connection: Connection, job_id: int, errors: list[RowError]) -> None:
    if not errors:
        return
    kept = await connection.fetchval("SELECT count(*) FROM import_errors WHERE job_id = $1", job_id)
    some = errors[: max(MAX_KEPT_ERRORS - kept, 0)]
    await connection.execute(
        "INSERT INTO import_errors (job_id, line, column_name, reason, value) "
        "SELECT $1, * FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[]) ON CONFLICT DO NOTHING",
        job_id,
        [error.line for error in some],
        [error.column for error in some],
        [error.reason for error in some],
        [error.value for error in some],
    )
