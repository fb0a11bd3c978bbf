"""CSV imports, from the upload to contacts and row errors."""

import asyncio
import csv
import io
from typing import Any

import pytest

from hayabin.database.engine import Database
from services.api.imports import staging
from services.api.imports.runner import run_next_import
from services.api.spreadsheet import formula_safe
from tests.integration.api.rest import CSV, Client, done, import_csv, problem
from tests.support.waiting import eventually


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932"])
async def test_import_reads_the_encodings_of_the_field(client: Client, database: Database, encoding: str) -> None:
    """UTF-8 with and without BOM and CP932, quoted line ends, mobile addresses; bad rows are named by line."""
    made = await done(await client.post("/v1/lists", json={"name": "l"}), 201)
    text = (
        "メールアドレス,氏名,会社\r\n"
        "a..b@docomo.ne.jp,田中 花子,サンプル商事\r\n"
        '"c@example.com","髙橋\n次郎","①株式会社"\r\n'
        "broken,誰か,x\r\n"
        "\r\n"
        "d@example.com,多い,x,y\r\n"
        "a..b@docomo.ne.jp,田中 華子,新会社\r\n"
    )
    job = await import_csv(client, database, text.encode(encoding), made["id"])
    assert (job["state"], job["encoding"]) == ("completed", encoding)
    assert (job["rows_read"], job["rows_imported"], job["rows_duplicate"], job["rows_invalid"]) == (5, 2, 1, 2)
    errors = (await done(await client.get(f"/v1/imports/{job['id']}/errors"), 200))["items"]
    assert [(error["line"], error["reason"]) for error in errors] == [(5, "missing_at"), (7, "column_count")]
    contacts = (await done(await client.get("/v1/contacts"), 200))["items"]
    assert {c["email"]: (c["name"], c["attributes"]["会社"]) for c in contacts} == {
        "a..b@docomo.ne.jp": ("田中 華子", "新会社"),
        "c@example.com": ("髙橋 次郎", "①株式会社"),
    }
    assert (await done(await client.get(f"/v1/lists/{made['id']}"), 200))["subscribed"] == 2
    assert await database.pool.fetchval("SELECT count(*) FROM import_chunks") == 0


async def test_import_over_what_is_there_keeps_what_it_does_not_say(client: Client, database: Database) -> None:
    """Names, locales and attributes that the file leaves empty stay; who unsubscribed stays unsubscribed."""
    made = await done(await client.post("/v1/lists", json={"name": "l"}), 201)
    form = {"email": "a@b.example", "name": "Ada", "locale": "en", "attributes": {"city": "Oslo", "n": 1}}
    one = await done(await client.post("/v1/contacts", json=form), 201)
    await client.post(f"/v1/lists/{made['id']}/members", json={"contact_ids": [one["id"]]})
    await database.pool.execute("UPDATE list_members SET state = 'unsubscribed'")
    await import_csv(client, database, b"email,name,locale,city\nA@b.example,,,Bergen\nc@d.example,C,fr,\n", made["id"])
    known = await done(await client.get(f"/v1/contacts/{one['id']}"), 200)
    assert (known["name"], known["locale"], known["attributes"]) == ("Ada", "en", {"city": "Bergen", "n": 1})
    new = (await done(await client.get("/v1/contacts?email=c@d.example"), 200))["items"][0]
    assert (new["name"], new["locale"], new["attributes"]) == ("C", "fr", {})
    members = (await done(await client.get(f"/v1/lists/{made['id']}/members"), 200))["items"]
    assert [(m["email"], m["state"]) for m in members] == [
        ("A@b.example", "unsubscribed"),
        ("c@d.example", "subscribed"),
    ]


async def test_import_without_locales_keeps_those_that_are_known(client: Client, database: Database) -> None:
    """A file without a column of locales changes none, and gives new contacts the usual one; no list is touched."""
    form = {"email": "a@b.example", "name": "Ada", "locale": "en"}
    one = await done(await client.post("/v1/contacts", json=form), 201)
    job = await import_csv(client, database, b"email,name\nA@B.example,Ada L.\nc@d.example,C\nC@D.example,D\n")
    assert (job["rows_read"], job["rows_imported"], job["rows_duplicate"]) == (3, 2, 1)
    known = await done(await client.get(f"/v1/contacts/{one['id']}"), 200)
    assert (known["email"], known["name"], known["locale"]) == ("A@B.example", "Ada L.", "en")
    new = (await done(await client.get("/v1/contacts?email=c@d.example"), 200))["items"][0]
    assert (new["email"], new["name"], new["locale"]) == ("C@D.example", "D", "ja")
    assert await database.pool.fetchval("SELECT count(*) FROM list_members") == 0


