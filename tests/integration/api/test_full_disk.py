"""The API on a PostgreSQL whose disk is really full."""

import secrets
from collections.abc import Iterator

import pytest

from hayabin.database.engine import AWAY, Database
from hayabin.database.migrate import upgrade
from services.api.app import make_app
from services.api.imports.runner import run_next_import
from tests.integration.api.conftest import a_key, client_of, settings_of
from tests.integration.api.rest import CSV, done
from tests.support.postgres import private_postgres
from tests.support.small_disk import DiskMissing, SmallDisk, small_disk

ROWS = 30_000
FULL = {"/problems/storage-full", "/problems/unavailable", "/problems/outcome-unknown"}


def a_file() -> bytes:
    """Rows that do not compress well."""
    return b"email,memo\n" + b"".join(b"u%d@x.example,%b\n" % (n, secrets.token_hex(60).encode()) for n in range(ROWS))


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    """A disk of 300 MB, where one can be had."""
    try:
        with small_disk(300) as made:
            yield made
    except DiskMissing as missing:
        pytest.skip(str(missing))


async def test_full_disk_loses_no_import_and_blames_nobody(disk: SmallDisk) -> None:
    """Uploads get 503 while it is full, a job that runs then fails neither itself nor a row, and ends well after it."""
    with private_postgres(disk=disk) as server:
        upgrade(server.url)
        async with Database(server.url, name="full", size=4) as database:
            app = make_app(settings_of(server.url), database)
            async with client_of(app, await a_key(database, "acme")) as client:
                job = await done(await client.post("/v1/imports", content=a_file(), headers=CSV), 202)
                disk.fill()
                answer = await client.post("/v1/imports", content=a_file(), headers=CSV)
                assert answer.status_code == 503, answer.text
                assert answer.json()["type"] in FULL
                assert int(answer.headers["Retry-After"]) > 0
                with pytest.raises(AWAY):
                    await run_next_import(database, "test")

                disk.free()
                async with Database(server.url, name="recovered", size=4) as recovered:  # waits where it crashed of it
                    assert await run_next_import(recovered, "test")
                seen = await done(await client.get(f"/v1/imports/{job['id']}"), 200)
                assert (seen["state"], seen["rows_imported"], seen["rows_invalid"]) == ("completed", ROWS, 0)
                await done(await client.post("/v1/imports", content=a_file(), headers=CSV), 202)
