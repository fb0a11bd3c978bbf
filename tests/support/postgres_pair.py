"""A private PostgreSQL with a synchronous standby, reached through one address, as in a cluster that fails over.

Promises: what was committed on the primary is on the standby, flushed, before the client is told. ``url`` is the address
of a proxy: it leads to the primary, after ``promote`` to the standby that has become one. Both run without privileges and
are removed at the end.
Fails with ``ServerMissing`` or ``ServerFailed``. The old primary does not come back: it knows nothing of the new one.
"""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

import asyncpg

from tests.support import instances
from tests.support.fault_proxy import FaultProxy, fault_proxy_before
from tests.support.instances import ServerFailed
from tests.support.postgres import USER, PostgresInstance, find_binaries, kept_server, launch, private_postgres, url_of
from tests.support.waiting import eventually

STANDBY = "standby"
# Given to the primary's command alone: the standby, once it is a primary, waits for nobody.
SYNCHRONOUS = {"synchronous_standby_names": STANDBY, "synchronous_commit": "on"}
COMMAND_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class PostgresPair:
    """Two servers and the way to them."""

    url: str  # through the proxy
    primary: PostgresInstance
    standby: PostgresInstance
    proxy: FaultProxy
    _loop: asyncio.AbstractEventLoop  # the proxy's

    def kill_primary(self) -> None:
        """SIGKILL the primary with all its processes; who connects is reset until ``promote``."""
        self.primary.kill()

    def promote(self) -> None:
        """Make the standby a primary that takes writes, then lead new connections to it and reset the old ones.

        Takes up to a second: in a thread of its own (``asyncio.to_thread``) the loop goes on.
        Raises: ``ServerFailed``.
        """
        folder = self.standby.folder
        options = ("-D", str(folder / "data"), "--wait", "--timeout", str(COMMAND_TIMEOUT_S))
        run((str(find_binaries() / "pg_ctl"), "promote", *options), folder)
        self._loop.call_soon_threadsafe(self._lead_to_standby)

    def _lead_to_standby(self) -> None:
        port = urlsplit(self.standby.url).port
        assert port is not None
        self.proxy.retarget("127.0.0.1", port)
        self.proxy.cut()


@asynccontextmanager
async def postgres_pair(*, fsync: bool = True) -> AsyncIterator[PostgresPair]:
    """Run a primary and its synchronous standby for the length of the block; it begins when they are in step."""
    with private_postgres(fsync=fsync, settings=SYNCHRONOUS) as primary, standby_of(primary, fsync=fsync) as standby:
        await in_step(primary.url)
        async with fault_proxy_before(primary.url) as (url, proxy):
            yield PostgresPair(url, primary, standby, proxy, asyncio.get_running_loop())


@contextmanager
def standby_of(primary: PostgresInstance, *, fsync: bool) -> Iterator[PostgresInstance]:
    """Run a copy of the primary that follows it."""
    binaries = find_binaries()
    address = urlsplit(primary.url)
    assert address.password is not None
    password = address.password
    port = instances.free_port()
    settings = {"fsync": "on" if fsync else "off"}

    def copy(folder: Path) -> None:
        source = f"host=127.0.0.1 port={address.port} user={USER} application_name={STANDBY}"
        options = ("--write-recovery-conf", "--checkpoint=fast", "--no-sync")
        command = (str(binaries / "pg_basebackup"), "-d", source, "-D", str(folder / "data"), *options)
        run(command, folder, {"PGPASSWORD": password})  # which the recovery's settings keep

    with kept_server(copy, lambda folder: launch(binaries, folder, port, settings)) as server:
        yield PostgresInstance(url_of(password, port), server)


def run(command: tuple[str, ...], folder: Path, environment: Mapping[str, str] = MappingProxyType({})) -> None:
    """Run a command as the servers' user.

    Raises: ``ServerFailed``.
    """
    done = subprocess.run(
        instances.as_user(command),
        env={**instances.base_environment(folder), **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_TIMEOUT_S + 10,
    )
    if done.returncode != 0:
        raise ServerFailed(f"{command[0]} failed:\n{done.stdout}{done.stderr}")


async def in_step(primary_url: str) -> None:
    """Wait until the primary has a synchronous standby."""
    connection = await asyncpg.connect(primary_url)
    try:
        await eventually(
            lambda: connection.fetchval("SELECT sync_state FROM pg_stat_replication"), lambda state: state == "sync"
        )
    finally:
        await connection.close()
