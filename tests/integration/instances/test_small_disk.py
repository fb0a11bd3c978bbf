"""A disk that fills up: it says so, PostgreSQL on it says so, and both work again when there is room."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.support.postgres import PostgresInstance, private_postgres
from tests.support.small_disk import DiskMissing, SmallDisk, small_disk
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[3]
FILLS = "INSERT INTO t SELECT g, repeat(md5(g::text), 30) FROM generate_series(1, 100) g"
WRITES_WAL = "SELECT pg_logical_emit_message(false, 'x', repeat('x', 8000000)) FROM generate_series(1, 40)"
ORPHAN = """
import time
from tests.support.postgres import private_postgres
from tests.support.small_disk import small_disk
with small_disk(200) as disk, private_postgres(disk=disk) as server:
    print(disk.folder, server._server.folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    """A disk of 200 MB, where one can be had."""
    try:
        with small_disk(200) as made:
            yield made
    except DiskMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture
def server(disk: SmallDisk) -> Iterator[PostgresInstance]:
    """A PostgreSQL with its data on the disk."""
    with private_postgres(disk=disk) as made:
        yield made


def mounted(folder: Path) -> bool:
    """Whether a file system is mounted there."""
    return f" {folder} " in Path("/proc/self/mounts").read_text(encoding="utf-8")


def test_disk_filled_answers_enospc_until_freed_and_is_gone_at_the_end(disk: SmallDisk) -> None:
    """A full disk takes not one byte more; one that keeps some room takes so much; a freed one takes what it took."""
    disk.fill()
    with pytest.raises(OSError, match="No space left"):
        (disk.folder / "more").write_bytes(b"x")
    disk.free()
    assert disk.free_bytes > 190 * 2**20
    disk.fill(leave_bytes=2**20)
    assert 2**20 <= disk.free_bytes < 2**20 + 8192
    (disk.folder / "more").write_bytes(bytes(2**19))
    with small_disk(1) as other:
        assert mounted(other.folder)
    assert not mounted(other.folder)
    assert not other.folder.exists()


async def test_postgres_on_a_full_disk_answers_53100_and_works_again(disk: SmallDisk, server: PostgresInstance) -> None:
    """A table that cannot grow is told to the client, the server lives on, and writes again when there is room."""
    connection = await asyncpg.connect(server.url)
    await connection.execute("CREATE TABLE t (n int, filling text)")
    await connection.execute(FILLS)
    disk.fill()
    written = 100

    async def write_on() -> None:
        nonlocal written
        for _ in range(500):
            await connection.execute(FILLS)
            written += 100

    with pytest.raises(asyncpg.DiskFullError) as failure:
        await write_on()
    assert failure.value.sqlstate == "53100"
    assert await connection.fetchval("SELECT count(*) FROM t") == written
    disk.free()
    await connection.execute(FILLS)
    assert await connection.fetchval("SELECT count(*) FROM t") == written + 100
    await connection.close()


async def test_postgres_that_cannot_write_its_log_ends_and_starts_when_there_is_room(
    disk: SmallDisk, server: PostgresInstance
) -> None:
    """No room for WAL is a PANIC, and no start without room; what was committed is there after the start."""
    connection = await asyncpg.connect(server.url)
    await connection.execute("CREATE TABLE t AS SELECT 7 AS n")
    disk.fill()
    with pytest.raises((asyncpg.PostgresError, ConnectionError, asyncpg.InterfaceError)):
        await connection.execute(WRITES_WAL)
    connection.terminate()

    async def running() -> bool:
        return server.running

    await eventually(running, lambda runs: not runs)
    disk.free()
    server.start()
    connection = await asyncpg.connect(server.url)
    assert await connection.fetchval("SELECT n FROM t") == 7
    await connection.execute("INSERT INTO t VALUES (8)")
    await connection.close()


def test_program_killed_leaves_no_mount(disk: SmallDisk) -> None:
    """When the program that asked for a server on a small disk is killed, the mount goes with the server."""
    program = subprocess.Popen([sys.executable, "-c", ORPHAN], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    folders = [Path(word) for word in program.stdout.readline().split()]
    assert mounted(folders[0])
    program.kill()
    program.communicate()
    deadline = time.monotonic() + 15
    while mounted(folders[0]) or any(folder.exists() for folder in folders):
        assert time.monotonic() < deadline, folders
        time.sleep(0.1)
