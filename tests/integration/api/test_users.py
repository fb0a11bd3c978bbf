"""Users and roles: what a person may do follows their role at each request, and a tenant keeps an admin."""

import asyncio
from typing import Any

from hayabin.database.engine import Database
from hayabin.domain.roles import RIGHTS, Role
from tests.integration.api.conftest import MakeClient
from tests.integration.api.rest import Client, a_campaign, done, problem
from tests.integration.api.test_api_keys import KEYS, with_key

USERS = "/v1/users"


async def a_user(client: Client, role: str, email: str = "hanako@example.jp") -> dict[str, Any]:
    """A new user."""
    made: dict[str, Any] = await done(await client.post(USERS, json={"email": email, "role": role}), 201)
    return made


async def a_person(client: Client, role: str, email: str = "hanako@example.jp") -> tuple[dict[str, Any], Client]:
    """A new user and a client with a personal key of theirs."""
    user = await a_user(client, role, email)
    key = await done(await client.post(KEYS, json={"name": "laptop", "user_id": user["id"]}), 201)
    return user, with_key(client, key["key"])


async def test_roles_may_do_what_their_table_says(client: Client) -> None:
    """Each role's personal key: reads, writes, approval, sending and administration are where the table has them."""
    campaign = await a_campaign(client)
    where = f"/v1/campaigns/{campaign['id']}"
    for role in Role:
        _, person = await a_person(client, role.value, f"{role}@example.jp")
        assert (await done(await person.get("/v1/me"), 200))["scopes"] == sorted(RIGHTS[role])
        await done(await person.get("/v1/contacts"), 200)
        expected = {
            "contacts:write": await person.post("/v1/contacts", json={"email": f"{role}@x.example"}),
            "campaigns:write": await person.patch(where, json={"name": role.value}),
            "campaigns:send": await person.post(f"{where}/pause"),
            "tenant:admin": await person.get(USERS),
            "platform:admin": await person.post("/v1/ip-pools", json={"name": "second"}),
        }
        for scope, answer in expected.items():
            assert (answer.status_code == 403) == (scope not in RIGHTS[role]), (role, scope, answer.text)


async def test_change_of_role_or_state_holds_at_the_next_request(client: Client) -> None:
    """A demoted user's key loses rights, gets them back, and ends while the user is disabled; the list shows them."""
    await a_user(client, "admin", "boss@example.jp")
    user, person = await a_person(client, "editor")
    me = f"{USERS}/{user['id']}"
    await done(await person.post("/v1/contacts", json={"email": "a@x.example"}), 201)
    await done(await client.patch(me, json={"role": "viewer"}), 200)
    problem(await person.post("/v1/contacts", json={"email": "b@x.example"}), 403, "missing-scope")
    await done(await person.get("/v1/contacts"), 200)
    await done(await client.patch(me, json={"role": "admin"}), 200)
    await done(await person.post("/v1/contacts", json={"email": "b@x.example"}), 201)
    problem(await person.get(USERS), 403, "missing-scope")  # the key was given an editor's rights, no more
    await done(await client.patch(me, json={"state": "disabled"}), 200)
    problem(await person.get("/v1/contacts"), 401, "unauthenticated")
    await done(await client.patch(me, json={"state": "active", "name": "花子"}), 200)
    shown = await done(await client.get(me), 200)
    assert (shown["name"], shown["role"], shown["state"]) == ("花子", "admin", "active")
    assert shown["last_seen_at"]
    await done(await client.delete(me), 204)
    problem(await person.get("/v1/contacts"), 401, "unauthenticated")
    problem(await client.get(me), 404, "not-found")


