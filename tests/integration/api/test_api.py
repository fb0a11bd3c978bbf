"""The REST API on a real PostgreSQL."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from hayabin.database.engine import Database
from services.api.imports.runner import run_next_import

Client = httpx.AsyncClient
MJML = (
    "<mjml><mj-body><mj-section><mj-column><mj-text>{{ name }} 様</mj-text></mj-column></mj-section></mj-body></mjml>"
)


async def done(answer: httpx.Response, status: int) -> Any:
    """The JSON of an answer that must have a status."""
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


def problem(answer: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    """The problem of an answer."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["type"] == f"/problems/{slug}", body
    assert body["status"] == status
    return body


async def a_campaign(client: Client, people: int = 3, **more: Any) -> dict[str, Any]:
    """A draft campaign with its list, template and domain, made over REST."""
    made = await done(await client.post("/v1/lists", json={"name": f"list{people}"}), 201)
    for number in range(people):
        contact = await done(await client.post("/v1/contacts", json={"email": f"u{number}@x.example"}), 201)
        await done(await client.post(f"/v1/lists/{made['id']}/members", json={"contact_ids": [contact["id"]]}), 200)
    template = {"name": f"t{people}", "kind": "mjml", "subject": "Hi {{ name }}", "source": MJML}
    version = await done(await client.post("/v1/templates", json=template), 201)
    await done(await client.post(f"/v1/templates/{version['id']}/versions/1/publish"), 200)
    domain = await client.post("/v1/domains", json={"name": "mail.example.jp"})
    assert domain.status_code in (201, 409)
    form = {
        "name": "c",
        "template_version_id": version["version"]["id"],
        "list_id": made["id"],
        "from_name": "早便",
        "from_address": "news@mail.example.jp",
        **more,
    }
    campaign: dict[str, Any] = await done(await client.post("/v1/campaigns", json=form), 201)
    return campaign


async def test_launch_puts_the_audience_into_the_ledger(client: Client, database: Database) -> None:
    """Create, launch with the override, and see everybody due; stats hold the equation."""
    campaign = await a_campaign(client)
    launched = await done(
        await client.post(f"/v1/campaigns/{campaign['id']}/launch", json={"allow_unverified_domain": True}), 200
    )
    assert (launched["state"], launched["audience"]) == ("sending", 3)
    assert await database.pool.fetchval("SELECT count(*) FROM messages") == 3
    stats = await done(await client.get(f"/v1/campaigns/{campaign['id']}/stats"), 200)
    assert stats["due"] == stats["audience"] == 3
    assert sum(stats[s] for s in ("accepted", "failed", "suppressed", "cancelled", "expired", "unknown", "due")) == 3
    messages = await done(await client.get(f"/v1/campaigns/{campaign['id']}/messages?limit=2"), 200)
    rest = await done(
        await client.get(f"/v1/campaigns/{campaign['id']}/messages?limit=2&cursor={messages['next_cursor']}"), 200
    )
    assert len({item["id"] for item in messages["items"] + rest["items"]}) == 3
    assert rest["next_cursor"] is None
    one = await done(await client.get(f"/v1/messages/{messages['items'][0]['id']}"), 200)
    assert one["timeline"] == []


async def test_launch_refusals_each_say_why(client: Client) -> None:
    """Unverified domain, empty audience, twice: each its own problem, and nothing is launched by it."""
    campaign = await a_campaign(client)
    problem(await client.post(f"/v1/campaigns/{campaign['id']}/launch"), 409, "unverified-domain")
    empty = await a_campaign(client, 0)
    override = {"allow_unverified_domain": True}
    problem(await client.post(f"/v1/campaigns/{empty['id']}/launch", json=override), 422, "empty-audience")
    await done(await client.post(f"/v1/campaigns/{campaign['id']}/launch", json=override), 200)
    problem(await client.post(f"/v1/campaigns/{campaign['id']}/launch", json=override), 409, "wrong-state")
    await done(await client.post(f"/v1/campaigns/{campaign['id']}/pause"), 200)
    problem(await client.post(f"/v1/campaigns/{campaign['id']}/pause"), 409, "wrong-state")
    await done(await client.post(f"/v1/campaigns/{campaign['id']}/resume"), 200)
    await done(await client.post(f"/v1/campaigns/{campaign['id']}/cancel"), 200)
    problem(await client.post(f"/v1/campaigns/{campaign['id']}/resume"), 409, "wrong-state")


