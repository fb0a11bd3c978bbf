"""A database session for a worker that holds a job by a lock of the session.

Promises: where the lock may not have been given back, the session ends: the pool hands connections on as they are, and
the next user would hold the job for ever. Fails: as the block does.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

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
