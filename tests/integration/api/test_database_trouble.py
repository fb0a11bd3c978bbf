"""The database in trouble is said as such: 503, when to come again, and whether anything was done."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from hayabin.database.engine import AWAY, Database
from services.api import admission, transaction
from services.api.app import make_app
from services.api.imports.runner import run_next_import
from tests.integration.api.conftest import a_key, client_of, settings_of
from tests.integration.api.rest import CSV, Client, done, problem
from tests.support.fault_proxy import Way, fault_proxy_before
from tests.support.waiting import eventually

FILE = b"email,name\na@x.example,A\nb@x.example,B\n"


async def raising(database: Database, table: str, sqlstate: str) -> None:
    """Let every insert into a table fail with an error of the server."""
    await database.pool.execute(
        f"CREATE OR REPLACE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION 'trouble' USING ERRCODE = '{sqlstate}'; END $$;"
        f"CREATE OR REPLACE TRIGGER trouble BEFORE INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION trouble()"
    )


async def healed(database: Database) -> None:
    """No insert fails any more."""
    await database.pool.execute("DROP FUNCTION trouble CASCADE")


@asynccontextmanager
async def served(database: Database, url: str, *, size: int = 2) -> AsyncIterator[Client]:
    """A client of an application on a small pool of its own."""
    async with (
        Database(url, name="troubled", size=size) as through,
        client_of(make_app(settings_of(url), through), await a_key(database, "acme")) as client,
    ):
        yield client


@pytest.mark.parametrize(
    ("sqlstate", "slug"),
    [
        ("53100", "storage-full"), ("53200", "unavailable"), ("53300", "unavailable"), ("57P03", "unavailable"),
        ("57P01", "unavailable"), ("57014", "unavailable"), ("25006", "unavailable"), ("40001", "unavailable"),
        ("40P01", "unavailable"), ("55P03", "unavailable"), ("58030", "unavailable"), ("08006", "unavailable"),
    ],
)  # fmt: skip
async def test_trouble_of_the_server_is_503_and_nothing_is_done(
    client: Client, database: Database, sqlstate: str, slug: str
) -> None:
    """Whatever the server's trouble is, it is never the caller's fault; once it is over, the same request succeeds."""
    await raising(database, "lists", sqlstate)
    key = {"Idempotency-Key": "k"}
    answer = await client.post("/v1/lists", json={"name": "l"}, headers=key)
    assert "Nothing was done" in problem(answer, 503, slug)["detail"]
    assert int(answer.headers["Retry-After"]) > 0
    await healed(database)
    await done(await client.post("/v1/lists", json={"name": "l"}, headers=key), 201)


async def test_standby_that_was_not_promoted_is_503_for_changes(database: Database, database_url: str) -> None:
    """A database that is read-only refuses changes with 503, and answers reads."""
    name = database_url.rpartition("/")[2]
    await database.pool.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    async with served(database, database_url) as client:
        await database.pool.execute("UPDATE api_keys SET last_used_at = now()")
        problem(await client.post("/v1/lists", json={"name": "l"}), 503, "unavailable")
        await done(await client.get("/v1/lists"), 200)


async def test_lost_answer_to_commit_is_said_to_be_unknown(database: Database, database_url: str) -> None:
    """The list is made, its answer lost: the caller is told that it is not known, and its key brings the answer."""
    await database.pool.execute(
        "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END $$;"
        "CREATE CONSTRAINT TRIGGER linger AFTER INSERT ON lists DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION linger()"
    )
    key = {"Idempotency-Key": "k"}
    committing = "SELECT count(*) FROM pg_stat_activity WHERE query = 'COMMIT;' AND state = 'active'"
    async with fault_proxy_before(database_url) as (url, proxy), served(database, url) as client:
        await done(await client.get("/v1/lists"), 200)
        asking = asyncio.create_task(client.post("/v1/lists", json={"name": "l"}, headers=key))
        await eventually(lambda: database.pool.fetchval(committing), bool, every_s=0.02)
        proxy.cut_after(0, Way.TO_CLIENT)
        answer = await asking
        assert "Idempotency-Key" in problem(answer, 503, "outcome-unknown")["detail"]
        assert answer.headers["Retry-After"]
        proxy.heal()
        again = await client.post("/v1/lists", json={"name": "l"}, headers=key)
        await done(again, 201)
        assert again.headers["Idempotency-Replayed"] == "true"
    assert await database.pool.fetchval("SELECT count(*) FROM lists") == 1


async def test_stalled_database_answers_in_bounded_time_and_heals(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where packets vanish every request ends with 503 in its time, and no connection is lost to the pool by it."""
    assert transaction.CONNECTION_S + transaction.ORDINARY_S < 15
    monkeypatch.setattr(transaction, "ORDINARY_S", 0.8)
    monkeypatch.setattr(transaction, "CONNECTION_S", 0.5)
    monkeypatch.setattr(admission, "_ANSWER_S", 0.5)
    async with fault_proxy_before(database_url) as (url, proxy), served(database, url) as client:
        await asyncio.gather(*(client.get("/v1/lists") for _ in range(4)))
        proxy.stall()
        began = time.monotonic()
        answers = await asyncio.gather(
            *(client.post("/v1/lists", json={"name": f"s{n}"}) for n in range(4)),
            *(client.get("/v1/lists") for _ in range(4)),
            client.get("/v1/health"),
        )
        for answer in answers:
            problem(answer, 503, "unavailable")
        assert time.monotonic() - began < 5
        proxy.heal()
        for number in range(4):
            await done(await client.post("/v1/lists", json={"name": f"h{number}"}), 201)
        assert len((await done(await client.get("/v1/lists"), 200))["items"]) == 4


