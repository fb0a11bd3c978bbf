"""A file is uploaded once, looked at, and then imported as it was seen."""

import json
from typing import Any

from hayabin.database.engine import Database
from services.api.imports.runner import run_next_import
from tests.integration.api.conftest import MakeClient
from tests.integration.api.rest import CSV, Client, done, import_csv, problem

FILE = (
    "メールアドレズ,氏 名,会社名,入会日,メモ\r\n"
    "a@b.example,田中 花子,サンプル商事,2026/4/1,x\r\n"
    "broken,誰か,y,2026/4/2,\r\n"
    "c@d.example,佐藤,別の会社,いつか,z\r\n"
).encode("utf-16")


async def defined(database: Database) -> None:
    """Two attributes that the tenant has defined, one of them personal."""
    await database.pool.execute(
        "INSERT INTO attribute_definitions (tenant_id, name, type, personal, max_chars, max_items, label_ja) "
        "SELECT id, a.name, a.type, a.personal, 1000, 100, a.label FROM tenants CROSS JOIN (VALUES "
        "('company', 'string', true, '会社名'), ('joined_on', 'date', false, '入会日')) AS a(name, type, personal, label) "
        "WHERE slug = 'acme'"
    )


async def uploaded(client: Client, content: bytes, query: str = "", **headers: str) -> dict[str, Any]:
    """A file that waits to be started."""
    answer = await client.post(f"/v1/imports?dry_run=true{query}", content=content, headers={**CSV, **headers})
    job: dict[str, Any] = await done(answer, 202)
    assert job["state"] == "preview"
    return job


async def finished(client: Client, database: Database, import_id: int) -> dict[str, Any]:
    """The job after a worker's turn."""
    assert await run_next_import(database, "test")
    job: dict[str, Any] = await done(await client.get(f"/v1/imports/{import_id}"), 200)
    return job


async def test_preview_shows_form_mapping_and_rows_and_is_imported_as_seen(client: Client, database: Database) -> None:
    """UTF-16 with a slip in its header: found out, suggested, shown with its errors; started without a word it is that."""
    await defined(database)
    job = await uploaded(client, FILE)
    assert not await run_next_import(database, "test"), "a preview is nobody's job"
    seen = await done(await client.get(f"/v1/imports/{job['id']}/preview"), 200)
    assert (seen["format"], seen["encoding"], seen["delimiter"]) == ("csv", "utf-16-le", ",")
    assert seen["mapping"] == {"メールアドレズ": "email", "氏 名": "name", "会社名": "attribute:company",
                               "入会日": "attribute:joined_on", "メモ": "attribute:メモ"}  # fmt: skip
    assert {s["column"]: s["score"] for s in seen["suggestions"]}["メールアドレズ"] < 1
    assert seen["rows"][0] == {
        "line": 2, "error": None,
        "contact": {"email": "a@b.example", "name": "田中 花子", "locale": "", "stage": "", "time_zone": "",
                    "consented_at": None,
                    "attributes": {"company": "サンプル商事", "joined_on": "2026-04-01", "メモ": "x"}},
    }  # fmt: skip
    assert [row["error"] and (row["error"]["column"], row["error"]["reason"]) for row in seen["rows"][1:]] == [
        ("メールアドレズ", "missing_at"),
        ("入会日", "not_a_date"),
    ]
    assert await database.pool.fetchval("SELECT count(*) FROM contacts") == 0
    await done(await client.post(f"/v1/imports/{job['id']}/start", json={}), 202)
    job = await finished(client, database, job["id"])
    assert (job["state"], job["rows_imported"], job["rows_invalid"]) == ("completed", 1, 2)
    assert job["progress"]["percent"] == 100
    (contact,) = (await done(await client.get("/v1/contacts"), 200))["items"]
    assert contact["attributes"] == {"company": "サンプル商事", "joined_on": "2026-04-01", "メモ": "x"}


async def test_preview_with_another_mapping_and_form(client: Client, database: Database) -> None:
    """A mapping can be tried; what is not named is skipped; encoding and delimiter can be said against what was found."""
    content = b"mail;who;note\na@b.example;Ada;1\n"
    job = await uploaded(client, content)
    mapping = {"mail": "email", "who": "name"}
    path = f"/v1/imports/{job['id']}"
    seen = await done(await client.get(f"{path}/preview", params={"mapping": json.dumps(mapping)}), 200)
    assert (seen["rows"][0]["contact"]["name"], seen["rows"][0]["contact"]["attributes"]) == ("Ada", {})
    for wrong, word in (("{", "no JSON"), ('{"mail": "x"}', "no target"), ('{"who": "name"}', "`email`")):
        answer = await client.get(f"{path}/preview", params={"mapping": wrong})
        assert word in problem(answer, 422, "invalid-mapping")["detail"]
    answer = await client.post(f"{path}/start", json={"mapping": {"nobody": "email"}})
    assert "nobody" in problem(answer, 422, "invalid-mapping")["detail"]
    answer = await client.post(f"{path}/start", json={"delimiter": ","})
    assert "mail;who;note" in problem(answer, 422, "invalid-mapping")["detail"]
    await done(await client.post(f"{path}/start", json={"mapping": mapping}), 202)
    problem(await client.post(f"{path}/start", json={}), 409, "wrong-state")
    await finished(client, database, job["id"])
    problem(await client.get(f"{path}/preview"), 409, "wrong-state")
    (contact,) = (await done(await client.get("/v1/contacts"), 200))["items"]
    assert (contact["email"], contact["name"], contact["attributes"]) == ("a@b.example", "Ada", {})


