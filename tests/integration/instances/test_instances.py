"""The private servers of the tests: on loopback alone, without privileges, durable, and gone when nobody needs them."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import pytest

from tests.support import instances
from tests.support.instances import KeptServer, Launch, ServerFailed
from tests.support.keeper import descendants
from tests.support.postgres import PostgresInstance, private_postgres
from tests.support.rabbitmq import RabbitInstance, private_rabbitmq

ROOT = Path(__file__).resolve().parents[3]
LISTEN = "0A"
LOOPBACK = {"0100007F", "00000000000000000000000001000000"}  # as /proc/net/tcp writes 127.0.0.1 and ::1

ORPHAN = """
import os, sys, time
from tests.support.postgres import private_postgres
with private_postgres() as server:
    print(server._server.folder, *server.process_ids(), flush=True)
    time.sleep(60)
"""


def listening_addresses(process_ids: list[int]) -> set[str]:
    """The local addresses, in hexadecimal, on which any of the processes listens."""
    sockets = set()
    for pid in process_ids:
        with contextlib.suppress(FileNotFoundError):  # PostgreSQL's workers come and go
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                target = str(descriptor.readlink())
                if target.startswith("socket:["):
                    sockets.add(target[8:-1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTEN and fields[9] in sockets:
                found.add(fields[1].partition(":")[0])
    return found


def owners(process_ids: list[int]) -> set[int]:
    """The user ids that the processes run as."""
    found = set()
    for pid in process_ids:
        with contextlib.suppress(FileNotFoundError):  # PostgreSQL's workers come and go
            found.add(Path(f"/proc/{pid}").stat().st_uid)
    return found


def wait_until_gone(process_ids: list[int], folder: Path, timeout_s: float = 15) -> bool:
    """Whether all of the processes and the folder disappear in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if not folder.exists() and not any(Path(f"/proc/{pid}").exists() for pid in process_ids):
            return True
        time.sleep(0.1)
    return False


def test_servers_running_listen_on_loopback_without_privileges(
    postgres: PostgresInstance, rabbitmq: RabbitInstance
) -> None:
    """No other machine reaches the tests' servers, and none of their processes is root's."""
    for server in (postgres, rabbitmq):
        ids = server.process_ids()
        if not ids:
            pytest.skip("the servers were given, they are not ours")
        addresses = listening_addresses(ids)
        assert addresses
        assert addresses <= LOOPBACK
        assert owners(ids) == {instances.server_user().pw_uid}


async def test_postgres_killed_and_started_keeps_what_was_committed() -> None:
    """A SIGKILL of the whole server loses no committed row, and its address stays the same."""
    with private_postgres() as server:
        connection = await asyncpg.connect(server.url)
        await connection.execute("CREATE TABLE t (n int); INSERT INTO t VALUES (7)")
        before = server.process_ids()
        server.kill()
        assert not any(Path(f"/proc/{pid}").exists() for pid in before)
        connection.terminate()
        server.start()
        connection = await asyncpg.connect(server.url)
        assert await connection.fetchval("SELECT n FROM t") == 7
        assert await connection.fetchval("SELECT current_setting('fsync')") == "on"
        await connection.close()


def test_rabbitmq_stopped_and_started_knows_its_control_command() -> None:
    """A broker comes back with what was declared, and nothing of it is left after the block."""
    with private_rabbitmq() as server:
        server.control("add_vhost", "kept")
        server.stop()
        assert server.process_ids() == []
        server.start()
        assert "kept" in server.control("list_vhosts", "name").split()
        ids, folder = server.process_ids(), server._own().folder
    assert wait_until_gone(ids, folder, timeout_s=1)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_program_killed_leaves_no_server_and_no_folder(how: signal.Signals) -> None:
    """When the program that asked for a server dies without a word, server and folder disappear."""
    program = subprocess.Popen([sys.executable, "-c", ORPHAN], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    folder, *ids = program.stdout.readline().split()
    assert ids
    program.send_signal(how)
    program.wait()
    program.stdout.close()
    assert wait_until_gone([int(pid) for pid in ids], Path(folder))


def test_server_that_daemonises_is_ended_with_its_keeper() -> None:
    """A process that forks, leaves its session and loses its parent still belongs to the keeper."""
    folder = instances.new_folder("hayabin-daemon-")
    marker = folder / "daemon"
    daemon = (
        f"import os,time; os.fork() and os._exit(0); os.setsid(); open({str(marker)!r},'w').close(); time.sleep(60)"
    )
    script = f"import subprocess,sys,time; subprocess.run([sys.executable,'-c',{daemon!r}]); time.sleep(60)"
    launch = Launch(
        (interpreter(), "-c", script), instances.base_environment(folder), marker.exists, signal.SIGTERM, 10
    )
    server = KeptServer(folder, launch)
    try:
        server.start()
        ids = server.process_ids()
        assert len(ids) == 2
        server.stop()
        assert not any(Path(f"/proc/{pid}").exists() for pid in ids)
    finally:
        server.kill()
        instances.remove_folder(folder)


def test_server_that_never_answers_is_ended_and_its_log_is_quoted() -> None:
    """A server that does not get ready in time is reported with the end of its log, and ended."""
    folder = instances.new_folder("hayabin-silent-")
    launch = Launch(
        ("sh", "-c", "echo cannot open the ledger; sleep 60"),
        instances.base_environment(folder),
        lambda: False,
        signal.SIGTERM,
        ready_timeout_s=0.5,
    )
    try:
        with pytest.raises(ServerFailed, match="cannot open the ledger"):
            KeptServer(folder, launch).start()
        left = [pid for pid in descendants(os.getpid()) if str(folder) in command_line(pid)]
        assert left == []
    finally:
        instances.remove_folder(folder)


def command_line(pid: int) -> str:
    """The command line of a process, empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def interpreter() -> str:
    """A Python that users without privileges may run too."""
    return "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