async def test_last_admin_can_neither_be_demoted_nor_disabled_nor_removed(client: Client, database: Database) -> None:
    """409 until there is another; two admins that demote each other at the same moment leave one."""
    admin = await a_user(client, "admin", "one@example.jp")
    me = f"{USERS}/{admin['id']}"
    for answer in (
        await client.patch(me, json={"role": "viewer"}),
        await client.patch(me, json={"state": "disabled"}),
        await client.delete(me),
    ):
        problem(answer, 409, "last-admin")
    await done(await client.patch(me, json={"name": "One", "role": "admin", "state": "active"}), 200)
    other = await a_user(client, "admin", "two@example.jp")
    answers = await asyncio.gather(
        *(client.patch(f"{USERS}/{user['id']}", json={"role": "viewer"}) for user in (admin, other))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert await database.pool.fetchval("SELECT count(*) FROM users WHERE role = 'admin'") == 1


async def test_personal_key_has_no_more_than_role_and_maker(client: Client, make_client: MakeClient) -> None:
    """422 naming the scope that the role lacks, the user who is not there; 403 for what the maker lacks."""
    viewer = await a_user(client, "viewer")
    form = {"name": "x", "user_id": viewer["id"], "scopes": ["contacts:read", "contacts:write"]}
    refused = problem(await client.post(KEYS, json=form), 422, "invalid-request")
    assert refused["errors"][0]["pointer"] == "#/scopes/1"
    nobody = problem(await client.post(KEYS, json={"name": "x", "user_id": 999}), 422, "invalid-request")
    assert nobody["errors"][0]["pointer"] == "#/user_id"
    team = await make_client("acme", "tenant:admin", "contacts:read")
    made = await done(await team.post(KEYS, json={"name": "x", "user_id": viewer["id"]}), 201)
    assert made["scopes"] == ["contacts:read"]
    problem(await team.post(KEYS, json={**form, "scopes": ["domains:read"]}), 403, "missing-scope")


async def test_what_was_given_is_in_the_audit_log(client: Client) -> None:
    """Which role, which rights: the field's name alone would not tell a promotion from a demotion."""
    user = await done(await client.post("/v1/users", json={"email": "a@x.example", "role": "viewer"}), 201)
    await done(await client.patch(f"/v1/users/{user['id']}", json={"role": "admin", "name": "A"}), 200)
    form = {"name": "k", "user_id": user["id"], "scopes": ["contacts:read"]}
    await done(await client.post("/v1/api-keys", json=form), 201)
    lines = (await done(await client.get("/v1/audit"), 200))["items"]
    given = [{name: value for name, value in line["detail"].items() if name != "fields"} for line in lines]
    assert given == [{"scopes": ["contacts:read"], "user_id": user["id"]}, {"role": "admin"}, {"role": "viewer"}]


async def test_users_of_tenants_are_apart(client: Client, make_client: MakeClient) -> None:
    """One address may be a user of two tenants, and of each only once, in any spelling; neither sees the other's."""
    stranger = await make_client("stranger")
    user = await a_user(client, "viewer", "Hanako@Example.jp")
    problem(await client.post(USERS, json={"email": "Hanako@EXAMPLE.jp", "role": "admin"}), 409, "name-taken")
    await a_user(stranger, "admin", "hanako@example.jp")
    where = f"{USERS}/{user['id']}"
    for answer in (
        await stranger.get(where),
        await stranger.patch(where, json={"role": "admin"}),
        await stranger.delete(where),
    ):
        problem(answer, 404, "not-found")
    assert len((await done(await stranger.get(USERS), 200))["items"]) == 1
    foreign = {"name": "x", "user_id": user["id"], "scopes": ["contacts:read"]}
    problem(await stranger.post(KEYS, json=foreign), 422, "invalid-request")
    problem(await client.post(USERS, json={"email": "no address", "role": "viewer"}), 422, "invalid-address")
    problem(await client.post(USERS, json={"email": "a@b.example", "role": "owner"}), 422, "invalid-request")


async def test_me_says_who_calls(client: Client) -> None:
    """Of a person's key the user, of a program's none; the tenant and the key in both."""
    user, person = await a_person(client, "sender")
    me = await done(await person.get("/v1/me"), 200)
    assert me["tenant"]["slug"] == "acme"
    assert (me["user"]["id"], me["user"]["role"], me["key"]["name"]) == (user["id"], "sender", "laptop")
    assert (await done(await client.get("/v1/me"), 200))["user"] is None
