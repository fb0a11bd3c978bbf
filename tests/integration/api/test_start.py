"""A process whose database is not there: it waits and says so, is told to stop, or is told what is wrong."""

import asyncio
import contextlib
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from hayabin.database.migrate import upgrade
from hayabin.lifecycle import Process
from hayabin.settings import ProcessSettings
from tests.support.instances import free_port
from tests.support.postgres import PostgresInstance, private_postgres
from tests.support.system import Service, System, running_system


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresInstance]:
    """A PostgreSQL of our own, to be stopped and killed."""
    with private_postgres(fsync=False) as server:
        upgrade(server.url)
        yield server


def _wait_for_log(service: Service, words: str, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while words not in service.log.read_text():
        assert service.process.poll() is None, service.tail()
        assert time.monotonic() < deadline, service.tail()
        time.sleep(0.05)


def _health(service: Service, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{service.admin_port}{path}", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code


def _api(system: System, name: str = "api") -> tuple[Service, str]:
    port = free_port()
    return system.launch("api", name=name, http_host="127.0.0.1", http_port=str(port)), f"http://127.0.0.1:{port}"


def test_start_before_the_database_waits_and_comes_up(server: PostgresInstance, tmp_path: Path) -> None:
    """Alive and not ready while it waits; told to stop it goes at once; with the database it serves, and comes back."""
    server.stop()
    try:
        with running_system(tmp_path, server.url, server.url, drain_timeout_s="30") as system:
            waiting, url = _api(system)
            _wait_for_log(waiting, '"event":"database_waits"')
            assert (_health(waiting, "/healthz"), _health(waiting, "/readyz")) == (200, 503)

            for told in (_api(system, "told")[0], system.launch("bounce", bounce_port=str(free_port()))):
                _wait_for_log(told, '"event":"database_waits"')
                began = time.monotonic()
                told.process.send_signal(signal.SIGTERM)
                assert told.process.wait(10) == 0, told.tail()
                assert time.monotonic() - began < 5

            server.start()
            system.wait_ready(waiting)
            assert httpx.get(f"{url}/v1/health").json()["status"] == "ok"
            server.kill()
            deadline = time.monotonic() + 20
            while httpx.get(f"{url}/v1/health", timeout=20).status_code != 503:
                assert time.monotonic() < deadline
                time.sleep(0.2)
            assert (_health(waiting, "/healthz"), _health(waiting, "/readyz")) == (200, 503)
            server.start()
            system.wait_ready(waiting)
            assert httpx.get(f"{url}/v1/health", timeout=20).status_code == 200
            assert "Traceback" not in waiting.log.read_text()
    finally:
        server.start()


async def test_readiness_of_a_check_that_hangs_is_said_in_bounded_time() -> None:
    """A check that does not even end when it is cancelled holds up nobody, and is not begun again beside itself."""
    begun, end = [], asyncio.Event()

    async def hangs() -> bool:
        begun.append(True)
        while not end.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await end.wait()
        return True

    async def holds() -> bool:
        return True

    process = Process("test", ProcessSettings())
    process.ready("hangs", hangs)
    process.ready("holds", holds)
    for _ in range(2):
        async with asyncio.timeout(4):
            assert await process.readiness() == {"running": True, "started": True, "hangs": False, "holds": True}
    assert len(begun) == 1
    end.set()


@pytest.mark.parametrize("wrong", ["password", "database"])
def test_start_with_a_wrong_url_ends_with_what_to_change(server: PostgresInstance, tmp_path: Path, wrong: str) -> None:
    """There is nothing to wait for: one line says what is wrong, and the status is 1."""
    user, _, where = server.url.rpartition("@")
    url = f"{user}x@{where}" if wrong == "password" else f"{server.url}-not-there"
    with running_system(tmp_path, url, url) as system:
        service, _ = _api(system)
        assert service.process.wait(20) == 1
        log = service.log.read_text()
        assert '"event":"start_refused"' in log
        assert "Traceback" not in log
