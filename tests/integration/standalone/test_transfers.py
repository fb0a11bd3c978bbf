"""``hayabin import`` and ``hayabin export`` as people run them, against a served API."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import uvicorn
from click.testing import CliRunner

from hayabin.database.engine import Database
from services.api.app import make_app
from services.api.exports.runner import run_next_export
from services.api.imports.runner import run_next_import
from services.standalone.command import hayabin
from tests.integration.api.conftest import a_key, settings_of
from tests.support.instances import free_port
from tests.support.waiting import eventually

FILE = "メールアドレズ,氏名,会社\r\na@b.example,花子,サンプル商事\r\nbroken,x,y\r\nc@d.example,次郎,\r\n".encode(
    "cp932"
)


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


async def command(*arguments: str, url: str = "", key: str | None = None, said: str = "") -> tuple[int, bytes, str]:
    """Run the command in a thread, as it has a loop of its own; exit code, what it printed, what it complained of."""
    environment = {"HAYABIN_API_URL": url, "HAYABIN_API_KEY": key}
    done = await asyncio.to_thread(CliRunner().invoke, hayabin, arguments, input=said, env=environment)
    return done.exit_code, done.stdout_bytes, done.stderr


async def test_file_goes_in_and_comes_out_by_command(served: tuple[str, Database], tmp_path: Path) -> None:
    """Dry run, refusal, import with the rows that were left out, export; each says what it does."""
    url, database = served
    key = await a_key(database, "acme")
    people = tmp_path / "people.csv"
    people.write_bytes(FILE)

    async def contacts() -> int:
        return int(await database.pool.fetchval("SELECT count(*) FROM contacts"))

    code, printed, _ = await command("import", str(people), "--dry-run", url=url, key=key)
    assert (code, await contacts()) == (0, 0)
    for word in ("csv, cp932, delimiter ,", "メールアドレズ  →  email", "missing_at", "3 rows read", "dry run"):
        assert word in printed.decode(), printed.decode()
    code, printed, _ = await command("import", str(people), url=url, key=key, said="n\n")
    assert (code, await contacts()) == (1, 0)
    errors = tmp_path / "errors.csv"
    code, printed, complained = await command(
        "import", str(people), "--map", "会社=attribute:company", "--errors", str(errors), "--yes", url=url, key=key
    )
    assert (code, await contacts()) == (0, 2), complained
    assert "2 imported, 1 not usable" in printed.decode()
    assert "missing_at" in errors.read_text(encoding="utf-8-sig")
    target = tmp_path / "out.csv"
    wanted = ("--column", "email", "--column", "attribute:company", "-o")
    code, _, complained = await command("export", "contacts", *wanted, str(target), url=url, key=key)
    assert (code, sorted(path.name for path in tmp_path.iterdir())) == (
        0, ["errors.csv", "out.csv", "people-errors.csv", "people.csv"]
    )  # fmt: skip
    assert "a@b.example,サンプル商事" in target.read_text(encoding="utf-8-sig")
    masked = await a_key(database, "acme", "contacts:export")
    code, printed, complained = await command("export", "contacts", "-o", "-", url=url, key=masked)
    assert code == 0
    assert b"a@b.example" not in printed
    assert "masked" in complained


async def test_commands_say_what_is_wrong(served: tuple[str, Database], tmp_path: Path) -> None:
    """No key, a wrong key, nobody there, a list that is not there: a sentence and an exit code."""
    url, database = served
    people = tmp_path / "people.csv"
    people.write_bytes(FILE)
    code, _, complained = await command("import", str(people), url=url)
    assert (code, "HAYABIN_API_KEY" in complained) == (2, True)
    code, _, complained = await command("export", "contacts", url="http://127.0.0.1:9", key="x")
    assert (code, "127.0.0.1:9" in complained) == (1, True)
    code, _, complained = await command("export", "contacts", url=url, key="x")
    assert (code, "401" in complained) == (1, True)
    key = await a_key(database, "acme")
    code, _, complained = await command("import", str(people), "--list", "99", "--yes", url=url, key=key)
    assert (code, "no such list" in complained) == (1, True)
    assert await database.pool.fetchval("SELECT count(*) FROM contacts") == 0
