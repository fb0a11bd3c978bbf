"""API keys over REST: made, bound to networks, rotated with an overlap, revoked; nobody gives what they do not have."""

import ipaddress
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from hayabin.database.engine import Database
from services.api.app import make_app
from tests.integration.api.conftest import MakeClient, client_of, settings_of
from tests.integration.api.rest import Client, done, problem

KEYS = "/v1/api-keys"


def with_key(client: Client, key: str) -> Client:
    """The same application by another key."""
    return Client(transport=client._transport, base_url="http://api.test", headers={"Authorization": f"Bearer {key}"})


def from_address(app: FastAPI, address: str, key: str, *forwarded: str) -> Client:
    """A client whose socket's address is this."""
    headers = [("Authorization", f"Bearer {key}"), *(("X-Forwarded-For", line) for line in forwarded)]
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(address, 1234))
    return Client(transport=transport, base_url="http://api.test", headers=headers)


async def a_new_key(client: Client, **more: Any) -> dict[str, Any]:
    """A key of a program that may read contacts."""
    made: dict[str, Any] = await done(
        await client.post(KEYS, json={"name": "shop", "scopes": ["contacts:read"], **more}), 201
    )
    return made


async def test_key_made_over_rest_works_and_its_secret_is_nowhere_else(client: Client, database: Database) -> None:
    """It does what it was given, is listed without its secret, and its use is noted with time and address."""
    made = await a_new_key(client)
    program = with_key(client, made["key"])
    await done(await program.get("/v1/contacts"), 200)
    problem(await program.post("/v1/lists", json={"name": "x"}), 403, "missing-scope")
    problem(await program.get(KEYS), 403, "missing-scope")
    assert (await done(await program.get("/v1/me"), 200))["scopes"] == ["contacts:read"]
    listed = await client.get(KEYS)
    secret = made["key"].split("_", 2)[2]
    assert secret not in listed.text
    shown = await done(await client.get(f"{KEYS}/{made['id']}"), 200)
    assert shown["last_used_from"] == "127.0.0.1"
    assert shown["last_used_at"]
    rows = await database.pool.fetch("SELECT t::text FROM api_keys t UNION ALL SELECT t::text FROM idempotency_keys t")
    assert not any(secret in row[0] for row in rows)


async def test_replay_of_a_keys_making_shows_everything_but_the_secret(client: Client, database: Database) -> None:
    """One key for one Idempotency-Key; what is kept for the replay has no secret."""
    form = {"name": "shop", "scopes": ["contacts:read"]}
    headers = {"Idempotency-Key": "k1"}
    first = await done(await client.post(KEYS, json=form, headers=headers), 201)
    again = await client.post(KEYS, json=form, headers=headers)
    assert again.headers["Idempotency-Replayed"] == "true"
    replayed = await done(again, 201)
    assert replayed == {**first, "key": None}
    assert await database.pool.fetchval("SELECT count(*) FROM api_keys WHERE name = 'shop'") == 1
    kept = await database.pool.fetchval("SELECT body FROM idempotency_keys")
    assert first["key"].encode() not in kept


async def test_keys_give_no_more_than_their_maker_has(make_client: MakeClient) -> None:
    """403 for scopes beyond the caller's, platform:admin among them, by making or by rotating."""
    team = await make_client("acme", "tenant:admin", "contacts:read")
    for scopes in (["contacts:write"], ["platform:admin"], ["contacts:read", "campaigns:send"]):
        refused = problem(await team.post(KEYS, json={"name": "x", "scopes": scopes}), 403, "missing-scope")
        assert scopes[-1] in refused["detail"]
    await a_new_key(team, scopes=["tenant:admin", "contacts:read"])
    operator = await make_client("acme")
    strong = await a_new_key(operator, scopes=["platform:admin"])
    problem(await team.post(f"{KEYS}/{strong['id']}/rotate", json={"overlap_s": 0}), 403, "missing-scope")
    problem(await team.post(KEYS, json={"name": "x"}), 422, "invalid-request")
    problem(await team.post(KEYS, json={"name": "x", "scopes": ["none:such"]}), 422, "invalid-request")


