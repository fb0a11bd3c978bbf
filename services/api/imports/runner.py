"""Works off import jobs, one at a time in each worker.

Promises: a job belongs to one worker at a time (a session lock on the job, so it is free the moment its worker's
connection ends); a job whose worker died is read anew by the next one and merged from where it was, with the same
result. Tenants take turns: whoever has the fewest jobs under way, and had one last, waits longest behind nobody. A job
that was cancelled ends within a page; what was merged stays.
Fails: a file that cannot be imported as a whole ends the job as ``failed`` with a sentence; when the database is away,
full, or otherwise in trouble that passes (``AWAY``), that error comes out, the job stays as it is and is taken up
again; any other failure is logged and ends the job as ``failed``.
"""

from hayabin.database.engine import AWAY, Database
from hayabin.domain.transfer import IMPORT_TRANSITIONS, TransferState, leading_to
from hayabin.telemetry.logging import get_logger
from services.api.imports import staging
from services.api.imports.contact_rows import FileRefused
from services.api.imports.job import Cancelled, Job, job_of
from services.api.imports.run import run
from services.api.job_session import Queue, job_session

_CANDIDATES_SQL = """
WITH open AS (
    SELECT id, tenant_id, created_at, heartbeat_at, state = 'running' AS runs FROM import_jobs
    WHERE state IN ('queued', 'running')),
turns AS (
    SELECT o.id, o.created_at, o.heartbeat_at,
           (SELECT count(*) FROM open other WHERE other.tenant_id = o.tenant_id AND other.runs AND other.id <> o.id
            AND other.heartbeat_at > now() - interval '1 minute') AS beside,
           (SELECT max(started_at) FROM import_jobs before WHERE before.tenant_id = o.tenant_id AND before.id <> o.id)
           AS had_last
    FROM open o)
SELECT id FROM turns WHERE NOT $1 OR beside = 0
ORDER BY beside, had_last NULLS FIRST, COALESCE(heartbeat_at, created_at), id LIMIT 20"""

_CLAIM_SQL = """
UPDATE import_jobs SET state = 'running', started_at = COALESCE(started_at, now()), heartbeat_at = now(), rows_read = 0,
    rows_duplicate = 0, rows_invalid = 0, bytes_read = 0, people = 0
WHERE id = $1 AND state IN ('queued', 'running')
RETURNING id, tenant_id, list_id, format, encoding, delimiter, filename, mode, mapping, consent,
    dry_run, merged_through"""

_QUEUE = Queue(0x68627901 << 32, _CANDIDATES_SQL, _CLAIM_SQL)

_FAIL_SQL = """
UPDATE import_jobs SET state = 'failed', error = $2, finished_at = now() WHERE id = $1 AND state = ANY($3)"""


async def run_next_import(database: Database, instance: str, *, only_idle: bool = False) -> bool:
    """Take up a queued or abandoned job and finish it; False if there is none.

    ``only_idle``: only of tenants that have no other job under way, so that they do not wait for those who have.
    """
    async with job_session(database) as connection:
        row = await _QUEUE.claim(connection, only_idle)
        if row is None:
            return False
        job = job_of(connection, row)
        log = get_logger().bind(import_id=job.id, tenant_id=job.tenant_id, worker=instance)
        try:
            await run(job)
            log.info("import_completed")
        except FileRefused as refused:
            await _fail(job, str(refused))
            log.info("import_refused")
        except Cancelled:
            log.info("import_cancelled")
        except AWAY:
            raise
        except Exception:
            log.exception("import_broken")
            await _fail(job, "This is our fault, and it was logged. Ask your operator, then upload the file again.")
        finally:
            await _let_go(job)
    return True


async def _let_go(job: Job) -> None:
    if not job.connection.is_closed():
        await staging.end(job.connection)
        await _QUEUE.let_go(job.connection, job.id)


async def _fail(job: Job, error: str) -> None:
    await job.connection.execute(_FAIL_SQL, job.id, error, leading_to(IMPORT_TRANSITIONS, TransferState.FAILED))
    await job.connection.execute("DELETE FROM import_chunks WHERE job_id = $1", job.id)
