"""Works off export jobs, one at a time in each worker.

Promises: rows come through a cursor of the server, in one snapshot (REPEATABLE READ), a batch at a time, so memory is
bounded whatever is exported; the file is kept in chunks, for ``KEPT_DAYS``, and has at most ``MAX_BYTES``. A job
belongs to one worker (a lock of its session); one whose worker died is written anew; a cancelled one ends in a batch.
Fails: a job that cannot be done ends as ``failed`` with a sentence; trouble of the database that passes (``AWAY``)
comes out, and the job is taken up again.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from hayabin.database import segments
from hayabin.database.engine import AWAY, Connection, Database, Pool
from hayabin.database.segment_compiling import Compiling, Parameters
from hayabin.database.segment_sql import condition
from hayabin.domain.transfer import EXPORT_TRANSITIONS, ExportSubject, TransferState, leading_to
from hayabin.telemetry.logging import get_logger
from services.api.exports.masked_rows import masked_row
from services.api.exports.subjects import SEGMENT, SUBJECTS, Subject
from services.api.exports.table import ExportEncoding, ExportFormat, Layout
from services.api.job_session import Queue, job_session

KEPT_DAYS: Final = 7
MAX_BYTES: Final = 1024**3
CHUNK_BYTES: Final = 1024 * 1024
BATCH_ROWS: Final = 1000

_CANDIDATES_SQL = """
SELECT e.id FROM export_jobs e WHERE e.state IN ('queued', 'running')
ORDER BY (SELECT count(*) FROM export_jobs o WHERE o.tenant_id = e.tenant_id AND o.state = 'running' AND o.id <> e.id),
    (SELECT max(o.started_at) FROM export_jobs o WHERE o.tenant_id = e.tenant_id AND o.id <> e.id) NULLS FIRST, e.id
LIMIT 20"""

_CLAIM_SQL = """
UPDATE export_jobs SET state = 'running', started_at = COALESCE(started_at, now()), heartbeat_at = now(), rows = 0,
    size_bytes = 0, characters_replaced = 0
WHERE id = $1 AND state IN ('queued', 'running')
RETURNING id, tenant_id, what, filter, columns, format, encoding, masked"""

_QUEUE: Final = Queue(0x68627902 << 32, _CANDIDATES_SQL, _CLAIM_SQL)

_PROGRESS_SQL = """
UPDATE export_jobs SET rows = rows + $2, size_bytes = size_bytes + $3, characters_replaced = characters_replaced + $4,
    heartbeat_at = now() WHERE id = $1 AND state = 'running' RETURNING true"""

_COMPLETE_SQL = """
UPDATE export_jobs SET state = 'completed', finished_at = now(), expires_at = now() + make_interval(days => $2)
WHERE id = $1 AND state = 'running' RETURNING true"""

_FAIL_SQL = "UPDATE export_jobs SET state = 'failed', error = $2, finished_at = now() WHERE id = $1 AND state = ANY($3)"


class _Cancelled(Exception):
    """Somebody cancelled the job."""


class _TooLarge(Exception):
    """The file would have more than ``MAX_BYTES``."""


@dataclass(slots=True)
class _File:
    """What is written of a job; ``pool`` is for its chunks, whose transactions are not the snapshot's."""

    pool: Pool
    job_id: int
    layout: Layout
    size_bytes: int = 0
    _buffer: bytearray = field(default_factory=bytearray)
    _number: int = 0

    async def begin(self) -> None:
        await self.pool.execute("DELETE FROM export_chunks WHERE job_id = $1", self.job_id)
        await self._append(0, self.layout.opening(), 0)

    async def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        content, replaced = await asyncio.to_thread(self.layout.rows, rows)
        await self._append(len(rows), content, replaced)

    async def end(self) -> None:
        async with self.pool.acquire() as connection, connection.transaction():
            if self._buffer:
                await self._keep(connection, bytes(self._buffer))
            if not await connection.fetchval(_COMPLETE_SQL, self.job_id, KEPT_DAYS):
                raise _Cancelled

    async def _append(self, rows: int, content: bytes, replaced: int) -> None:
        self.size_bytes += len(content)
        if self.size_bytes > MAX_BYTES:
            raise _TooLarge
        self._buffer += content
        async with self.pool.acquire() as connection, connection.transaction():
            while len(self._buffer) >= CHUNK_BYTES:
                await self._keep(connection, bytes(self._buffer[:CHUNK_BYTES]))
                del self._buffer[:CHUNK_BYTES]
            if not await connection.fetchval(_PROGRESS_SQL, self.job_id, rows, len(content), replaced):
                raise _Cancelled

    async def _keep(self, connection: Connection, chunk: bytes) -> None:
        await connection.execute("INSERT INTO export_chunks VALUES ($1, $2, $3)", self.job_id, self._number, chunk)
        self._number += 1