async def test_key_bound_to_networks_is_refused_from_elsewhere(
    client: Client, database: Database, database_url: str
) -> None:
    """IPv4, IPv6 and single addresses; 403 elsewhere, before anything is done; other forms are refused by name."""
    app = make_app(settings_of(database_url), database)
    cidrs = ["192.0.2.0/24", "2001:db8::/48", "198.51.100.7"]
    made = await a_new_key(client, cidrs=cidrs)
    assert made["cidrs"] == ["192.0.2.0/24", "2001:db8::/48", "198.51.100.7/32"]
    for address in ("192.0.2.77", "::ffff:192.0.2.77", "2001:db8::1", "198.51.100.7"):
        async with from_address(app, address, made["key"]) as inside:
            await done(await inside.get("/v1/contacts"), 200)
    for address in ("192.0.3.1", "2001:db8:1::1", "198.51.100.8", "not-an-address"):
        async with from_address(app, address, made["key"], "192.0.2.77") as outside:
            problem(await outside.get("/v1/contacts"), 403, "key-not-from-here")
    for wrong in ("192.0.2.1/24", "192.0.2.0/33", "example.jp", ""):
        refused = problem(
            await client.post(KEYS, json={"name": "x", "scopes": ["contacts:read"], "cidrs": ["10.0.0.0/8", wrong]}),
            422,
            "invalid-request",
        )
        assert refused["errors"][0]["pointer"] == "#/cidrs/1"


async def test_forwarded_address_counts_behind_trusted_proxies_alone(
    client: Client, database: Database, database_url: str
) -> None:
    """The right-most address that is no proxy of ours counts; what a client writes left of it does not."""
    app = make_app(settings_of(database_url, trusted_proxies="10.0.0.0/8, fd00::/8"), database)
    key = (await a_new_key(client, cidrs=["192.0.2.0/24"]))["key"]
    inside: list[tuple[str, tuple[str, ...]]] = [
        ("10.1.1.1", ("192.0.2.5",)),
        ("10.1.1.1", ("203.0.113.9, 192.0.2.5, 10.2.2.2",)),
        ("fd00::1", ("203.0.113.9", "192.0.2.5:443")),
    ]
    outside: list[tuple[str, tuple[str, ...]]] = [
        ("10.1.1.1", ("192.0.2.5, 203.0.113.9",)),
        ("203.0.113.9", ("192.0.2.5",)),
        ("10.1.1.1", ()),
        ("10.1.1.1", ("192.0.2.5, unknown",)),
    ]
    for address, forwarded in inside:
        async with from_address(app, address, key, *forwarded) as caller:
            await done(await caller.get("/v1/contacts"), 200)
    for address, forwarded in outside:
        async with from_address(app, address, key, *forwarded) as caller:
            problem(await caller.get("/v1/contacts"), 403, "key-not-from-here")
    with pytest.raises(ValueError, match="trusted_proxies"):
        settings_of(database_url, trusted_proxies="10.0.0.1/8")
    assert ipaddress.ip_address("10.1.1.1") in app.state.trusted_proxies[0]


