"""Who may do what: keys, scopes, tenants, rates."""

import re
from typing import Any

from hayabin.database.engine import Database
from services.api.access import Scope
from services.api.app import make_app
from services.api.openapi import document_of
from tests.integration.api.conftest import MakeClient, a_key, client_of, settings_of
from tests.integration.api.rest import CSV, OVERRIDE, Client, a_campaign, done, problem

PLATFORM = ("/v1/health", "/v1/ip-pools", "/v1/lanes", "/v1/suspensions", "/v1/policies", "/v1/warmups")
"""What is there for everybody: it has nothing of a tenant."""


async def test_keys_wrong_revoked_expired_and_without_scope_are_refused(
    client: Client, make_client: MakeClient, database: Database
) -> None:
    """401 for what is no valid key, 403 naming the scope that a valid one lacks."""
    right = client.headers["Authorization"]
    other = "B" if right[-1] != "B" else "C"
    for wrong in ("", "Bearer x", right[:-1] + other, right.replace("hyb_", "hyc_"), right + "\n", "Basic YTpi"):
        answer = await client.get("/v1/contacts", headers={"Authorization": wrong.strip()})
        if wrong.strip() != right:
            problem(answer, 401, "unauthenticated")
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    problem(
        await Client(transport=client._transport, base_url="http://api.test").get("/v1/contacts"),
        401,
        "unauthenticated",
    )
    reader = await make_client("acme", "contacts:read")
    await done(await reader.get("/v1/contacts"), 200)
    refused = problem(await reader.post("/v1/contacts", json={"email": "a@b.example"}), 403, "missing-scope")
    assert "contacts:write" in refused["detail"]
    assert await database.pool.fetchval("SELECT count(*) FROM contacts") == 0
    await database.pool.execute(
        "UPDATE api_keys SET expires_at = now() - interval '1 s' WHERE scopes = '{contacts:read}'"
    )
    problem(await reader.get("/v1/contacts"), 401, "unauthenticated")
    await database.pool.execute("UPDATE api_keys SET revoked_at = now()")
    problem(await client.get("/v1/contacts"), 401, "unauthenticated")


async def test_every_operation_needs_a_key_and_a_scope(
    make_client: MakeClient, database_url: str, database: Database
) -> None:
    """No operation but health answers without a key, and none does its work for a key without any scope."""
    nobody = await make_client("acme", "none:at-all")
    document = document_of(make_app(settings_of(database_url), database))
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if operation["operationId"] == "getHealth":
                continue
            where = re.sub(r"\{\w+\}", "1", path)
            content = b"email\n" if operation["operationId"] == "startImport" else b"{}"
            kind = CSV if operation["operationId"] == "startImport" else {"Content-Type": "application/json"}
            bare = await nobody.request(method, where, content=content, headers=kind | {"Authorization": ""})
            problem(bare, 401, "unauthenticated")
            answer = await nobody.request(method, where, content=content, headers=kind)
            assert answer.status_code in (403, 422), (method, path, answer.text)
            if answer.status_code == 422:  # the form was looked at first; a right one meets the scope
                assert answer.json()["type"] == "/problems/invalid-request"


async def _things(client: Client, database: Database) -> dict[str, Any]:
    """One of everything, and how its path parameters are called."""
    campaign = await a_campaign(client)
    await done(await client.post(f"/v1/campaigns/{campaign['id']}/launch", json=OVERRIDE), 200)
    await done(await client.post("/v1/imports", content=b"email\na@b.example\n", headers=CSV), 202)
    await done(await client.post("/v1/suppressions", json={"emails": ["s@x.example"]}), 201)
    tables = {
        "contact_id": "contacts", "list_id": "lists", "template_id": "templates", "campaign_id": "campaigns",
        "message_id": "messages", "import_id": "import_jobs", "domain_id": "domains",
    }  # fmt: skip
    ids = {name: await database.pool.fetchval(f"SELECT max(id) FROM {table}") for name, table in tables.items()}
    return {**ids, "number": 1, "email": "s@x.example"}


