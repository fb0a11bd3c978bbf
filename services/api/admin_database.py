"""The database as ``hayabin admin`` meets it: that of HAYABIN_DATABASE_URL, for one piece of work.

Fails: with exit code 1 and a sentence that says what to do, never a traceback, where the database cannot be had.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg
import click
from pydantic import ValidationError

from hayabin.database.engine import STATEMENT_TIMEOUT_S, asyncpg_url
from hayabin.settings import DatabaseSettings

T = TypeVar("T")
CONNECT_S = 10.0


def database_url() -> str:
    """The database's URL.

    Raises: ClickException where it is not set.
    """
    try:
        return DatabaseSettings().database_url.get_secret_value()
    except ValidationError as error:
        raise click.ClickException("set HAYABIN_DATABASE_URL, such as postgresql://user@host/name") from error


def on_database(work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
    """Do some work on a connection to the database.

    Raises: ClickException where the database cannot be had or has no schema.
    """
    url = asyncpg_url(database_url())

    async def run() -> T:
        try:
            connection = await asyncpg.connect(url, timeout=CONNECT_S, command_timeout=STATEMENT_TIMEOUT_S)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise click.ClickException(f"the database of HAYABIN_DATABASE_URL cannot be had: {error!r}") from error
        try:
            return await work(connection)
        except asyncpg.UndefinedTableError as error:
            raise click.ClickException("the database has no schema: run `hayabin admin migrate`") from error
        finally:
            await connection.close()

    return asyncio.run(run())
