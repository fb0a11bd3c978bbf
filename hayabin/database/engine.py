"""Connections to Postgres: an asyncpg pool.

Promises: every statement has a time limit and every connection a name. ``Database`` waits for a server that is not
there yet (``database_waits`` in the log) and closes with the object. The server notices a process that is gone
(keepalives, ``client_connection_check_interval``) and ends its session, and with it its locks.
Fails: asyncpg's errors; those of ``AWAY`` say nothing of the request, only that the server cannot serve it now. A
server that refuses who we are ends the start with ``StartRefused``.
"""

import asyncio
import json
from types import TracebackType
from typing import Final, Self

import asyncpg

from hayabin.database.lending import borrowed
from hayabin.database.patience import StartRefused, patiently
from hayabin.telemetry.logging import get_logger

Pool = asyncpg.Pool
Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy

STATEMENT_TIMEOUT_S: Final = 60
CONNECT_TIMEOUT_S: Final = 10
CLOSE_S: Final = 5.0
HEALTHY_S: Final = 0.9
"""Twice this (waiting for a connection, then for its answer) is less than a readiness check may take."""

AWAY: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # "cannot switch to state": the connection ended in the middle of something
    asyncpg.OperatorInterventionError,  # starting up, shutting down, ended by an operator
    asyncpg.InsufficientResourcesError,  # disk, memory, connections
    asyncpg.PostgresSystemError,  # an I/O error of its disk
    asyncpg.ReadOnlySQLTransactionError,  # a standby that was not promoted
    asyncpg.TransactionRollbackError,  # serialization, deadlock
    asyncpg.LockNotAvailableError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InvalidCachedStatementError,  # the schema was migrated under a connection
    asyncpg.OutdatedSchemaCacheError,
)
"""The server's trouble, which passes: what was asked may be asked again."""

_WAITS_FOR = (OSError, TimeoutError, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError,
              asyncpg.InsufficientResourcesError)  # fmt: skip
_REFUSES_US = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)

_SESSION = {
    "jit": "off",
    "tcp_keepalives_idle": "20",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "client_connection_check_interval": "5s",
}
_LOOK_UPS = {
    **_SESSION,
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "plan_cache_mode": "force_custom_plan",
}
"""For who only looks rows up by id from arrays (gate, outcomes): on a table that grew since its last ANALYZE (a fresh
launch) the planner would read all of it for every batch, or compare all of it with each row of the batch; and it has to
see how long the arrays are."""


def asyncpg_url(url: str) -> str:
    """The URL as asyncpg wants it (``postgresql://``)."""
    return url.replace("postgresql+asyncpg://", "postgresql://", 1)


def sqlalchemy_url(url: str) -> str:
    """The URL as SQLAlchemy wants it (``postgresql+asyncpg://``)."""
    return asyncpg_url(url).replace("postgresql://", "postgresql+asyncpg://", 1)


async def _prepare(connection: asyncpg.Connection) -> None:
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")


async def _as_it_is(_connection: Connection) -> None:
    """Hand a connection on without a round trip.

    asyncpg rolls back what is open; nobody leaves settings, cursors or listeners behind (``SET LOCAL`` and locks of
    transactions only), and who takes a lock of the session gives it back.
    """


async def open_pool(url: str, *, name: str, size: int = 4, look_ups: bool = False) -> Pool:
    """An asyncpg pool of at most ``size`` connections; JSONB comes and goes as Python objects, JSON as text.

    ``look_ups``: for statements that look rows up by id from arrays, and nothing else.
    """
    return await asyncpg.create_pool(
        asyncpg_url(url),
        min_size=0,  # or asyncpg would try, each with a traceback, to keep one while the server is away
        init_size=1,
        max_size=size,
        init=_prepare,
        reset=_as_it_is,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=STATEMENT_TIMEOUT_S,
        server_settings={"application_name": name, **(_LOOK_UPS if look_ups else _SESSION)},
    )


class Database:
    """The pool of one process.

    Use as ``async with Database(url, name="api") as database``.
    """

    def __init__(self, url: str, *, name: str, size: int = 4, look_ups: bool = False) -> None:
        """Remember where; nothing is opened before ``__aenter__``. ``look_ups``: see ``open_pool``."""
        self._look_ups = look_ups
        self._url = url
        self._name = name
        self._size = size
        self._pool: Pool | None = None

    @property
    def pool(self) -> Pool:
        """The asyncpg pool."""
        if self._pool is None:
            raise RuntimeError("the database is not open")
        return self._pool

    async def healthy(self) -> bool:
        """Whether it answers, within the time of a readiness check; for ``Process.ready``."""
        async with borrowed(self.pool, wait_s=HEALTHY_S, within_s=HEALTHY_S) as loan:
            return bool(await loan.connection.fetchval("SELECT true"))

    async def _open(self) -> Pool:
        try:
            return await open_pool(self._url, name=self._name, size=self._size, look_ups=self._look_ups)
        except _REFUSES_US as error:
            raise StartRefused(
                f"the database refuses us: {error}. Look at the user, the password and the database's name in its URL"
            ) from error

    async def __aenter__(self) -> Self:
        self._pool = await patiently(self._open, "database_waits", _WAITS_FOR)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            async with asyncio.timeout(CLOSE_S):
                await self.pool.close()
        except AWAY as failure:  # the pool has ended its connections by force then
            get_logger().warning("database_close_failed", error=repr(failure))
