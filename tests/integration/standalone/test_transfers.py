"""``hayabin import`` and ``hayabin export`` as people run them, against a served API."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable
from pathlib import Path

from hayabin.database.engine import Database
from tests.integration.api.conftest import a_key
from tests.integration.standalone.conftest import command
from tests.support.waiting import eventually

FILE = "メールアドレズ,氏名,会社\r\na@b.example,花子,サンプル商事\r\nbroken,x,y\r\nc@d.example,次郎,\r\n".encode(
    "cp932"
)


async def test_file_goes_in_and_comes_out_by_command(served: tuple[str, Database], tmp_path: Path) -> None:
    """Dry run, refusal, import with the rows that were left out, export; each says what it does."""
    url, database = served
    key = await a_key(database, "acme")
    people = tmp_path / "people.csv"
    people.write_bytes(FILE)
    strange = Path(os.fsdecode(bytes(tmp_path) + b"/\x8d.csv"))  # a name in CP932
    strange.write_bytes(FILE)

    async def contacts() -> int:
        return int(await database.pool.fetchval("SELECT count(*) FROM contacts"))

    code, printed, _ = await command("import", str(people), "--dry-run", url=url, key=key)
    assert (code, await contacts()) == (0, 0)
    for word in ("csv, cp932, delimiter ,", "メールアドレズ  →  email", "missing_at", "3 rows read", "dry run"):
        assert word in printed.decode(), printed.decode()
    code, printed, _ = await command("import", str(strange), "--map", "会社=email", url=url, key=key, said="n\n")
    assert (code, await contacts()) == (1, 0)
    assert "会社  →  email" in printed.decode()
    assert "line 2: 会社 missing_at" in printed.decode()
    assert "メールアドレズ  →  skip" in printed.decode()
    errors = tmp_path / "errors.csv"
    code, printed, complained = await command(
        "import", str(people), "--map", "会社=attribute:company", "--errors", str(errors), "--yes", url=url, key=key
    )
    assert (code, await contacts()) == (0, 2), complained
    assert "2 imported, 1 not usable" in printed.decode()
    assert "missing_at" in errors.read_text(encoding="utf-8-sig")
    strange.unlink()
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
    assert await files_kept(database) == 0
    os.mkfifo(tmp_path / "pipe")
    for words, wrong in (
        ((str(people), "--map", "email"), "--map takes COLUMN=TARGET"),
        ((str(people), "--consent-source", "fair"), "say --consent-basis"),
        ((str(tmp_path / "pipe"),), "a regular file"),
    ):
        code, _, complained = await command("import", *words, "--yes", url="http://127.0.0.1:9", key=key)
        assert (code, wrong in complained) == (2, True), complained
    people.write_text("email,a,a\na@b.example,1,2\n", encoding="utf-8")
    code, _, complained = await command("import", str(people), "--dry-run", url=url, key=key)
    assert (code, "Every column needs a name of its own" in complained) == (1, True), complained
    for wrong in ("", "s3cret\r\n x", "鍵"):
        code, _, complained = await command("export", "contacts", url=url, key=wrong)
        assert (code, "Set HAYABIN_API_KEY" in complained, "s3cret" in complained) == (2, True, False), complained
    nowhere = str(tmp_path / "none" / "x.csv")
    code, _, complained = await command("export", "contacts", "-o", nowhere, url=url, key=key)
    assert (code, f"{nowhere}.part: No such file" in complained) == (1, True), complained
    code, _, complained = await command("export", "contacts", url="http://x:y", key=key)
    assert (code, "http://x:y: Invalid port" in complained) == (1, True), complained


async def files_kept(database: Database) -> int:
    """Uploads that the API still has."""
    return int(await database.pool.fetchval("SELECT count(DISTINCT job_id) FROM import_chunks"))


def _state_of(process: Process) -> Callable[[], Awaitable[str]]:
    async def look() -> str:
        """``S``: it sleeps, so it waits for the answer; a signal just before that would not end the waiting."""
        return Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii").rpartition(") ")[2][0]

    return look


async def test_command_that_is_interrupted_or_not_read_ends_quietly(
    served: tuple[str, Database], tmp_path: Path
) -> None:
    """Ctrl-C at the question once, a pipe that nobody reads, a terminal without the characters: no trace, no upload left."""
    url, database = served
    environment = {**os.environ, "HAYABIN_API_URL": url, "HAYABIN_API_KEY": await a_key(database, "acme")}
    environment["PYTHONIOENCODING"] = "cp932"
    people = tmp_path / "people.csv"
    people.write_text("email,😀\na@b.example,x\n", encoding="utf-8")

    async def started(*arguments: str, stdout: int) -> Process:
        words = (sys.executable, "-m", "services.standalone.command", *arguments)
        return await asyncio.create_subprocess_exec(*words, stdin=PIPE, stdout=stdout, stderr=PIPE, env=environment)

    nobody, theirs = os.pipe()
    os.close(nobody)
    importing = await started("import", str(people), stdout=PIPE)
    await database.pool.execute("INSERT INTO lists (tenant_id, name) SELECT id, 'news' FROM tenants")
    unread = await started("lists", "list", stdout=theirs)
    os.close(theirs)
    _, complained = await unread.communicate()
    assert (unread.returncode, complained) == (1, b"")
    assert importing.stdout is not None
    assert "\\U0001f600  →  attribute" in (await importing.stdout.readuntil(b"[y/N]: ")).decode("cp932")
    assert await files_kept(database) == 1
    await eventually(_state_of(importing), "S".__eq__, every_s=0.01)
    importing.send_signal(signal.SIGINT)
    _, complained = await asyncio.wait_for(importing.communicate(), 15)
    assert (importing.returncode, complained.split()[-1:]) == (1, [b"Aborted!"]), complained
    assert await files_kept(database) == 0