async def test_dry_run_reads_every_row_and_changes_nothing(client: Client, database: Database) -> None:
    """All rows are checked, errors can be downloaded, nobody is added; afterwards it can be started for good."""
    rows = "".join(f"u{n}@example.com,{n}\n" if n % 10 else f"broken{n},\n" for n in range(500))
    job = await uploaded(client, f"email,n\n{rows}".encode())
    await done(await client.post(f"/v1/imports/{job['id']}/start", json={"dry_run": True}), 202)
    job = await finished(client, database, job["id"])
    assert (job["state"], job["rows_read"], job["rows_invalid"], job["rows_imported"]) == ("preview", 500, 50, 0)
    assert (await client.get(f"/v1/imports/{job['id']}/errors.csv")).text.count("missing_at") == 50
    assert await database.pool.fetchval("SELECT count(*) FROM contacts") == 0
    await done(await client.post(f"/v1/imports/{job['id']}/start", json={}), 202)
    job = await finished(client, database, job["id"])
    assert (job["state"], job["rows_imported"], job["rows_invalid"]) == ("completed", 450, 50)


async def test_preview_without_the_right_is_masked(make_client: MakeClient, database: Database) -> None:
    """Who may not read personal data sees neither addresses, names and personal attributes nor the values of errors."""
    client = await make_client("acme")
    await defined(database)
    clerk = await make_client("acme", "contacts:read", "contacts:write")
    job = await uploaded(clerk, FILE)
    seen = await clerk.get(f"/v1/imports/{job['id']}/preview")
    for secret in ("a@b.example", "花子", "サンプル商事", "broken"):
        assert secret not in seen.text, secret
    assert "2026-04-01" in seen.text
    assert "a•••@b.example" in seen.text
    await done(await clerk.post(f"/v1/imports/{job['id']}/start", json={}), 202)
    await finished(clerk, database, job["id"])
    for path in ("errors", "errors.csv"):
        text = (await clerk.get(f"/v1/imports/{job['id']}/{path}")).text
        assert "missing_at" in text
        assert "broken" not in text
        assert "broken" in (await client.get(f"/v1/imports/{job['id']}/{path}")).text


async def test_preview_of_an_unusable_file_says_why(client: Client) -> None:
    """No column of addresses, no header, a broken one: a sentence, and what could be found out all the same."""
    for content, word in (
        (b"x,y\n1,2\n", "map one to `email`"),
        (b"\n\n", "no header"),
        (b'"a\n', "not closed"),
        (b'{"x": 1}\n', "map one to `email`"),
    ):
        job = await uploaded(client, content)
        seen = await done(await client.get(f"/v1/imports/{job['id']}/preview"), 200)
        assert word in seen["problem"], content
        assert seen["rows"] == []
    problem(await client.get("/v1/imports/999/preview"), 404, "not-found")


async def test_preview_shows_a_hundred_rows_of_a_large_file(client: Client) -> None:
    """The beginning is enough, whatever follows; a row that is cut off by the end of the beginning is not shown."""
    rows = "".join(f"u{n}@example.com,{'x' * 150}\n" for n in range(20_000))
    job = await uploaded(client, f"email,n\n{rows}".encode(), filename="big.csv")
    seen = await done(await client.get(f"/v1/imports/{job['id']}/preview"), 200)
    assert [row["line"] for row in seen["rows"]] == list(range(2, 102))
    objects = "".join(json.dumps({"email": f"u{n}@example.com", "x": "y" * 20_000}) + "\n" for n in range(120))
    job = await uploaded(client, objects.encode())
    seen = await done(await client.get(f"/v1/imports/{job['id']}/preview"), 200)
    assert (seen["format"], seen["header"]) == ("ndjson", ["email", "x"])
    assert 40 < len(seen["rows"]) < 100
    assert all(row["error"]["reason"] == "value_too_long" for row in seen["rows"])


async def test_upload_takes_its_options_from_the_query(client: Client, database: Database) -> None:
    """The one-step upload: format, encoding, delimiter, mapping and mode as parameters; wrong ones are refused unread."""
    params = {
        "encoding": "utf-16-be", "delimiter": "|", "filename": "x.txt",
        "mapping": json.dumps({"who": "email", "what": "attribute:n"}),
    }  # fmt: skip
    content = "who|what|more\na@b.example|1|2\n".encode("utf-16-be")
    job = await done(await client.post("/v1/imports", content=content, headers=CSV, params=params), 202)
    assert (job["state"], job["encoding"], job["delimiter"], job["format"]) == ("queued", "utf-16-be", "|", "csv")
    assert (await finished(client, database, job["id"]))["rows_imported"] == 1
    (contact,) = (await done(await client.get("/v1/contacts"), 200))["items"]
    assert contact["attributes"] == {"n": "1"}
    for query in ("mode=replace", "encoding=latin-1", "delimiter=x", "format=xls", "consented_at=2026-01-01T00:00:00"):
        problem(await client.post(f"/v1/imports?{query}", content=content, headers=CSV), 422, "invalid-request")
    answer = await client.post("/v1/imports?consented_at=2999-01-01T00:00:00Z", content=content, headers=CSV)
    errors = problem(answer, 422, "invalid-request")["errors"]
    assert [error["pointer"] for error in errors] == ["query:consented_at"]
    answer = await client.post("/v1/imports", content=content, headers=CSV, params={"mapping": '{"a": "b"}'})
    problem(answer, 422, "invalid-mapping")
    ndjson = {"Content-Type": "application/x-ndjson"}
    job = await done(await client.post("/v1/imports", content=b'{"email":"n@x.example","k":[1]}', headers=ndjson), 202)
    assert (await finished(client, database, job["id"]))["format"] == "ndjson"
    assert await import_csv(client, database, b"email\tx\nt@x.example\t1\n")
    assert await database.pool.fetchval("SELECT count(*) FROM contacts") == 3