async def test_import_of_several_pages_has_every_address_once(client: Client, database: Database) -> None:
    """The merge goes page by page of its sorted table, in parts of its file: none is left out at an edge."""
    made = await done(await client.post("/v1/lists", json={"name": "l"}), 201)
    rows = 30_000
    content = "email,x\n" + "".join(f"u{n * 7919 % rows}@example.com,{'x' * 120}{n}\n" for n in range(rows))
    job = await import_csv(client, database, content.encode(), made["id"])
    assert (job["state"], job["rows_imported"], job["rows_duplicate"]) == ("completed", rows, 0)
    size = rows * 150 / 8192
    assert size > staging.MERGE_BLOCKS, "or this is one page"
    assert await database.pool.fetchval("SELECT count(DISTINCT address_key) FROM contacts") == rows
    assert await database.pool.fetchval("SELECT count(*) FROM list_members") == rows


async def test_import_that_cannot_be_used_says_what_to_do(client: Client, database: Database) -> None:
    """A missing column, an empty file, a picture, no file in the envelope: each a clear answer, nothing imported."""
    job = await import_csv(client, database, b"name,company\nx,y\n")
    assert job["state"] == "failed"
    assert "email" in job["error"]
    assert "name, company" in job["error"]
    problem(await client.post("/v1/imports", content=b"", headers=CSV), 422, "empty-file")
    picture = {"Content-Type": "image/png"}
    problem(await client.post("/v1/imports", content=b"x", headers=picture), 415, "unsupported-media-type")
    problem(await client.post("/v1/imports", data={"file": "x"}, files={}), 415, "unsupported-media-type")
    packed = {**CSV, "content-encoding": "gzip"}
    problem(await client.post("/v1/imports", content=b"x", headers=packed), 415, "unsupported-media-type")
    envelope = {"Content-Type": "multipart/form-data; boundary=b"}
    bare = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n--b--\r\n'
    for wrong in (bare, b"nothing of the kind", b"--b\r\n"):
        problem(await client.post("/v1/imports", content=wrong, headers=envelope), 422, "invalid-multipart")
    problem(await client.post("/v1/imports?list_id=99", content=b"email\n", headers=CSV), 404, "not-found")
    assert await database.pool.fetchval("SELECT count(*) FROM contacts") == 0
    assert await database.pool.fetchval("SELECT count(*) FROM import_jobs") == 1


async def test_import_with_a_line_of_ten_megabytes_loses_only_that_line(client: Client, database: Database) -> None:
    """One monstrous row is an error; the rows around it are imported."""
    content = b"email,x\na@example.com,1\nb@example.com," + b"x" * 10_000_000 + b"\nc@example.com,3\n"
    job = await import_csv(client, database, content)
    assert (job["state"], job["rows_imported"], job["rows_invalid"]) == ("completed", 2, 1)
    errors = (await done(await client.get(f"/v1/imports/{job['id']}/errors"), 200))["items"]
    assert [(error["line"], error["reason"]) for error in errors] == [(3, "line_too_long")]


async def test_import_errors_come_in_pages_and_as_a_safe_table(client: Client, database: Database) -> None:
    """Every error once, in order of line; no cell of the table begins a formula, not even a column's own name."""
    rows = "".join(f'=cmd|" /C calc"!A{number},x\n' for number in range(5))
    job = await import_csv(client, database, f"email,＝SUM(1)\n{rows}a@b.example,\x00\n".encode())
    path = f"/v1/imports/{job['id']}/errors"
    first = await done(await client.get(f"{path}?limit=4"), 200)
    second = await done(await client.get(f"{path}?limit=4&cursor={first['next_cursor']}"), 200)
    assert [error["line"] for error in first["items"] + second["items"]] == [2, 3, 4, 5, 6, 7]
    table = await client.get(f"{path}.csv")
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    cells = list(csv.reader(io.StringIO(table.text.removeprefix("\ufeff"))))
    assert cells[0] == ["line", "column", "reason", "value"]
    assert cells[1][3] == '\'=cmd|" /C calc"!A0'
    assert cells[6][1:3] == ["'＝SUM(1)", "nul_character"]
    assert not any(cell.startswith(("=", "＝")) for row in cells for cell in row)
    assert formula_safe("a=b") == "a=b"
    assert formula_safe("\u22121") == "'\u22121"  # a full-width minus sign once it is CP932


