"""Who may do what: keys, scopes, tenants, rates."""

import re

from hayabin.database.engine import Database
from services.api.access import Scope
from services.api.app import make_app
from services.api.openapi import document_of
from tests.integration.api.conftest import MakeClient, a_key, client_of, settings_of
from tests.integration.api.rest import CSV, Client, done, problem

FREE = ("getHealth", "getMe")
"""Need no scope; the latter says which ones a key has."""


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
            if operation["operationId"] in FREE:
                continue
            where = re.sub(r"\{\w+\}", "1", path)
            content = b"email\n" if operation["operationId"] == "startImport" else b"{}"
            kind = CSV if operation["operationId"] == "startImport" else {"Content-Type": "application/json"}
            bare = await nobody.request(method, where, content=content, headers=kind | {"Authorization": ""})
            problem(bare, 401, "unauthenticated")
            problem(await nobody.request(method, where, content=content, headers=kind), 403, "missing-scope")


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
