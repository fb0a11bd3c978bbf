"""Exports, from the request to the downloaded file."""

import asyncio
import csv
import io
from typing import Any

import orjson
import pytest

from hayabin.database.engine import Database
from services.api.exports import runner
from services.api.exports.runner import run_next_export
from services.api.exports.subjects import SUBJECTS
from services.api.exports.table import Layout
from services.api.routes import exports as routes
from services.api.scheduler.forgetting import forget_old
from tests.integration.api.conftest import MakeClient
from tests.integration.api.rest import Client, a_campaign, done, import_csv, problem


async def exported(client: Client, database: Database, **form: Any) -> tuple[dict[str, Any], bytes]:
    """Ask for an export, run it, download it."""
    job = await done(await client.post("/v1/exports", json=form), 202)
    assert await run_next_export(database, "test")
    job = await done(await client.get(f"/v1/exports/{job['id']}"), 200)
    assert job["error"] is None
    answer = await client.get(f"/v1/exports/{job['id']}/download")
    assert answer.status_code == 200, answer.text
    assert len(answer.content) == job["size_bytes"] == int(answer.headers["Content-Length"])
    return job, answer.content


def table(content: bytes, encoding: str = "utf-8-sig") -> list[list[str]]:
    """The cells of a CSV."""
    return list(csv.reader(io.StringIO(content.decode(encoding), newline="")))


async def some_people(client: Client, database: Database) -> int:
    """Three contacts, two of them on a list, one with a formula for a name; gives the list."""
    target = int((await done(await client.post("/v1/lists", json={"name": "l"}), 201))["id"])
    await import_csv(
        client, database, "email,name,会社\na@b.example,=1+1,①髙橋〜𠮷\nb@b.example,花子,\n".encode(), target
    )
    await client.post("/v1/contacts", json={"email": "c@b.example", "name": "C", "attributes": {"n": 1, "t": ["x"]}})
    return target


async def test_export_of_contacts_as_csv_is_safe_and_complete(client: Client, database: Database) -> None:
    """All columns by default, with a BOM for Excel; no cell begins a formula; a list narrows it; attributes by name."""
    target = await some_people(client, database)
    job, content = await exported(client, database, what="contacts")
    assert content.startswith(b"\xef\xbb\xbf")
    head, *rows = table(content)
    assert head == list(SUBJECTS["contacts"].columns)  # type: ignore[index]
    assert [row[1] for row in rows] == ["a@b.example", "b@b.example", "c@b.example"]
    assert (rows[0][2], orjson.loads(rows[2][7])) == ("'=1+1", {"n": 1, "t": ["x"]})
    assert (job["state"], job["rows"], job["masked"]) == ("completed", 3, False)
    columns = ["email", "attribute:会社", "attribute:n", "attribute:t"]
    _, content = await exported(client, database, what="contacts", columns=columns, encoding="utf-8",
                                filter={"list_id": target})  # fmt: skip
    assert table(content, "utf-8") == [columns, ["a@b.example", "①髙橋〜𠮷", "", ""], ["b@b.example", "", "", ""]]
    answer = await client.get("/v1/exports/1/download")
    assert 'attachment; filename="contacts-1.csv"' in answer.headers["Content-Disposition"]
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"


async def test_export_of_a_segment_has_who_meets_its_rules(client: Client, database: Database) -> None:
    """The segment's own rules say who is in it; one that is gone by then ends the job with a sentence."""
    await some_people(client, database)
    rules = {"attribute": "会社", "is": "is_set"}
    made = await done(await client.post("/v1/segments", json={"name": "s", "rules": rules}), 201)
    which = {"segment_id": made["id"]}
    _, content = await exported(client, database, what="contacts", columns=["email"], filter=which)
    assert table(content) == [["email"], ["a@b.example"]]
    problem(await client.post("/v1/exports", json={"what": "suppressions", "filter": which}), 422, "invalid-request")
    problem(await client.post("/v1/exports", json={"what": "contacts", "filter": {"segment_id": 99}}), 404, "not-found")
    job = await done(await client.post("/v1/exports", json={"what": "contacts", "filter": which}), 202)
    await database.pool.execute("DELETE FROM segments")
    assert await run_next_export(database, "test")
    job = await done(await client.get(f"/v1/exports/{job['id']}"), 200)
    assert (job["state"], "segment is gone" in job["error"]) == ("failed", True)


async def test_export_in_cp932_replaces_and_counts_what_it_has_not(client: Client, database: Database) -> None:
    """Windows' own characters stay, a wave dash becomes the one it has, others are replaced and counted."""
    await some_people(client, database)
    job, content = await exported(client, database, what="contacts", columns=["attribute:会社"], encoding="cp932")
    assert table(content, "cp932")[1] == ["①髙橋～?"]
    assert (job["characters_replaced"], job["encoding"]) == (1, "cp932")


