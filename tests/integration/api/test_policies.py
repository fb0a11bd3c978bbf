"""Policies over REST: overrides are read as the dispatchers read their files, and shown beside what holds."""

import json
from typing import Any

import pytest

from hayabin.database.engine import Database
from hayabin.domain.lane import PROVIDERS
from tests.integration.api.conftest import MakeClient
from tests.integration.api.rest import Client, done, problem

RULE = {"name": "busy", "code": "421", "example": "421 4.7.28 busy", "source": "observed"}
OVERRIDES: dict[str, Any] = {
    "connections": 3, "rate_per_s": 0.5, "tls": "required", "retry_delays_s": [60, 600], "rate_per_day": 100_000,
    "ipv6_overrides": {"connections": 1}, "rules": [{**RULE, "slow_to": 0.5}], "disabled_rules": ["old"],
}  # fmt: skip


async def test_policy_put_is_stored_as_given_and_shown_beside_what_holds(client: Client, database: Database) -> None:
    """An override replaces the one before as a whole; what each pool goes by stands beside it."""
    await database.pool.execute(
        "INSERT INTO effective_policies (pool, provider, settings) VALUES ('main', 'gmail', $1), ('b', 'gmail', $1)",
        {"connections": 10},
    )
    before = await done(await client.get("/v1/policies/gmail"), 200)
    assert (before["overrides"], before["updated_at"]) == ({}, None)
    assert [(item["pool"], item["settings"]) for item in before["effective"]] == [
        ("b", {"connections": 10}), ("main", {"connections": 10})]  # fmt: skip
    await done(await client.put("/v1/policies/gmail", json={"burst": 5}), 200)
    put = await done(await client.put("/v1/policies/gmail", json=OVERRIDES), 200)
    assert put["overrides"] == OVERRIDES
    assert put == await done(await client.get("/v1/policies/gmail"), 200)
    assert await database.pool.fetchval("SELECT settings FROM provider_policies") == OVERRIDES
    await done(await client.put("/v1/policies/default", json={"connections": 2}), 200)
    listed = (await done(await client.get("/v1/policies"), 200))["items"]
    assert [item["provider"] for item in listed] == [*PROVIDERS, "default"]
    assert [item["provider"] for item in listed if item["overrides"]] == ["gmail", "default"]
    await done(await client.delete("/v1/policies/gmail"), 204)
    problem(await client.delete("/v1/policies/gmail"), 404, "not-found")
    assert (await done(await client.get("/v1/policies/gmail"), 200))["overrides"] == {}


@pytest.mark.parametrize(
    ("settings", "pointer", "says"),
    [
        ({"conections": 3}, "#/conections", "no such key"),
        ({"a/b~\ud800": 3}, "#", "half characters"),
        ({"connections": 0}, "#/connections", "0 is no whole number"),
        ({"connections": True}, "#/connections", "True"),
        ({"connections": None}, "#/connections", "None"),
        ({"rate_per_s": float("nan")}, "#", "finite"),
        ({"tls": "sometimes"}, "#/tls", "sometimes"),
        ({"retry_delays_s": []}, "#/retry_delays_s", "1 to 50"),
        ({"ipv6_overrides": {"tls": "none"}}, "#/ipv6_overrides", "not for IPv6 alone"),
        ({"rules": [{"name": "x"}]}, "#/rules", "missing: code"),
        ({"rules": [{**RULE, "text": "(a+)+$"}]}, "#/rules", "no repeated groups"),
        ({"rules": [{**RULE, "slow_to": 0.5, "code": "550"}]}, "#/rules", "example"),
        ({"quiet_before_hour_s": 2000, "quiet_after_hour_s": 2000}, "#", "ten minutes"),
        ({"rules": json.loads("[" * 30 + "]" * 30)}, "#", "nesting"),
        ({"disabled_rules": ["x" * 300_000]}, "#", "characters in all"),
        ([1], "#", "dictionary"),
    ],
)  # fmt: skip
async def test_policy_that_dispatchers_would_refuse_is_refused(
    client: Client, database: Database, settings: Any, pointer: str, says: str
) -> None:
    """The reader's own words, at the key's place; nothing is stored."""
    headers = {"Content-Type": "application/json"}
    answer = await client.put("/v1/policies/gmail", content=json.dumps(settings), headers=headers)
    found = problem(answer, 422, "invalid-request")
    assert found["errors"][0]["pointer"] == pointer
    assert says in found["errors"][0]["message"]
    assert await database.pool.fetchval("SELECT count(*) FROM provider_policies") == 0


async def test_policy_of_an_unknown_provider_is_not_there(client: Client) -> None:
    """Only providers that we know and `default` have policies."""
    for method in ("GET", "PUT", "DELETE"):
        problem(await client.request(method, "/v1/policies/gmial", json={}), 404, "not-found")


async def test_policies_are_changed_by_the_operator_alone(make_client: MakeClient) -> None:
    """Who may look at campaigns may look at policies."""
    reader = await make_client("acme", "campaigns:read")
    await done(await reader.get("/v1/policies"), 200)
    problem(await reader.put("/v1/policies/gmail", json={}), 403, "missing-scope")
    problem(await reader.delete("/v1/policies/gmail"), 403, "missing-scope")


async def test_policy_keys_are_explained_in_the_document_and_on_the_page(client: Client) -> None:
    """Every key has its type and a sentence, in OpenAPI and for people."""
    document = (await client.get("/openapi.json")).json()
    body = document["paths"]["/v1/policies/{provider}"]["put"]["requestBody"]["content"]["application/json"]
    keys = body["schema"]["properties"]
    assert set(OVERRIDES) <= set(keys)
    assert keys["tls"]["enum"] == ["none", "opportunistic", "required"]
    assert keys["rules"]["items"]["properties"]["treat"]["enum"] == ["bounce", "deferral"]
    page = (await client.get("/docs")).text
    assert "Connections open at the same time, at the most" in page
    assert "suspend_source_s" in page