async def test_idempotency_key_twenty_at_once_have_one_effect(client: Client, database: Database) -> None:
    """One launch of twenty happens; the others are its replay or are told to come again."""
    campaign = await a_campaign(client)
    headers = {"Idempotency-Key": "launch-1"}
    body = {"allow_unverified_domain": True}

    async def launch() -> httpx.Response:
        return await client.post(f"/v1/campaigns/{campaign['id']}/launch", json=body, headers=headers)

    answers = await asyncio.gather(*(launch() for _ in range(20)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert all("idempotency-in-flight" in answer.text for answer in answers if answer.status_code == 409)
    assert all(answer.headers["Retry-After"] for answer in answers if answer.status_code == 409)
    again = await launch()
    assert again.status_code == 200
    assert again.headers["Idempotency-Replayed"] == "true"
    assert await database.pool.fetchval("SELECT count(*) FROM messages") == 3
    other = await client.post(
        f"/v1/campaigns/{campaign['id']}/launch", json={"allow_unverified_domain": False}, headers=headers
    )
    problem(other, 422, "idempotency-key-reused")


async def test_idempotency_key_of_a_refused_request_is_free(client: Client) -> None:
    """A refusal has no effect and keeps no key: the mended request may use it again."""
    headers = {"Idempotency-Key": "list-1"}
    problem(await client.post("/v1/lists", json={"name": ""}, headers=headers), 422, "invalid-request")
    await done(await client.post("/v1/lists", json={"name": "ok"}, headers=headers), 201)


async def test_keys_wrong_revoked_expired_and_without_scope_are_refused(
    client: Client, make_client: Callable[..., Awaitable[Client]], database: Database
) -> None:
    """401 for what is no valid key, 403 naming the scope that a valid one lacks."""
    right = client.headers["Authorization"]
    for wrong in ("", "Bearer x", right[:-1] + ("A" if right[-1] != "A" else "B"), right.replace("hyb_", "hyc_")):
        problem(await client.get("/v1/contacts", headers={"Authorization": wrong}), 401, "unauthenticated")
    reader = await make_client("acme", "contacts:read")
    await done(await reader.get("/v1/contacts"), 200)
    assert (
        "contacts:write"
        in problem(await reader.post("/v1/contacts", json={"email": "a@b.example"}), 403, "missing-scope")["detail"]
    )
    await database.pool.execute(
        "UPDATE api_keys SET expires_at = now() - interval '1 s' WHERE scopes = '{contacts:read}'"
    )
    problem(await reader.get("/v1/contacts"), 401, "unauthenticated")
    await database.pool.execute("UPDATE api_keys SET revoked_at = now()")
    problem(await client.get("/v1/contacts"), 401, "unauthenticated")


async def test_other_tenants_things_are_not_there(
    client: Client, make_client: Callable[..., Awaitable[Client]], database: Database
) -> None:
    """Every id of one tenant is 404 for another, for reading and for writing, and nothing changes."""
    campaign = await a_campaign(client)
    await client.post(f"/v1/campaigns/{campaign['id']}/launch", json={"allow_unverified_domain": True})
    await client.post("/v1/imports", content=b"email\na@b.example\n", headers={"Content-Type": "text/csv"})
    await client.post("/v1/suppressions", json={"emails": ["s@x.example"]})
    stranger = await make_client("stranger")
    ids = {
        table: await database.pool.fetchval(f"SELECT max(id) FROM {table}")
        for table in ("contacts", "lists", "templates", "campaigns", "messages", "import_jobs", "domains")
    }
    reads = [
        f"/v1/contacts/{ids['contacts']}", f"/v1/lists/{ids['lists']}", f"/v1/templates/{ids['templates']}",
        f"/v1/campaigns/{ids['campaigns']}", f"/v1/campaigns/{ids['campaigns']}/stats",
        f"/v1/campaigns/{ids['campaigns']}/messages", f"/v1/campaigns/{ids['campaigns']}/audience",
        f"/v1/messages/{ids['messages']}", f"/v1/imports/{ids['import_jobs']}",
        f"/v1/imports/{ids['import_jobs']}/errors", f"/v1/domains/{ids['domains']}", "/v1/suppressions/s@x.example",
    ]  # fmt: skip
    for path in reads:
        assert (await client.get(path)).status_code == 200, path
        problem(await stranger.get(path), 404, "not-found")
    writes = [
        ("POST", f"/v1/campaigns/{ids['campaigns']}/{verb}", None) for verb in ("launch", "pause", "resume", "cancel")
    ] + [
        ("DELETE", f"/v1/contacts/{ids['contacts']}", None),
        ("PATCH", f"/v1/contacts/{ids['contacts']}", {"name": "x"}),
        ("POST", f"/v1/lists/{ids['lists']}/members", {"contact_ids": [ids["contacts"]]}),
        ("POST", f"/v1/templates/{ids['templates']}/versions/1/publish", None),
        ("POST", f"/v1/domains/{ids['domains']}/verify", None),
        ("POST", f"/v1/campaigns/{ids['campaigns']}/test", {"to": ["a@b.example"]}),
        ("DELETE", "/v1/suppressions/s@x.example", None),
    ]
    for method, path, body in writes:
        problem(await stranger.request(method, path, json=body), 404, "not-found")
    for path in ("/v1/contacts", "/v1/lists", "/v1/templates", "/v1/campaigns", "/v1/suppressions", "/v1/domains"):
        assert (await done(await stranger.get(path), 200))["items"] == []
    assert await database.pool.fetchval("SELECT state FROM campaigns WHERE id = $1", ids["campaigns"]) == "sending"


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("/v1/contacts", {"email": "no-at-sign"}, "#/email"),
        ("/v1/contacts", {"email": "a..b@example.com"}, "#/email"),
        ("/v1/contacts", {"email": "a@b.example", "surprise": 1}, "#/surprise"),
        ("/v1/contacts", {"email": 7}, "#/email"),
        ("/v1/contacts", {"email": "a@b.example", "name": "x\r\nBcc: y"}, "#/name"),
        ("/v1/contacts", {"email": "a@b.example", "attributes": {"a": "\x00"}}, "#/attributes"),
        ("/v1/lists", {"name": "x" * 201}, "#/name"),
        ("/v1/suppressions", {"emails": []}, "#/emails"),
        ("/v1/suppressions", {"emails": ["a@b.example"], "list_id": False}, "#/list_id"),
    ],
)
async def test_bad_input_is_422_with_a_pointer(client: Client, path: str, body: Any, pointer: str) -> None:
    """What is wrong is named by its place in the body."""
    answer = await client.post(path, json=body)
    assert answer.status_code == 422, answer.text
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]


