"""The embedded PostgreSQL, with real processes: data stays, processes do not."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from services.standalone import postgres, reach
from services.standalone.kept import keep_ports, keep_secrets
from services.standalone.places import AlreadyRunning, Places, hold, open_places
from services.standalone.reach import ServerUser, server_user
from services.standalone.supervisor import Supervisor

ROOT = Path(__file__).parents[3]
# A run of its own process, to be killed; says the server's process id when it is up.
RUN = """
import asyncio, sys
from pathlib import Path
from services.standalone import postgres
from services.standalone.kept import keep_ports, keep_secrets
from services.standalone.places import hold, open_places
from services.standalone.supervisor import Supervisor

async def main():
    places = open_places(Path(sys.argv[1]))
    with hold(places):
        port = keep_ports(places.ports, {"postgres": 0})["postgres"]
        server = await postgres.prepare(places, port, keep_secrets(places.secrets).database_password)
        async with Supervisor(print) as supervisor:
            await supervisor.start([server.child(places.logs / "postgres.log")])
            print(supervisor.pids()["postgres"], flush=True)
            await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Places]:
    """A state folder that the server's user may reach (the parents of pytest's folder are closed)."""
    made = open_places(tmp_path / ".hayabin")
    yield made
    reach.remove_data(made.postgres)


@contextlib.asynccontextmanager
async def running(places: Places) -> AsyncIterator[tuple[postgres.EmbeddedPostgres, Supervisor]]:
    """The server of this folder."""
    port = keep_ports(places.ports, {"postgres": 0})["postgres"]
    server = await postgres.prepare(places, port, keep_secrets(places.secrets).database_password)
    async with Supervisor(lambda _: None) as supervisor:
        await supervisor.start([server.child(places.logs / "postgres.log")])
        await postgres.create_database(server)
        yield server, supervisor


async def test_embedded_postgres_stopped_and_started_again_has_its_data_and_leaves_no_process(places: Places) -> None:
    """Two runs in one folder: the row of the first is there in the second, on the same port, with fsync on."""
    urls = []
    for expected in (0, 1):
        async with running(places) as (server, supervisor):
            connection = await asyncpg.connect(server.url())
            await connection.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
            assert await connection.fetchval("SELECT count(*) FROM kept") == expected
            assert await connection.fetchval("SHOW fsync") == "on"
            assert await connection.fetchval("SHOW server_encoding") == "UTF8"
            await connection.execute("INSERT INTO kept VALUES (1)")
            await connection.close()
            pid = supervisor.pids()["postgres"]
            urls.append(server.url())
        assert not Path(f"/proc/{pid}").exists()
        assert postgres._processes_in(server.cluster) == []
    assert urls[0] == urls[1]


async def test_embedded_postgres_wrong_password_is_refused(places: Places) -> None:
    """Other users of the machine can reach the port; without the password they get nothing."""
    async with running(places) as (server, _):
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(server.url().replace(server.password, "guess"))


async def test_embedded_postgres_after_killed_run_goes_away_and_starts_again(places: Places) -> None:
    """SIGKILL of the whole run: the server ends by itself, and the next run does not stumble over what it left."""
    run = subprocess.Popen([sys.executable, "-c", RUN, str(places.root)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    pid = int(run.stdout.readline())
    with pytest.raises(AlreadyRunning, match=str(run.pid)), hold(places):
        pass
    run.kill()
    run.communicate()
    async with running(places) as (server, _):
        connection = await asyncpg.connect(server.url())
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()
        assert not _lives(pid)


async def test_embedded_postgres_stale_pid_file_of_a_living_stranger_is_cleared(places: Places) -> None:
    """A pid file that names an unrelated process of now, which PostgreSQL itself would believe, does not hinder."""
    async with running(places) as (server, _):
        pid_file = server.cluster / "postmaster.pid"
        lines = pid_file.read_text(encoding="ascii").splitlines()
    stranger = await asyncio.create_subprocess_exec("sleep", "60", preexec_fn=_become_server_user)
    try:
        pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n", encoding="ascii")
        async with running(places) as (server, _):
            assert await asyncpg.connect(server.url())
    finally:
        stranger.kill()
        await stranger.wait()


async def test_embedded_postgres_runs_from_a_copy_where_the_user_can_not_reach_it(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closed clone of root's: software is copied, data stands in a shared folder, and both go with the data."""
    if os.geteuid() != 0:
        pytest.skip("only root's server runs as another user")
    monkeypatch.setattr(reach, "may_pass", lambda _: False)
    async with running(places) as (server, _):
        shared = places.postgres.readlink()
        assert server.binaries.is_relative_to(shared)
        assert server.folder == shared / "server"
    reach.remove_data(places.postgres)
    assert not shared.exists()


def test_place_data_shared_folder_of_somebody_else_is_refused(
    places: Places, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A folder that another user put under the expected name is never written into."""
    monkeypatch.setattr(reach, "may_pass", lambda _: False)
    monkeypatch.setattr(reach, "SHARED_FOLDER", tmp_path)
    prepared = reach._shared_place(places.postgres)
    prepared.mkdir()
    prepared.chmod(0o777)
    with pytest.raises(reach.Unreachable):
        reach.place_data(places.postgres, ServerUser(65534, 65534))


def _become_server_user() -> None:
    if os.geteuid() == 0:
        os.setgid(server_user().gid)
        os.setuid(server_user().uid)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