async def test_rotated_key_works_until_the_overlap_ends(client: Client, database: Database) -> None:
    """Both keys work and are listed; then the old one alone ends. What is revoked or over cannot be rotated."""
    old = await a_new_key(client, cidrs=["127.0.0.0/8"])
    fresh = await done(await client.post(f"{KEYS}/{old['id']}/rotate", json={"overlap_s": 600}), 201)
    assert (fresh["replaces"], fresh["scopes"], fresh["cidrs"]) == (old["id"], old["scopes"], old["cidrs"])
    left = datetime.fromisoformat(fresh["old_ends_at"]) - datetime.now(UTC)
    assert timedelta(seconds=500) < left <= timedelta(seconds=601)
    for key in (old["key"], fresh["key"]):
        await done(await with_key(client, key).get("/v1/contacts"), 200)
    listed = {item["id"]: item["state"] for item in (await done(await client.get(KEYS), 200))["items"]}
    assert (listed[old["id"]], listed[fresh["id"]]) == ("valid", "valid")
    await database.pool.execute("UPDATE api_keys SET expires_at = now() WHERE id = $1", old["id"])
    problem(await with_key(client, old["key"]).get("/v1/contacts"), 401, "unauthenticated")
    await done(await with_key(client, fresh["key"]).get("/v1/contacts"), 200)
    problem(await client.post(f"{KEYS}/{old['id']}/rotate", json={"overlap_s": 0}), 409, "key-ended")
    soon = await a_new_key(client, expires_at=(datetime.now(UTC) + timedelta(seconds=60)).isoformat())
    short = await done(await client.post(f"{KEYS}/{soon['id']}/rotate", json={"overlap_s": 600}), 201)
    assert short["old_ends_at"] == soon["expires_at"]  # an overlap lengthens nothing
    past = {"name": "x", "scopes": ["contacts:read"], "expires_at": "2020-01-01T00:00:00Z"}
    problem(await client.post(KEYS, json=past), 422, "invalid-request")


async def test_revoked_key_ends_at_once_and_stays_in_the_list(client: Client, make_client: MakeClient) -> None:
    """401 from the next request on; another tenant cannot revoke it."""
    made = await a_new_key(client)
    stranger = await make_client("stranger")
    for answer in (
        await stranger.delete(f"{KEYS}/{made['id']}"),
        await stranger.get(f"{KEYS}/{made['id']}"),
        await stranger.post(f"{KEYS}/{made['id']}/rotate", json={"overlap_s": 0}),
    ):
        problem(answer, 404, "not-found")
    await done(await with_key(client, made["key"]).get("/v1/contacts"), 200)
    await done(await client.delete(f"{KEYS}/{made['id']}"), 204)
    problem(await with_key(client, made["key"]).get("/v1/contacts"), 401, "unauthenticated")
    assert (await done(await client.get(f"{KEYS}/{made['id']}"), 200))["state"] == "revoked"
    problem(await client.post(f"{KEYS}/{made['id']}/rotate", json={"overlap_s": 0}), 409, "key-ended")


async def test_connection_used_by_two_tenants_in_turn_shows_each_its_own(
    database_url: str, make_client: MakeClient
) -> None:
    """One pooled connection serves tenants in turn, refused requests among them; nobody sees what the last one saw."""
    async with Database(database_url, name="one", size=1) as single:
        app = make_app(settings_of(database_url), single)
        clients = []
        for slug in ("a", "b"):
            key = (await make_client(slug)).headers["Authorization"].removeprefix("Bearer ")
            clients.append(client_of(app, key))
        for number, client in enumerate(clients):
            for turn in range(2):
                await done(await client.post("/v1/lists", json={"name": f"{number} {turn}"}), 201)
        for _ in range(3):
            for number, client in enumerate(clients):
                names = [item["name"] for item in (await done(await client.get("/v1/lists"), 200))["items"]]
                assert names == [f"{number} 0", f"{number} 1"]
                problem(await client.get("/v1/lists/999999"), 404, "not-found")
                problem(await client.post("/v1/lists", json={"name": f"{number} 0"}), 409, "name-taken")
                bad = {"Authorization": client.headers["Authorization"][:-4] + "aaaa"}
                problem(await client.get("/v1/lists", headers=bad), 401, "unauthenticated")
        role: Any = await single.pool.fetchrow(
            "SELECT current_user, current_setting('hayabin.tenant_id', true) AS tenant"
        )
        assert role["current_user"] != "hayabin_tenant"
        assert not role["tenant"]
        for client in clients:
            await client.aclose()