async def test_broken_requests_are_problems_too(client: Client) -> None:
    """Unknown address, wrong method, no JSON, too large, a foreign cursor: never a bare error page."""
    problem(await client.get("/v1/nothing"), 404, "not-found")
    problem(await client.delete("/v1/lists"), 405, "method-not-allowed")
    assert (
        await client.post("/v1/lists", content=b"{", headers={"Content-Type": "application/json"})
    ).status_code == 422
    problem(await client.post("/v1/contacts", json={"email": "a@b.example", "name": "x" * 3_000_000}), 413, "too-large")
    problem(await client.get("/v1/contacts?cursor=%00%ff"), 422, "invalid-cursor")
    problem(await client.get("/v1/contacts/99999999999999999999"), 422, "invalid-request")


async def test_template_problems_name_line_and_part(client: Client) -> None:
    """An unknown MJML tag is named with its line; nothing of the refused template is kept."""
    source = MJML.replace("<mj-text>", "\n<mj-txt>").replace("</mj-text>", "</mj-txt>")
    body = {"name": "broken", "kind": "mjml", "subject": "x", "source": source}
    found = problem(await client.post("/v1/templates", json=body), 422, "invalid-template")
    assert any("mj-txt" in error["message"] and error["line"] == 2 for error in found["errors"]), found
    assert (await done(await client.get("/v1/templates"), 200))["items"] == []


async def test_template_preview_renders_or_names_the_missing_field(client: Client) -> None:
    """A preview shows subject, HTML and text; a missing value is named; an endless template is stopped."""
    body = {"name": "t", "kind": "mjml", "subject": "{{ name }} 様", "source": MJML}
    template = await done(await client.post("/v1/templates", json=body), 201)
    path = f"/v1/templates/{template['id']}/versions/1/preview"
    shown = await done(await client.post(path, json={"variables": {"name": "<田中>"}}), 200)
    assert shown["subject"] == "<田中> 様"
    assert "&lt;田中&gt;" in shown["html"]
    assert "<田中> 様" in shown["text"]
    assert "name" in problem(await client.post(path, json={"variables": {}}), 422, "merge-field-missing")["detail"]
    loop = "{% for a in range(10000) %}{% for b in range(10000) %}{{ a }}{% endfor %}{% endfor %}"
    body = {"name": "loop", "kind": "text", "subject": "x", "source": loop}
    endless = await done(await client.post("/v1/templates", json=body), 201)
    problem(
        await client.post(f"/v1/templates/{endless['id']}/versions/1/preview", json={}), 422, "render-limit-exceeded"
    )


async def test_draft_template_cannot_be_sent(client: Client) -> None:
    """A campaign needs a published version, a list and a pool that exist, and a sender of one's own domain."""
    await client.post("/v1/domains", json={"name": "mail.example.jp"})
    template = {"name": "t", "kind": "mjml", "subject": "x", "source": MJML}
    version = (await done(await client.post("/v1/templates", json=template), 201))["version"]
    form = {"name": "c", "template_version_id": version["id"], "list_id": 999, "from_name": "x", "pool": "none",
            "from_address": "news@mail.example.jp"}  # fmt: skip
    found = problem(await client.post("/v1/campaigns", json=form), 422, "invalid-request")
    assert {error["pointer"] for error in found["errors"]} == {"#/template_version_id", "#/list_id", "#/pool"}
    form["from_address"] = "news@elsewhere.example"
    problem(await client.post("/v1/campaigns", json=form), 422, "foreign-domain")


