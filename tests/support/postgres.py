"""A private PostgreSQL for tests and benchmarks.

Promises: ``private_postgres()`` yields a server of its own (UTF8, C locale, fsync on unless asked otherwise, a random
password) that listens on 127.0.0.1 and on a socket in its folder, and removes it afterwards. Where
``HAYABIN_TEST_DATABASE_URL`` is set and nothing special is asked for, that server is yielded instead; it cannot be
stopped or killed.
Fails with ``ServerMissing`` or ``ServerFailed``.
"""

import os
import re
import secrets
import shutil
import signal
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType

from tests.support import instances
from tests.support.instances import KeptServer, Launch, ServerFailed, ServerMissing
from tests.support.shifted_clock import ShiftedClock
from tests.support.small_disk import SmallDisk

USER = "hayabin"
OLDEST_VERSION = 15
# PostgreSQL's SSLRequest: a server that is up answers it with one byte, whatever the password.
SSL_REQUEST = struct.pack("!ii", 8, 80877103)
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    # In the instance's folder instead of /dev/shm, so that nothing stays behind after a SIGKILL.
    "dynamic_shared_memory_type": "mmap",
    # DROP DATABASE waits for every session that is still logging in: let a half-open one of a test go soon.
    "authentication_timeout": "10s",
    "log_min_messages": "warning",
}
# Beside a cluster of 40 MB: what fits a disk of 300 MB and leaves room for tables.
SMALL_DISK_SETTINGS = {"max_wal_size": "64MB", "min_wal_size": "32MB"}


class PostgresInstance:
    """A PostgreSQL server; ``url`` stays the same over ``stop``/``kill`` and ``start``."""

    def __init__(self, url: str, server: KeptServer | None) -> None:
        """Keep the address and, where the server is ours, the server."""
        self.url = url
        self._server = server

    def start(self) -> None:
        """Start the stopped or killed server; returns when it answers."""
        self._own().start()

    def stop(self) -> None:
        """Stop the server (fast shutdown: sessions are ended, data is written)."""
        self._own().stop()

    def kill(self) -> None:
        """SIGKILL the server with all its processes."""
        self._own().kill()

    @property
    def folder(self) -> Path:
        """Where its cluster (``data``) and its log (``server.log``) are."""
        return self._own().folder

    @property
    def running(self) -> bool:
        """Whether it has not ended; by itself it does when the disk is full and no WAL can be written."""
        return self._own().running

    def process_ids(self) -> list[int]:
        """List the server's processes; empty where the server is not ours."""
        return self._server.process_ids() if self._server else []

    def _own(self) -> KeptServer:
        """Return the server that we may stop."""
        if self._server is None:
            raise ServerFailed("HAYABIN_TEST_DATABASE_URL names a server that is not ours to stop")
        return self._server