async def test_other_tenants_things_are_not_there(
    client: Client, make_client: MakeClient, database: Database, database_url: str
) -> None:
    """Every GET and every change of one tenant's thing is 404 for another; its collections are empty."""
    ids = await _things(client, database)
    stranger = await make_client("stranger")
    document = document_of(make_app(settings_of(database_url), database))
    seen = 0
    for path, operations in document["paths"].items():
        if "get" not in operations or path.startswith(PLATFORM):
            continue
        where = path.format(**ids) + ("?state=due" if path == "/v1/messages" else "")
        assert (await client.get(where)).status_code == 200, where
        if "{" in path:
            problem(await stranger.get(where), 404, "not-found")
        else:
            assert (await done(await stranger.get(where), 200))["items"] == [], where
        seen += 1
    assert seen >= 20
    campaign = f"/v1/campaigns/{ids['campaign_id']}"
    version = f"/v1/templates/{ids['template_id']}/versions"
    source = {"kind": "text", "subject": "x", "source": "x"}
    schedule = {"schedule_at": "2099-01-01T00:00:00Z"}
    writes: list[tuple[str, str, Any]] = [
        *(("POST", f"{campaign}/{verb}", None) for verb in ("launch", "pause", "resume", "cancel", "unschedule")),
        ("POST", f"{campaign}/schedule", schedule),
        ("POST", f"{campaign}/resolve-unknown", {"as": "resend"}),
        ("POST", f"/v1/messages/{ids['message_id']}/resolve", {"as": "accepted"}),
        ("POST", f"{campaign}/test", {"to": ["a@b.example"]}),
        ("PATCH", campaign, {"name": "x"}),
        ("DELETE", f"/v1/contacts/{ids['contact_id']}", None),
        ("PATCH", f"/v1/contacts/{ids['contact_id']}", {"name": "x"}),
        ("POST", f"/v1/lists/{ids['list_id']}/members", {"contact_ids": [ids["contact_id"]]}),
        ("DELETE", f"/v1/lists/{ids['list_id']}/members/{ids['contact_id']}", None),
        ("POST", version, source),
        ("POST", f"{version}/1/publish", None),
        ("POST", f"{version}/1/preview", {}),
        ("POST", f"/v1/domains/{ids['domain_id']}/verify", None),
        ("POST", f"/v1/domains/{ids['domain_id']}/verify?override=true", None),
        ("DELETE", "/v1/suppressions/s@x.example", None),
    ]
    for method, where, body in writes:
        problem(await stranger.request(method, where, json=body), 404, "not-found")
    answer = await stranger.post(f"/v1/imports?list_id={ids['list_id']}", content=b"email\n", headers=CSV)
    problem(answer, 404, "not-found")
    own = await done(await stranger.post("/v1/lists", json={"name": "own"}), 201)
    added = await stranger.post(f"/v1/lists/{own['id']}/members", json={"contact_ids": [ids["contact_id"]]})
    assert await done(added, 200) == {"added": 0}
    assert await database.pool.fetchval("SELECT state FROM campaigns WHERE id = $1", ids["campaign_id"]) == "sending"


async def test_platform_matters_need_the_platform_scope(client: Client, make_client: MakeClient) -> None:
    """Pools and the override of a domain's check are the operator's."""
    team = await make_client("acme", *(scope.value for scope in Scope if scope is not Scope.PLATFORM_ADMIN))
    pool = {"name": "second"}
    problem(await team.post("/v1/ip-pools", json=pool), 403, "missing-scope")
    await done(await client.post("/v1/ip-pools", json=pool), 201)
    problem(await client.post("/v1/ip-pools", json=pool), 409, "name-taken")
    names = [item["name"] for item in (await done(await team.get("/v1/ip-pools"), 200))["items"]]
    assert names == ["main", "second"]
    domain = await done(await team.post("/v1/domains", json={"name": "d.example"}), 201)
    problem(await team.post(f"/v1/domains/{domain['id']}/verify?override=true"), 403, "missing-scope")
    done_ = await client.post(f"/v1/domains/{domain['id']}/verify?override=true")
    assert (await done(done_, 200))["verified_at"]


async def test_key_over_its_rate_is_told_when_to_come_again(database: Database, database_url: str) -> None:
    """429 with Retry-After for the key that is over; another key is not slowed by it."""
    app = make_app(settings_of(database_url, rate_per_s=0.1, rate_burst=2), database)
    async with (
        client_of(app, await a_key(database, "acme")) as greedy,
        client_of(app, await a_key(database, "b")) as calm,
    ):
        answers = [await greedy.get("/v1/lists") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        problem(answers[-1], 429, "too-many-requests")
        assert 1 <= int(answers[-1].headers["Retry-After"]) <= 10
        await done(await calm.get("/v1/lists"), 200)