async def test_domain_has_two_keys_and_its_records(client: Client, database: Database) -> None:
    """RSA and Ed25519 keys are made here; the private halves are stored sealed, never shown."""
    domain = await done(await client.post("/v1/domains", json={"name": "Mail.Example.JP"}), 201)
    assert domain["name"] == "mail.example.jp"
    values = [record["value"] for record in domain["dns_records"] if "_domainkey" in record["name"]]
    assert [value.split(";")[1].strip() for value in values] == ["k=rsa", "k=ed25519"]
    for row in await database.pool.fetch("SELECT private_key FROM dkim_keys"):
        assert not bytes(row["private_key"]).startswith(b"0")  # no bare DER
    assert "private" not in str(domain)


async def import_csv(client: Client, database: Database, content: bytes, list_id: int | None = None) -> dict[str, Any]:
    """Upload a file, run the job, return it."""
    target = f"?list_id={list_id}" if list_id else ""
    job = await done(
        await client.post(f"/v1/imports{target}", content=content, headers={"Content-Type": "text/csv"}), 202
    )
    assert await run_next_import(database, "test")
    answer: dict[str, Any] = await done(await client.get(f"/v1/imports/{job['id']}"), 200)
    return answer


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
    table = await client.get(f"/v1/imports/{job['id']}/errors.csv")
    assert table.text.startswith("\ufeffline,column,reason,value")


async def test_import_without_an_address_column_fails_with_what_to_do(client: Client, database: Database) -> None:
    """The job says which column is missing; nothing was imported."""
    job = await import_csv(client, database, b"name,company\nx,y\n")
    assert job["state"] == "failed"
    assert "email" in job["error"]
    problem(await client.post("/v1/imports", content=b"", headers={"Content-Type": "text/csv"}), 422, "empty-file")
    problem(
        await client.post("/v1/imports", content=b"x", headers={"Content-Type": "image/png"}), 415,
        "unsupported-media-type",
    )  # fmt: skip


async def test_import_with_a_line_of_ten_megabytes_loses_only_that_line(client: Client, database: Database) -> None:
    """One monstrous row is an error; the rows around it are imported."""
    content = b"email,x\na@example.com,1\nb@example.com," + b"x" * 10_000_000 + b"\nc@example.com,3\n"
    job = await import_csv(client, database, content)
    assert (job["state"], job["rows_imported"], job["rows_invalid"]) == ("completed", 2, 1)
    errors = (await done(await client.get(f"/v1/imports/{job['id']}/errors"), 200))["items"]
    assert [(error["line"], error["reason"]) for error in errors] == [(3, "line_too_long")]


async def test_import_taken_up_again_after_a_crash_gives_the_same(client: Client, database: Database) -> None:
    """A worker that died in the middle: the next one begins anew and nothing is doubled."""
    rows = b"".join(b"u%d@example.com\n" % n for n in range(3000))
    job = await done(
        await client.post("/v1/imports", content=b"email\n" + rows, headers={"Content-Type": "text/csv"}), 202
    )
    await database.pool.execute(
        "UPDATE import_jobs SET state = 'running', heartbeat_at = now() - interval '1 minute', rows_imported = 1234"
    )
    assert await run_next_import(database, "second")
    finished = await done(await client.get(f"/v1/imports/{job['id']}"), 200)
    assert (finished["state"], finished["rows_imported"]) == ("completed", 3000)
    assert await database.pool.fetchval("SELECT count(*) FROM contacts") == 3000


async def test_openapi_and_docs_need_no_key_and_no_internet(client: Client) -> None:
    """Every operation has an id and a tag; the reference page names them and loads nothing from elsewhere."""
    document = await done(await client.get("/openapi.json", headers={"Authorization": ""}), 200)
    operations = [o for path in document["paths"].values() for o in path.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(ids) == len(set(ids)) > 30
    assert all(operation["tags"] for operation in operations)
    page = await client.get("/docs", headers={"Authorization": ""})
    assert page.status_code == 200
    assert "/v1/campaigns/{campaign_id}/launch" in page.text
    assert "<script" not in page.text
    assert "http://" not in page.text.replace("http://api.test", "")
    health = await done(await client.get("/v1/health", headers={"Authorization": ""}), 200)
    assert health["status"] == "ok"