async def test_import_of_a_dead_worker_is_taken_up_with_the_same_result(client: Client, database: Database) -> None:
    """A worker that died in the middle: the next one begins anew and nothing is doubled or forgotten."""
    rows = b"".join(b"u%d@example.com\nbroken%d\n" % (n, n) for n in range(3000))
    job = await done(await client.post("/v1/imports", content=b"email\n" + rows, headers=CSV), 202)
    first = asyncio.create_task(run_next_import(database, "first"))

    async def progress() -> dict[str, Any]:
        return dict((await database.pool.fetch("SELECT * FROM import_jobs"))[0])

    await eventually(progress, lambda job: job["rows_read"] > 0, every_s=0.002)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert (await progress())["state"] == "running"
    assert await run_next_import(database, "second")
    finished = await done(await client.get(f"/v1/imports/{job['id']}"), 200)
    assert (finished["state"], finished["rows_read"]) == ("completed", 6000)
    assert (finished["rows_imported"], finished["rows_invalid"], finished["rows_duplicate"]) == (3000, 3000, 0)
    assert await database.pool.fetchval("SELECT count(*) FROM contacts") == 3000
    assert await database.pool.fetchval("SELECT count(*) FROM import_errors") == 3000
    assert not await run_next_import(database, "third")


async def test_import_has_one_worker_and_each_worker_a_job_of_its_own(client: Client, database: Database) -> None:
    """Four workers, three jobs: each job is worked off once, also while its worker is slow."""
    for job in range(3):
        rows = b"".join(b"u%d-%d@example.com\n" % (job, n) for n in range(500))
        await done(await client.post("/v1/imports", content=b"email\n" + rows, headers=CSV), 202)
    async with database.pool.acquire() as slow:
        await slow.execute("SELECT pg_advisory_lock($1)", (0x68627901 << 32) | 1)
        taken = await asyncio.gather(*(run_next_import(database, f"w{n}") for n in range(4)))
        assert sorted(taken) == [False, False, True, True]
        states = [r["state"] for r in await database.pool.fetch("SELECT state FROM import_jobs ORDER BY id")]
        assert states == ["queued", "completed", "completed"]
    assert await run_next_import(database, "w5")
    assert await database.pool.fetchval("SELECT count(*) FROM contacts") == 1500


async def test_import_that_breaks_us_fails_once_and_frees_the_queue(client: Client, database: Database) -> None:
    """What nobody foresaw ends that job with an honest sentence; the next one is worked off."""
    await database.pool.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;"
        "CREATE TRIGGER broken BEFORE INSERT ON contacts FOR EACH ROW WHEN (NEW.name = 'x') EXECUTE FUNCTION refuse()"
    )
    job = await import_csv(client, database, b"email,name\na@b.example,x\n")
    assert job["state"] == "failed"
    assert "our fault" in job["error"]
    assert (await import_csv(client, database, b"email,name\na@b.example,y\n"))["state"] == "completed"
    listed = (await done(await client.get("/v1/imports"), 200))["items"]
    assert [item["state"] for item in listed] == ["completed", "failed"]


async def test_uploads_of_a_tenant_are_few_at_a_time(client: Client, database: Database) -> None:
    """A third upload of the same tenant is told to wait while two are under way; afterwards there is room again."""
    go = asyncio.Event()

    async def slow() -> Any:
        yield b"email\n"
        await go.wait()
        yield b"a@b.example\n"

    under_way = [asyncio.create_task(client.post("/v1/imports", content=slow(), headers=CSV)) for _ in range(2)]
    under_way_sql = (
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND datname = current_database()"
    )
    await eventually(lambda: database.pool.fetchval(under_way_sql), lambda held: held == 2, every_s=0.01)
    answer = await client.post("/v1/imports", content=b"email\n", headers=CSV)
    problem(answer, 429, "too-many-uploads")
    assert answer.headers["Retry-After"]
    go.set()
    for task in under_way:
        await done(await task, 202)
    await done(await client.post("/v1/imports", content=b"email\n", headers=CSV), 202)
    assert await database.pool.fetchval("SELECT min(size_bytes) FROM import_jobs") == 6


@pytest.mark.parametrize("broken", ["end", "begin"])
async def test_import_that_broke_off_leaves_its_job_to_the_next_worker(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """Whatever fails on the job's connection, it does not stay in the pool with the job's lock."""
    made = await done(await client.post("/v1/lists", json={"name": "l"}), 201)
    url = f"/v1/imports?list_id={made['id']}"
    await done(await client.post(url, content=b"email\na@b.example\n", headers=CSV), 202)

    async def fails(_connection: object) -> None:
        raise OSError("the disk is full")

    async with database.pool.acquire() as other:
        with monkeypatch.context() as patch:
            patch.setattr(staging, broken, fails)
            with pytest.raises(OSError, match="disk is full"):
                await run_next_import(database, "one")
        assert (
            await eventually(
                lambda: other.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), lambda n: n == 0
            )
            == 0
        )
