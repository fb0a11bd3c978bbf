"""Jobs about one person: their rows, and who works on them.

Promises: a job belongs to one worker at a time (a session lock on the job, free the moment its worker's connection
ends); what a step did, its numbers and which step comes next are written in one transaction, so that a job whose
worker died goes on where it was. A job that is over holds no address any more.
Fails: database errors come out; the job stays as it is and is taken up again.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from hayabin.database.engine import Connection, Database

_LOCKS: Final = 0x68627902 << 32
"""Session locks of jobs are this number and the job's id."""

_CANDIDATES_SQL = """
SELECT id FROM person_jobs WHERE state IN ('queued', 'running') AND (not_before IS NULL OR not_before <= now())
ORDER BY COALESCE(heartbeat_at, created_at), id LIMIT 20"""

_CLAIM_SQL = """
UPDATE person_jobs SET state = 'running', started_at = COALESCE(started_at, now()), heartbeat_at = now()
WHERE id = $1 AND state IN ('queued', 'running')
RETURNING id, tenant_id, kind, step, address_key, hash, reason, notes, counts, created_at, started_at"""

_SAVE_SQL = """
UPDATE person_jobs SET step = $2, notes = $3, counts = $4, heartbeat_at = now(),
    not_before = now() + make_interval(secs => $5) WHERE id = $1"""

_FAIL_SQL = """
UPDATE person_jobs SET state = 'failed', error = $2, finished_at = now(), address_key = NULL, notes = '{}'
WHERE id = $1"""


class Kind(StrEnum):
    """What is done about the person."""

    ERASE = "erase"
    EXPORT = "export"


class Became(StrEnum):
    """What became of rows."""

    ERASED = "erased"
    ANONYMISED = "anonymised"


@dataclass(slots=True)
class Job:
    """A job in its worker's hands."""

    connection: Connection
    id: int
    tenant_id: int
    kind: Kind
    step: str
    address_key: str
    hash: bytes
    reason: str
    notes: dict[str, Any]
    counts: dict[str, dict[str, int]]
    created_at: datetime
    started_at: datetime
    waits_s: float = field(default=0.0)
    """How long until the same step makes sense again; 0: go on."""

    def count(self, table: str, became: Became, rows: int) -> None:
        """Add to the numbers of a table."""
        if rows:
            numbers = self.counts.setdefault(table, {})
            numbers[became] = numbers.get(became, 0) + rows

    async def run(self, table: str, became: Became, statement: str, *arguments: Any) -> int:
        """Execute a statement and add the rows that it changed to the numbers; returns how many."""
        status: str = await self.connection.execute(statement, *arguments)
        rows = int(status.rpartition(" ")[2])
        self.count(table, became, rows)
        return rows

    async def save(self, following: str) -> None:
        """Write what comes next; within the transaction of what was done."""
        self.step = following
        await self.connection.execute(_SAVE_SQL, self.id, following, self.notes, self.counts, self.waits_s)


@asynccontextmanager
async def session(database: Database) -> AsyncIterator[Connection]:
    """A connection that takes a lock of the session; where it may not have been given back, the session ends."""
    async with database.pool.acquire() as connection:
        try:
            yield connection
        except BaseException:
            connection.terminate()
            raise


async def claim(connection: Connection) -> Job | None:
    """The next job that nobody works on, locked for this session."""
    for candidate in await connection.fetch(_CANDIDATES_SQL):
        job_id: int = candidate["id"]
        if await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCKS | job_id):
            row = await connection.fetchrow(_CLAIM_SQL, job_id)
            if row is not None:
                return Job(connection, **{**dict(row), "kind": Kind(row["kind"])})
            await connection.fetchval("SELECT pg_advisory_unlock($1)", _LOCKS | job_id)  # finished meanwhile
    return None


async def let_go(job: Job) -> None:
    """Free a job for others."""
    if not job.connection.is_closed():
        await job.connection.fetchval("SELECT pg_advisory_unlock($1)", _LOCKS | job.id)


async def fail(job: Job, error: str) -> None:
    """End a job that cannot be done."""
    await job.connection.execute(_FAIL_SQL, job.id, error)


async def put_off(job: Job, wait_s: float, error: str) -> None:
    """Leave a job for later, and say why."""
    await job.connection.execute(
        "UPDATE person_jobs SET error = $2, not_before = now() + make_interval(secs => $3) WHERE id = $1",
        job.id,
        error,
        wait_s,
    )
