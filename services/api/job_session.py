"""A database session for a worker that holds a job by a lock of the session, and how it comes to one.

Promises: a job belongs to one worker, and is free the moment that its worker's connection ends. Where the lock may not
have been given back, the session ends: the pool hands connections on as they are, and the next user would hold the job
for ever. Fails: as the block does.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from hayabin.database.engine import Connection, Database


@asynccontextmanager
async def job_session(database: Database) -> AsyncIterator[Connection]:
    """A connection for the length of a job."""
    async with database.pool.acquire() as connection:
        try:
            yield connection
        except BaseException:
            connection.terminate()
            raise


@dataclass(frozen=True, slots=True)
class Queue:
    """Jobs of one kind."""

    locks: int
    """Session locks of jobs are this number and the job's id."""
    candidates_sql: str
    """Ids of jobs that may be taken up, the one whose turn it is first."""
    claim_sql: str
    """Takes up the job ``$1`` if that may still be done; gives its row."""

    async def claim(self, connection: Connection, *arguments: object) -> Any:
        """The row of a job that is the worker's from now on, or None; ``arguments``: those of the candidates."""
        for candidate in await connection.fetch(self.candidates_sql, *arguments):
            if await connection.fetchval("SELECT pg_try_advisory_lock($1)", self.locks | candidate["id"]):
                row = await connection.fetchrow(self.claim_sql, candidate["id"])
                if row is not None:
                    return row
                await self.let_go(connection, candidate["id"])  # finished meanwhile
        return None

    async def let_go(self, connection: Connection, job_id: int) -> None:
        """Give the lock of a job back."""
        await connection.fetchval("SELECT pg_advisory_unlock($1)", self.locks | job_id)