@contextmanager
def private_postgres(
    *,
    fsync: bool = True,
    clock: ShiftedClock | None = None,
    disk: SmallDisk | None = None,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[PostgresInstance]:
    """Run a PostgreSQL for the length of a ``with`` block.

    Where told, with another clock, with its data on a small disk (its log stays elsewhere), or with other settings.
    """
    given = os.environ.get("HAYABIN_TEST_DATABASE_URL")
    if given and clock is None and disk is None and not settings:
        yield PostgresInstance(given, None)
        return
    binaries = find_binaries()
    password = secrets.token_urlsafe(18)
    port = instances.free_port()
    small = SMALL_DISK_SETTINGS if disk else {}
    settings = {"fsync": "on" if fsync else "off", **small, **settings}

    def make(folder: Path) -> None:
        if disk is not None:
            (disk.folder / "data").mkdir(mode=0o700)  # initdb follows a link only to a folder that is there
            instances.own(disk.folder / "data")
            (folder / "data").symlink_to(disk.folder / "data")
        initialise(binaries, folder, password)

    # Who does not wait for the disk needs none: a database is copied in a tenth of the time there.
    with kept_server(
        make, lambda folder: launch(binaries, folder, port, settings, clock), in_memory=not fsync
    ) as server:
        yield PostgresInstance(url_of(password, port), server)


def url_of(password: str, port: int) -> str:
    """Where a server of ours is."""
    return f"postgresql://{USER}:{password}@127.0.0.1:{port}/postgres"


@contextmanager
def kept_server(
    make: Callable[[Path], None], launch: Callable[[Path], Launch], *, in_memory: bool = False
) -> Iterator[KeptServer]:
    """Make a cluster in a new folder and run it for the length of the block."""
    folder = instances.new_folder("hayabin-pg-", in_memory=in_memory)
    try:
        make(folder)
        server = KeptServer(folder, launch(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        release_shared_memory(folder)
        instances.remove_folder(folder)


def find_binaries() -> Path:
    """Find the folder of the newest installed ``postgres`` and ``initdb``.

    Raises: ``ServerMissing``.
    """
    versions = sorted(Path("/usr/lib/postgresql").glob("[0-9]*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("postgres")
    candidates = [*reversed(versions), *([Path(on_path)] if on_path else [])]
    for candidate in candidates:
        printed = subprocess.run([candidate, "--version"], capture_output=True, text=True, check=True).stdout
        found = re.search(r"PostgreSQL\) (\d+)", printed)
        if found and int(found[1]) >= OLDEST_VERSION:
            return candidate.parent
    raise ServerMissing(f"PostgreSQL >= {OLDEST_VERSION} is not installed: `make test` installs it from Debian")


def initialise(binaries: Path, folder: Path, password: str) -> None:
    """Make an empty cluster in ``folder``/data."""
    password_file = folder / "password"
    password_file.write_text(password + "\n", encoding="ascii")
    instances.own(password_file)
    options = ["-E", "UTF8", "--locale=C", "-U", USER, f"--pwfile={password_file}", "--no-sync"]
    access = ["--auth-host=scram-sha-256", "--auth-local=trust"]  # the socket stands in the folder of mode 0700
    done = subprocess.run(
        instances.as_user((str(binaries / "initdb"), "-D", str(folder / "data"), *options, *access)),
        env=instances.base_environment(folder),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    password_file.unlink()
    if done.returncode != 0:
        raise ServerFailed(f"initdb failed:\n{done.stdout}{done.stderr}")


def launch(
    binaries: Path, folder: Path, port: int, settings: Mapping[str, str], clock: ShiftedClock | None = None
) -> Launch:
    """Describe how this cluster's server is started."""
    fixed = {"port": str(port), "unix_socket_directories": str(folder)}
    arguments = [
        part for name, value in {**SETTINGS, **settings, **fixed}.items() for part in ("-c", f"{name}={value}")
    ]
    # Set for the server alone: the keeper, which sleeps, lives in true time.
    environment = [f"{name}={value}" for name, value in clock.environment.items()] if clock else []
    return Launch(
        command=("env", *environment, str(binaries / "postgres"), "-D", str(folder / "data"), *arguments),
        environment=instances.base_environment(folder),
        ready=lambda: answers(port),
        stop_signal=signal.SIGINT,  # "fast shutdown"
    )


def answers(port: int) -> bool:
    """Say whether a PostgreSQL accepts sessions on the port."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as probe:
        probe.sendall(SSL_REQUEST)
        if probe.recv(1) not in {b"N", b"S"}:
            return False
        probe.sendall(startup_packet())
        return not starting_up(probe.recv(512))
    return False


def startup_packet() -> bytes:
    """Build a StartupMessage of protocol 3.0 for our user."""
    body = struct.pack("!i", 196608) + f"user\0{USER}\0database\0postgres\0\0".encode("ascii")
    return struct.pack("!i", len(body) + 4) + body


def starting_up(reply: bytes) -> bool:
    """Say whether the reply is none, or an error of class 57P (the system is starting up or shutting down)."""
    return not reply or (reply[:1] == b"E" and b"C57P" in reply)


def release_shared_memory(folder: Path) -> None:
    """Remove the few bytes of System V shared memory that a killed server leaves behind."""
    pid_file = folder / "data" / "postmaster.pid"
    with suppress(FileNotFoundError):
        lines = pid_file.read_text(encoding="ascii").splitlines()
        if len(lines) > 6:
            segment = lines[6].split()[-1]
            subprocess.run(["ipcrm", "-m", segment], check=False, capture_output=True)
