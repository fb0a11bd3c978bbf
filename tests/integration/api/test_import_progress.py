"""How far an import is, and what stops it: a person, a crash, others who wait."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from hayabin.database.engine import Database
from hayabin.domain.transfer import (
    EXPORT_TRANSITIONS,
    IMPORT_TRANSITIONS,
    TransferState,
    leading_to,
)
from services.api.imports import job as jobs
from services.api.imports import run as running
from services.api.imports import staging
from services.api.imports.merging import merge
from services.api.imports.runner import run_next_import
from tests.integration.api.conftest import MakeClient
from tests.integration.api.rest import CSV, Client, done, problem
from tests.support.waiting import eventually

PEOPLE = 6000
_WORKER = """
import asyncio, sys
from hayabin.database.engine import Database
from services.api.imports import staging
from services.api.imports.runner import run_next_import

staging.MERGE_BLOCKS = 8

async def main():
    async with Database(sys.argv[1], name="killed") as database:
        await run_next_import(database, "killed")

asyncio.run(main())
"""


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of the merge with some hundred rows, so that a small file has several."""
    monkeypatch.setattr(staging, "MERGE_BLOCKS", 8)


async def uploaded(client: Client, rows: int = PEOPLE, query: str = "") -> int:
    """A queued import; one row in ten is broken."""
    content = "".join(f"u{n:05}@example.com,{n}\n" if n % 10 else f"broken{n},\n" for n in range(rows))
    answer = await client.post(f"/v1/imports{query}", content=f"email,n\n{content}".encode(), headers=CSV)
    return int((await done(answer, 202))["id"])


async def job_of(client: Client, import_id: int) -> dict[str, Any]:
    """What the API says of it."""
    found: dict[str, Any] = await done(await client.get(f"/v1/imports/{import_id}"), 200)
    return found


