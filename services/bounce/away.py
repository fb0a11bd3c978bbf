"""Postgres being away is temporary: the belt keeps the work meanwhile.

Promises: inside ``database_may_be_away`` an error that says nothing about the statement becomes ``TemporaryFailure``,
so that the consumer puts the message back; after one of these nothing was changed, or the next try finds it done.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg
from asyncpg.exceptions import InsufficientResourcesError, OperatorInterventionError, TransactionRollbackError

from hayabin.domain.errors import TemporaryFailure

DATABASE_AWAY: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,  # the connection or the pool is closing
    asyncpg.PostgresConnectionError,  # class 08
    OperatorInterventionError,  # class 57: shutting down, starting up, cancelled
    InsufficientResourcesError,  # class 53: too many connections, disk full
    TransactionRollbackError,  # class 40: deadlock, serialization
    asyncpg.ReadOnlySQLTransactionError,  # a replica that is not promoted yet
)


@contextmanager
def database_may_be_away() -> Iterator[None]:
    """Name the failure for the consumer.

    Raises:
        TemporaryFailure: Postgres is away or had no time.
    """
    try:
        yield
    except DATABASE_AWAY as error:
        raise TemporaryFailure("database_away", repr(error)) from error