async def test_export_as_ndjson_can_be_imported_again(
    client: Client, make_client: MakeClient, database: Database
) -> None:
    """JSON types stay; another tenant that imports the file has the same contacts."""
    await some_people(client, database)
    _, content = await exported(client, database, what="contacts", format="ndjson")
    other = await make_client("other")
    job = await import_csv(other, database, content)
    assert (job["format"], job["rows_imported"], job["rows_invalid"]) == ("ndjson", 3, 0)

    async def contacts(of: Client) -> Any:
        items = (await done(await of.get("/v1/contacts"), 200))["items"]
        return [(c["email"], c["name"], c["attributes"].get("t"), c["attributes"].get("会社")) for c in items]

    assert await contacts(client) == await contacts(other)


async def test_exports_of_everything_else(client: Client, database: Database) -> None:
    """Members, suppressions, consents, a campaign's messages and events, each with its filters, of this tenant only."""
    target = await some_people(client, database)
    await client.post("/v1/suppressions", json={"emails": ["z@z.example"]})
    campaign = await a_campaign(client)
    launched = await client.post(f"/v1/campaigns/{campaign['id']}/launch", json={"allow_unverified_domain": True})
    await done(launched, 200)
    await database.pool.execute(
        "INSERT INTO events (event_id, tenant_id, campaign_id, message_id, kind, occurred_at) "
        "SELECT decode(md5(id::text), 'hex'), tenant_id, campaign_id, id, 'open', now() FROM messages LIMIT 1"
    )
    wanted: list[tuple[str, dict[str, Any], int]] = [
        ("list_members", {"list_id": target}, 2),
        ("list_members", {"list_id": target, "state": "unsubscribed"}, 0),
        ("suppressions", {}, 1),
        ("suppressions", {"list_id": target}, 0),
        ("consents", {"list_id": target}, 2),
        ("consents", {"until": "2020-01-01T00:00:00Z"}, 0),
        ("campaign_messages", {"campaign_id": campaign["id"]}, 3),
        ("events", {"campaign_id": campaign["id"], "since": "2020-01-01T00:00:00Z"}, 1),
        ("events", {"until": "2020-01-01T00:00:00Z"}, 0),
    ]
    for what, which, rows in wanted:
        job, content = await exported(client, database, what=what, filter=which)
        assert (len(table(content)) - 1, job["rows"]) == (rows, rows), (what, which)
    _, content = await exported(client, database, what="list_members", filter={"list_id": target},
                                columns=["email", "attribute:会社", "flags"])  # fmt: skip
    assert table(content)[1] == ["a@b.example", "①髙橋〜𠮷", ""]


async def test_export_needs_rights_and_is_masked_without_them(make_client: MakeClient, database: Database) -> None:
    """Exporting is a right of its own; personal data stays masked without another; nobody downloads more than they see."""
    owner = await make_client("acme")
    target = await some_people(owner, database)
    reader = await make_client("acme", "contacts:read", "contacts:read_personal")
    problem(await reader.post("/v1/exports", json={"what": "contacts"}), 403, "missing-scope")
    clerk = await make_client("acme", "contacts:export", "contacts:read")
    for what, which in (("suppressions", {}), ("consents", {}), ("campaign_messages", {"campaign_id": 1})):
        problem(await clerk.post("/v1/exports", json={"what": what, "filter": which}), 403, "missing-scope")
    job, content = await exported(clerk, database, what="contacts")
    assert job["masked"]
    assert b"a@b.example" not in content
    assert table(content)[2][1:3] == ["b•••@b.example", "花•••"]
    whole, _ = await exported(owner, database, what="list_members", filter={"list_id": target})
    problem(await clerk.get(f"/v1/exports/{whole['id']}/download"), 403, "missing-scope")
    stranger = await make_client("other")
    for path in (f"/v1/exports/{job['id']}", f"/v1/exports/{job['id']}/download"):
        problem(await stranger.get(path), 404, "not-found")
    problem(await stranger.post(f"/v1/exports/{job['id']}/cancel"), 404, "not-found")
    problem(
        await stranger.post("/v1/exports", json={"what": "contacts", "filter": {"list_id": target}}), 404, "not-found"
    )
    lines = await database.pool.fetch("SELECT action, count(*) AS n FROM audit_pending GROUP BY 1")
    done_so_far = {line["action"]: line["n"] for line in lines}
    linked = await database.pool.fetch("SELECT action, count(*) AS n FROM audit_log GROUP BY 1")
    for line in linked:
        done_so_far[line["action"]] = done_so_far.get(line["action"], 0) + line["n"]
    assert (done_so_far["createExport"], done_so_far["downloadExport"]) == (2, 2)