def held_up(monkeypatch: pytest.MonkeyPatch, after_pages: int) -> tuple[asyncio.Event, asyncio.Event]:
    """Let a worker come to a page of the merge and wait there; returns what it says, and what lets it go on."""
    there, go = asyncio.Event(), asyncio.Event()
    count = 0

    async def slow(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        if count > after_pages:
            there.set()
            await go.wait()
        return await merge(*arguments)

    monkeypatch.setattr(running, "merge", slow)
    return there, go


@pytest.mark.usefixtures("small_pages")
async def test_progress_grows_and_estimates_what_remains(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of the merge: between half and all, with a rate and an estimate; at the end 100 and nothing left."""
    import_id = await uploaded(client)
    assert (await job_of(client, import_id))["progress"] == {"percent": 0.0, "rows_per_s": 0, "remaining_s": None}
    there, go = held_up(monkeypatch, after_pages=2)
    worker = asyncio.create_task(run_next_import(database, "one"))
    await there.wait()
    job = await job_of(client, import_id)
    assert (job["state"], job["rows_read"], job["bytes_read"]) == ("running", PEOPLE, job["size_bytes"])
    assert 50 < job["progress"]["percent"] < 100
    assert job["progress"]["rows_per_s"] > 0
    assert job["progress"]["remaining_s"] is not None
    go.set()
    assert await worker
    job = await job_of(client, import_id)
    assert (job["state"], job["progress"]["percent"], job["progress"]["remaining_s"]) == ("completed", 100.0, None)


@pytest.mark.usefixtures("small_pages")
async def test_cancelled_import_stops_within_a_page_and_says_what_stays(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page under way is taken back; those before it stay and are counted; the file is gone, the worker free."""
    import_id = await uploaded(client)
    there, go = held_up(monkeypatch, after_pages=2)
    worker = asyncio.create_task(run_next_import(database, "one"))
    await there.wait()
    job = await done(await client.post(f"/v1/imports/{import_id}/cancel"), 200)
    assert job["state"] == "cancelled"
    go.set()
    assert await worker
    job = await job_of(client, import_id)
    assert (job["state"], job["finished_at"] is not None) == ("cancelled", True)
    assert 0 < job["rows_imported"] < PEOPLE * 0.9
    assert await database.pool.fetchval("SELECT count(*) FROM contacts") == job["rows_imported"]
    assert await database.pool.fetchval("SELECT count(*) FROM import_chunks") == 0
    assert not await run_next_import(database, "two")
    problem(await client.post(f"/v1/imports/{import_id}/cancel"), 409, "wrong-state")
    problem(await client.post("/v1/imports/999/cancel"), 404, "not-found")


async def test_cancelled_import_in_the_queue_or_preview_is_never_begun(client: Client, database: Database) -> None:
    """Nobody takes it up, and its file is gone."""
    for query in ("", "?dry_run=true"):
        import_id = await uploaded(client, 10, query)
        await done(await client.post(f"/v1/imports/{import_id}/cancel"), 200)
        problem(await client.post(f"/v1/imports/{import_id}/start", json={}), 409, "wrong-state")
    assert not await run_next_import(database, "one")
    assert await database.pool.fetchval("SELECT count(*) FROM import_chunks") == 0


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("mode", ["upsert", "insert"])
async def test_import_of_a_killed_worker_goes_on_where_it_was(
    client: Client, database: Database, database_url: str, tmp_path: Path, mode: str
) -> None:
    """Kill -9 of a real process in the middle of the merge: the next worker has the result of an undisturbed one.

    Nobody is taken for somebody who was there before, and nobody's pages are written twice.
    """
    await client.post("/v1/contacts", json={"email": "u00001@example.com", "name": "there before"})
    import_id = await uploaded(client, 30_000, f"?mode={mode}")
    program = tmp_path / "worker.py"
    program.write_text(_WORKER)
    worker = await asyncio.create_subprocess_exec(
        sys.executable, str(program), database_url, env={**os.environ, "PYTHONPATH": str(Path.cwd())}
    )

    async def merged() -> int:
        return int(await database.pool.fetchval("SELECT people_merged FROM import_jobs WHERE id = $1", import_id))

    await eventually(merged, lambda n: n > 0, every_s=0.005)
    worker.send_signal(signal.SIGKILL)
    await worker.wait()
    before = await merged()
    assert 0 < before < 27_000
    assert (await job_of(client, import_id))["state"] == "running"

    async def taken_up() -> bool:
        return await run_next_import(database, "next")

    assert await eventually(taken_up, lambda taken: taken, every_s=0.05)
    job = await job_of(client, import_id)
    exists = 1 if mode == "insert" else 0
    assert (job["state"], job["rows_read"], job["rows_invalid"]) == ("completed", 30_000, 3000)
    assert (job["rows_imported"], job["rows_exists"], job["rows_duplicate"]) == (27_000 - exists, exists, 0)
    assert await database.pool.fetchval("SELECT count(*) FROM contacts") == 27_000
    assert await database.pool.fetchval("SELECT count(*) FROM import_errors") == 3000 + exists
    assert await merged() == 27_000


async def test_tenants_take_turns(make_client: MakeClient, database: Database) -> None:
    """One tenant's five files do not stand before another's one; and beside them, only who has none under way is served."""
    acme, other = await make_client("acme"), await make_client("other")
    many = [await uploaded(acme, 10) for _ in range(4)]
    few = await uploaded(other, 10)
    done_in_order = []
    for _ in range(5):
        assert await run_next_import(database, "one")
        done_in_order.append(
            await database.pool.fetchval("SELECT id FROM import_jobs ORDER BY finished_at DESC NULLS LAST LIMIT 1")
        )
    assert done_in_order == [many[0], few, *many[1:]]
    await database.pool.execute("UPDATE import_jobs SET state = 'running', heartbeat_at = now() WHERE id = $1", many[0])
    async with database.pool.acquire() as worker:
        await worker.execute("SELECT pg_advisory_lock($1)", (0x68627901 << 32) | many[0])
        await uploaded(acme, 10)
        assert not await run_next_import(database, "beside", only_idle=True)
        await uploaded(other, 10)
        assert await run_next_import(database, "beside", only_idle=True)
        await worker.execute("SELECT pg_advisory_unlock_all()")


async def test_errors_that_are_too_many_are_counted_and_said(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first ones are kept; the table ends with how many are not."""
    monkeypatch.setattr(jobs, "MAX_KEPT_ERRORS", 100)
    import_id = await uploaded(client, 2000)
    assert await run_next_import(database, "one")
    assert await database.pool.fetchval("SELECT count(*) FROM import_errors") == 100
    await database.pool.execute("UPDATE import_jobs SET rows_invalid = 100200 WHERE id = $1", import_id)
    assert (await job_of(client, import_id))["errors_not_kept"] == 200
    lines = (await client.get(f"/v1/imports/{import_id}/errors.csv")).text.splitlines()
    assert len(lines) == 102
    assert lines[-1] == ",,not_kept,200 more rows"


def test_every_state_of_a_job_has_its_moves() -> None:
    """Finished is finished; what can be cancelled is what has not ended; every state is in a table."""
    for table in (IMPORT_TRANSITIONS, EXPORT_TRANSITIONS):
        assert all(after <= set(table) for after in table.values())
        ended = {state for state, after in table.items() if TransferState.CANCELLED not in after}
        assert ended <= {TransferState.COMPLETED, TransferState.FAILED, TransferState.CANCELLED, TransferState.EXPIRED}
    assert set(IMPORT_TRANSITIONS) | set(EXPORT_TRANSITIONS) == set(TransferState)
    assert leading_to(IMPORT_TRANSITIONS, TransferState.QUEUED) == ["preview"]