async def test_statement_that_waits_too_long_ends_on_the_server_too(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that was given up does not go on waiting for its lock, nor hold others."""
    monkeypatch.setattr(transaction, "ORDINARY_S", 0.5)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'troubled' AND wait_event_type = 'Lock'"
    async with served(database, database_url) as client, database.pool.acquire() as blocker, blocker.transaction():
        await blocker.execute("LOCK lists")
        asking = asyncio.create_task(client.post("/v1/lists", json={"name": "l"}))
        await eventually(lambda: database.pool.fetchval(waiting), bool, every_s=0.02)
        problem(await asking, 503, "unavailable")
        await eventually(lambda: database.pool.fetchval(waiting), lambda n: n == 0, timeout_s=15)


async def test_upload_into_a_full_database_is_503_and_leaves_no_job(client: Client, database: Database) -> None:
    """There is no half of a file: the same upload is taken once there is room."""
    await raising(database, "import_chunks", "53100")
    key = {**CSV, "Idempotency-Key": "k"}
    problem(await client.post("/v1/imports", content=FILE, headers=key), 503, "storage-full")
    assert await database.pool.fetchval("SELECT count(*) FROM import_jobs") == 0
    await healed(database)
    await done(await client.post("/v1/imports", content=FILE, headers=key), 202)


@pytest.mark.parametrize("sqlstate", ["53100", "40P01", "25006", "58030"])
@pytest.mark.parametrize("table", ["contacts", "import_errors"])
async def test_import_that_meets_trouble_goes_on_after_it(
    client: Client, database: Database, table: str, sqlstate: str
) -> None:
    """Trouble of the server fails no job and no row; the next worker brings it to the same end."""
    content = FILE + b"nonsense,C\n"
    job = await done(await client.post("/v1/imports", content=content, headers=CSV), 202)
    await raising(database, table, sqlstate)
    for _ in range(2):
        with pytest.raises(AWAY) as trouble:
            await run_next_import(database, "test")
        assert isinstance(trouble.value, asyncpg.PostgresError)
        assert trouble.value.sqlstate == sqlstate
        seen = await done(await client.get(f"/v1/imports/{job['id']}"), 200)
        assert seen["state"] in ("queued", "running")
        assert seen["error"] in (None, "")
    await healed(database)
    assert await run_next_import(database, "test")
    seen = await done(await client.get(f"/v1/imports/{job['id']}"), 200)
    assert (seen["state"], seen["rows_imported"], seen["rows_invalid"]) == ("completed", 2, 1)
    assert len((await done(await client.get(f"/v1/imports/{job['id']}/errors"), 200))["items"]) == 1