@pytest.mark.parametrize(
    ("form", "slug", "word"),
    [
        ({"what": "everything"}, "invalid-request", ""),
        ({"what": "contacts", "filter": {"campaign_id": 1}}, "invalid-request", "campaign_id"),
        ({"what": "list_members"}, "invalid-request", "list_id"),
        ({"what": "contacts", "columns": ["email", "password"]}, "invalid-columns", "time_zone"),
        ({"what": "contacts", "columns": ["email", "email"]}, "invalid-columns", "once"),
        ({"what": "suppressions", "columns": ["attribute:x"]}, "invalid-columns", "reason"),
        ({"what": "contacts", "columns": ['email" FROM tenants --']}, "invalid-columns", "email"),
        ({"what": "contacts", "format": "ndjson", "encoding": "cp932"}, "invalid-request", "UTF-8"),
        ({"what": "consents", "filter": {"since": "0001-01-01T00:00:00+09:00"}}, "invalid-request", ""),
    ],
)
async def test_export_that_cannot_be_says_what_there_is(
    client: Client, form: dict[str, Any], slug: str, word: str
) -> None:
    """Unknown subjects, filters and columns are refused with what there is instead."""
    assert word in problem(await client.post("/v1/exports", json=form), 422, slug)["detail"]


async def test_export_is_cancelled_taken_up_and_forgotten(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled within a batch; one whose worker died is written anew, whole; after its days the file is gone."""
    await import_csv(client, database, b"email\n" + b"".join(b"u%d@example.com\n" % n for n in range(5000)))
    there, go = asyncio.Event(), asyncio.Event()

    def slow(self: Layout, rows: Any) -> tuple[bytes, int]:
        loop.call_soon_threadsafe(there.set)
        asyncio.run_coroutine_threadsafe(go.wait(), loop).result()
        return rows_of(self, rows)

    loop, rows_of = asyncio.get_running_loop(), Layout.rows
    with monkeypatch.context() as patch:
        patch.setattr(Layout, "rows", slow)
        job = await done(await client.post("/v1/exports", json={"what": "contacts"}), 202)
        worker = asyncio.create_task(run_next_export(database, "one"))
        await there.wait()
        problem(await client.get(f"/v1/exports/{job['id']}/download"), 409, "wrong-state")
        await done(await client.post(f"/v1/exports/{job['id']}/cancel"), 200)
        go.set()
        assert await worker
    assert (await client.get(f"/v1/exports/{job['id']}")).json()["state"] == "cancelled"
    assert await database.pool.fetchval("SELECT count(*) FROM export_chunks") == 0
    problem(await client.post(f"/v1/exports/{job['id']}/cancel"), 409, "wrong-state")

    job = await done(await client.post("/v1/exports", json={"what": "contacts", "columns": ["email"]}), 202)
    await database.pool.execute("UPDATE export_jobs SET state = 'running', rows = 7 WHERE id = $1", job["id"])
    await database.pool.execute("INSERT INTO export_chunks VALUES ($1, 0, 'half'), ($1, 5, 'rest')", job["id"])
    assert await run_next_export(database, "next")
    assert not await run_next_export(database, "next")
    content = (await client.get(f"/v1/exports/{job['id']}/download")).content
    assert len(table(content)) == 5001
    await database.pool.execute("UPDATE export_jobs SET expires_at = now() - interval '1 second'")
    await forget_old(database.pool)
    assert (await client.get(f"/v1/exports/{job['id']}")).json()["state"] == "expired"
    assert await database.pool.fetchval("SELECT count(*) FROM export_chunks") == 0
    problem(await client.get(f"/v1/exports/{job['id']}/download"), 409, "wrong-state")


async def test_export_has_bounds(client: Client, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that would be too large fails with what to do; so many jobs of a tenant may wait; chunks are whole."""
    await import_csv(client, database, b"email\n" + b"".join(b"u%d@example.com\n" % n for n in range(3000)))
    monkeypatch.setattr(runner, "CHUNK_BYTES", 10_000)
    _, content = await exported(client, database, what="contacts", columns=["email"])
    assert len(table(content)) == 3001
    sizes = await database.pool.fetch("SELECT length(content) AS n FROM export_chunks ORDER BY number")
    assert {row["n"] for row in sizes[:-1]} == {10_000}
    monkeypatch.setattr(runner, "MAX_BYTES", 20_000)
    job = await done(await client.post("/v1/exports", json={"what": "contacts"}), 202)
    assert await run_next_export(database, "one")
    job = await done(await client.get(f"/v1/exports/{job['id']}"), 200)
    assert (job["state"], "fewer columns" in job["error"]) == ("failed", True)
    assert await database.pool.fetchval("SELECT count(*) FROM export_chunks WHERE job_id = $1", job["id"]) == 0
    monkeypatch.setattr(routes, "MAX_OPEN", 1)
    await done(await client.post("/v1/exports", json={"what": "contacts"}), 202)
    problem(await client.post("/v1/exports", json={"what": "contacts"}), 409, "limit-reached")
