"""Connections to Postgres: one SQLAlchemy engine for everyday queries, one asyncpg pool for the bulk paths.

Promises: both speak asyncpg to the same URL, with a statement timeout and a name, and close with the object.
Fails: raises asyncpg's or SQLAlchemy's connection errors; callers treat them as temporary.
"""

import json
from types import TracebackType
from typing import Any, Self

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

Pool = asyncpg.Pool
Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy

STATEMENT_TIMEOUT_S = 60

_PLANNER = {"jit": "off"}
_LOOK_UPS = {**_PLANNER, "enable_mergejoin": "off", "enable_seqscan": "off"}
"""For who only looks rows up by id from arrays (gate, outcomes): on a table that grew since its last ANALYZE (a fresh
launch) the planner would read all of it for every batch, or compare all of it with each row of the batch."""


def asyncpg_url(url: str) -> str:
    """The URL as asyncpg wants it (``postgresql://``)."""
    return url.replace("postgresql+asyncpg://", "postgresql://", 1)


def sqlalchemy_url(url: str) -> str:
    """The URL as SQLAlchemy wants it (``postgresql+asyncpg://``)."""
    return asyncpg_url(url).replace("postgresql://", "postgresql+asyncpg://", 1)


async def _prepare(connection: asyncpg.Connection) -> None:
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")


async def open_pool(url: str, *, name: str, size: int = 4, look_ups: bool = False) -> Pool:
    """An asyncpg pool of at most ``size`` connections; JSONB comes and goes as Python objects, JSON as text.

    ``look_ups``: for statements that look rows up by id from arrays, and nothing else.
    """
    return await asyncpg.create_pool(
        asyncpg_url(url),
        min_size=1,
        max_size=size,
        init=_prepare,
        command_timeout=STATEMENT_TIMEOUT_S,
        server_settings={"application_name": name, **(_LOOK_UPS if look_ups else _PLANNER)},
    )


class Database:
    """Both doors to Postgres, for one process.

    Use as ``async with Database(url, name="api") as database``.
    """

    def __init__(self, url: str, *, name: str, size: int = 4, look_ups: bool = False) -> None:
        """Remember where; nothing is opened before ``__aenter__``. ``look_ups``: see ``open_pool``."""
        self._look_ups = look_ups
        self._url = url
        self._name = name
        self._size = size
        self._pool: Pool | None = None
        self._engine: AsyncEngine | None = None

    @property
    def pool(self) -> Pool:
        """The asyncpg pool, for bulk paths."""
        if self._pool is None:
            raise RuntimeError("the database is not open")
        return self._pool

    @property
    def engine(self) -> AsyncEngine:
        """The SQLAlchemy engine, for everyday queries."""
        if self._engine is None:
            raise RuntimeError("the database is not open")
        return self._engine

    async def __aenter__(self) -> Self:
        self._pool = await open_pool(self._url, name=self._name, size=self._size, look_ups=self._look_ups)
        self._engine = create_async_engine(
            sqlalchemy_url(self._url),
            pool_size=self._size,
            max_overflow=0,
            pool_pre_ping=True,
            connect_args={"server_settings": {"application_name": self._name, "jit": "off"}, "command_timeout": 60},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            await self._pool.close()
        if self._engine is not None:
            await self._engine.dispose()


def row_as_dict(row: Any) -> dict[str, Any]:
    """A SQLAlchemy row or asyncpg record as a plain dict."""
    mapping = getattr(row, "_mapping", row)
    return dict(mapping)
