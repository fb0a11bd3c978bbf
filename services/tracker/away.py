"""Which errors mean that Postgres is away, or had no time, rather than that a statement is wrong.

Promises: after one of these nothing was changed, or what was changed is found again by the next try.
"""

from typing import Final

import asyncpg
from asyncpg.exceptions import InsufficientResourcesError, OperatorInterventionError, TransactionRollbackError

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
