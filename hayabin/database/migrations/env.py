"""Alembic's environment: synchronous entry, asyncpg underneath."""

import asyncio

from alembic import context
from sqlalchemy import Connection, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

from hayabin.database.engine import sqlalchemy_url
from hayabin.database.models import metadata

LOCK_TIMEOUT = "5s"  # a migration gives up rather than queue everybody behind it


def _run(connection: Connection) -> None:
    connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
    connection.execute(text("SELECT pg_advisory_lock(7246925)"))  # one migration at a time
    connection.commit()
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_type=True,
        compare_server_default=False,
        transaction_per_migration=True,  # the locks of one are not held while the next one fills columns
    )
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()


async def _online() -> None:
    url = context.config.get_main_option("sqlalchemy.url") or ""
    engine = create_async_engine(sqlalchemy_url(url), poolclass=pool.NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(_run)
    await engine.dispose()


asyncio.run(_online())