async def run_next_export(database: Database, instance: str) -> bool:
    """Take up a queued or abandoned job and finish it; False if there is none."""
    async with job_session(database) as connection:
        job = await _QUEUE.claim(connection)
        if job is None:
            return False
        log = get_logger().bind(export_id=job["id"], tenant_id=job["tenant_id"], worker=instance)
        try:
            await _run(database.pool, connection, job)
            log.info("export_completed")
        except _Cancelled:
            log.info("export_cancelled")
        except _TooLarge:
            await _fail(connection, job["id"], "The file would be larger than 1 GiB. Export fewer columns, or a part.")
        except (segments.SegmentMissing, segments.SegmentTooDeep):
            await _fail(connection, job["id"], "The segment is gone, or names one that is. Ask again with another.")
        except AWAY:
            raise
        except Exception:
            log.exception("export_broken")
            await _fail(connection, job["id"], "This is our fault, and it was logged. Ask your operator.")
        await _QUEUE.let_go(connection, job["id"])
    return True


async def _run(pool: Pool, connection: Connection, job: Mapping[str, Any]) -> None:
    subject = SUBJECTS[ExportSubject(job["what"])]
    layout = Layout(job["columns"], ExportFormat(job["format"]), ExportEncoding(job["encoding"]))
    file = _File(pool, job["id"], layout)
    await file.begin()
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        personal = await _personal_names(connection, job["tenant_id"])
        parameters = Parameters([job["tenant_id"], *subject.parameters(job["filter"])])
        narrowed = await _narrowed(connection, job, parameters)
        cursor = await connection.cursor(subject.statement(job["columns"], narrowed), *parameters.values)
        while rows := await cursor.fetch(BATCH_ROWS):
            await file.write(_as_seen(subject, rows, personal, masked=job["masked"]))
    await file.end()


async def _narrowed(connection: Connection, job: Mapping[str, Any], parameters: Parameters) -> str:
    """The condition of a segment, where the filter names one."""
    if SEGMENT not in job["filter"]:
        return ""
    loaded = await segments.stored(connection, job["tenant_id"], job["filter"][SEGMENT])
    now = await segments.moment(connection, job["tenant_id"])
    return condition(loaded.rule, Compiling(parameters, "$1::bigint", now, loaded.nested))


def _as_seen(subject: Subject, rows: Sequence[Any], personal: frozenset[str], *, masked: bool) -> Sequence[Any]:
    if not masked:
        return rows
    kinds = subject.kinds()
    return [masked_row(row, kinds, personal) for row in rows]


async def _personal_names(connection: Connection, tenant_id: int) -> frozenset[str]:
    rows = await connection.fetch("SELECT name FROM attribute_definitions WHERE tenant_id = $1 AND personal", tenant_id)
    return frozenset(row["name"] for row in rows)


async def _fail(connection: Connection, job_id: int, error: str) -> None:
    await connection.execute(_FAIL_SQL, job_id, error, leading_to(EXPORT_TRANSITIONS, TransferState.FAILED))
    await connection.execute("DELETE FROM export_chunks WHERE job_id = $1", job_id)
