"""A served API with a worker behind it, and the command as people run it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import uvicorn
from click.testing import CliRunner
from structlog.testing import capture_logs

from hayabin.database.engine import Database
from services.api.app import make_app
from services.api.exports.runner import run_next_export
from services.api.imports.runner import run_next_import
from services.standalone.command import hayabin
from tests.integration.api.conftest import settings_of
from tests.support.instances import free_port
from tests.support.waiting import eventually


@pytest.fixture
async def served(database_url: str) -> AsyncIterator[tuple[str, Database]]:
    """The API on a port of this machine, and a worker behind it."""
    async with Database(database_url, name="test", size=10) as database:
        port = free_port()
        config = uvicorn.Config(make_app(settings_of(database_url), database), port=port, log_level="error")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        working = asyncio.create_task(_work(database))
        await eventually(_started(server), bool, every_s=0.01)
        with capture_logs():  # the commands are given this process's output
            yield f"http://127.0.0.1:{port}", database
        working.cancel()
        server.should_exit = True
        with contextlib.suppress(asyncio.CancelledError):
            await working
        await serving


def _started(server: uvicorn.Server) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return server.started

    return look


async def _work(database: Database) -> None:
    while True:
        await run_next_import(database, "test")
        await run_next_export(database, "test")
        await asyncio.sleep(0.05)


async def command(
    *arguments: str, url: str = "", key: str | None = None, said: str | bytes = ""
) -> tuple[int, bytes, str]:
    """Run the command in a thread, as it has a loop of its own; exit code, what it printed, what it complained of."""
    environment = {"HAYABIN_API_URL": url, "HAYABIN_API_KEY": key}
    done = await asyncio.to_thread(CliRunner().invoke, hayabin, arguments, input=said, env=environment)
    return done.exit_code, done.stdout_bytes, done.stderr
