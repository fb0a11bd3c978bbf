"""The API as the process that is deployed: uvicorn, real sockets, signals."""

import asyncio
import concurrent.futures
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from services.api.access import Scope, new_key
from tests.conftest import run
from tests.support.instances import free_port
from tests.support.system import Service, running_system


@pytest.fixture
def served(database_url: str, tmp_path: Path) -> Iterator[tuple[Service, str, str]]:
    """A running API: its process, its URL, a key."""
    key = new_key()

    async def tenant() -> None:
        connection = await asyncpg.connect(database_url)
        await connection.execute(
            "WITH t AS (INSERT INTO tenants (slug, name) VALUES ('acme', 'acme') RETURNING id) "
            "INSERT INTO api_keys (tenant_id, name, prefix, secret_hash, scopes) SELECT id, '', $1, $2, $3 FROM t",
            key.prefix,
            key.secret_hash,
            [scope.value for scope in Scope],
        )
        await connection.close()

    run(tenant)
    port = free_port()
    with running_system(tmp_path, database_url, database_url) as system:
        service = system.start("api", http_host="127.0.0.1", http_port=str(port))
        yield service, f"http://127.0.0.1:{port}", key.shown


def test_serve_takes_bad_bytes_uploads_and_a_signal(served: tuple[Service, str, str]) -> None:
    """Over real sockets: a large upload in bounded memory, bytes that are no HTTP, an end that drains."""
    service, url, key = served
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=30) as client:
        assert client.get("/v1/health").json()["status"] == "ok"
        before = service.rss_bytes()
        rows = (b"".join(b"u%d@example.com\n" % n for n in range(65536)) for _ in range(24))
        job = client.post("/v1/imports", content=rows, headers={"Content-Type": "text/csv"})
        assert job.status_code == 202, job.text
        assert job.json()["size_bytes"] > 25_000_000
        assert service.rss_bytes() - before < 60_000_000
        metrics = httpx.get(f"http://127.0.0.1:{service.admin_port}/metrics").text
        assert 'hayabin_http_requests_total{method="POST",route="/v1/imports",status="202"} 1.0' in metrics
        host, _, port = url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), timeout=10) as raw:
            raw.sendall(b"\x00\xff nonsense\r\n\r\n")
            assert b" 400 " in raw.recv(1000)
        lie = b"POST /v1/lists HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\nContent-Length: 100\r\n\r\n{"
        with socket.create_connection((host, int(port)), timeout=10) as raw:
            raw.sendall(lie % key.encode())  # and away, in the middle of the body
        assert client.get("/v1/lists").json()["items"] == []

        def slowly() -> Iterator[bytes]:
            yield b"email\n"
            service.process.send_signal(signal.SIGTERM)
            yield from (b"u%d@example.com\n" % n for n in range(1000))

        drained = client.post("/v1/imports", content=slowly(), headers={"Content-Type": "text/csv"})
        assert drained.status_code == 202
    assert service.process.wait(20) == 0
    log = service.log.read_text()
    assert key not in log
    assert "Traceback" not in log


async def test_twenty_launches_over_sockets_have_one_effect(
    served: tuple[Service, str, str], database_url: str
) -> None:
    """Twenty connections, one key: one list is made, whatever each of them is told."""
    _, url, key = served
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "k"}

    def create(_: int) -> int:
        return httpx.post(f"{url}/v1/lists", json={"name": "once"}, headers=headers, timeout=30).status_code

    with concurrent.futures.ThreadPoolExecutor(20) as threads:
        statuses = await asyncio.get_running_loop().run_in_executor(None, lambda: list(threads.map(create, range(20))))
    assert set(statuses) <= {201, 409}
    assert 201 in statuses
    connection = await asyncpg.connect(database_url)
    assert await connection.fetchval("SELECT count(*) FROM lists") == 1
    await connection.close()
