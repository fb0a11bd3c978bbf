"""Idempotency-Key: one effect, whatever is repeated, raced or broken off."""

import asyncio

import httpx

from hayabin.database.engine import Database
from tests.integration.api.conftest import MakeClient
from tests.integration.api.rest import CSV, OVERRIDE, Client, a_campaign, done, problem


async def test_twenty_launches_at_once_have_one_effect(client: Client, database: Database) -> None:
    """One launch of twenty happens; the others are its replay or are told to come again."""
    campaign = await a_campaign(client)
    headers = {"Idempotency-Key": "launch-1"}
    path = f"/v1/campaigns/{campaign['id']}/launch"

    async def launch() -> httpx.Response:
        return await client.post(path, json=OVERRIDE, headers=headers)

    answers = await asyncio.gather(*(launch() for _ in range(20)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    refused = [answer for answer in answers if answer.status_code == 409]
    for answer in refused:
        problem(answer, 409, "idempotency-in-flight")
        assert int(answer.headers["Retry-After"]) >= 1
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1 + len(refused)
    again = await launch()
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (200, "true")
    first = next(a for a in answers if a.status_code == 200 and "Idempotency-Replayed" not in a.headers)
    assert (again.content, again.headers["content-type"]) == (first.content, first.headers["content-type"])
    assert await database.pool.fetchval("SELECT count(*) FROM messages") == 3
    other = await client.post(path, json={"allow_unverified_domain": False}, headers=headers)
    problem(other, 422, "idempotency-key-reused")


async def test_twenty_creations_at_once_make_one_campaign(client: Client, database: Database) -> None:
    """Creation has no unique name to save it: the key alone does."""
    draft = await a_campaign(client)
    form = {name: draft[name] for name in ("template_version_id", "list_id", "from_name", "from_address")}
    headers = {"Idempotency-Key": "create"}

    async def create() -> int:
        while True:
            answer = await client.post("/v1/campaigns", json={"name": "again", **form}, headers=headers)
            if answer.status_code != 409:
                return int((await done(answer, 201))["id"])
            await asyncio.sleep(0.01)

    assert len(set(await asyncio.gather(*(create() for _ in range(20))))) == 1
    assert await database.pool.fetchval("SELECT count(*) FROM campaigns WHERE name = 'again'") == 1


async def test_key_of_a_refused_request_is_free(client: Client) -> None:
    """A refusal has no effect and keeps no key: the mended request may use it again."""
    headers = {"Idempotency-Key": "list-1"}
    problem(await client.post("/v1/lists", json={"name": ""}, headers=headers), 422, "invalid-request")
    await done(await client.post("/v1/lists", json={"name": "ok"}, headers=headers), 201)
    for wrong in ("", "x" * 201):
        answer = await client.post("/v1/lists", json={"name": "b"}, headers={"Idempotency-Key": wrong})
        problem(answer, 422, "invalid-idempotency-key")


async def test_key_is_kept_with_its_effect_or_not_at_all(client: Client, database: Database) -> None:
    """A commit that fails takes both away: the repeated request does the work, once."""
    await database.pool.execute(
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE SQLSTATE '57P01'; END $$;
        CREATE CONSTRAINT TRIGGER broken AFTER INSERT ON idempotency_keys DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION refuse()"""
    )
    headers = {"Idempotency-Key": "once"}
    answer = await client.post("/v1/lists", json={"name": "l"}, headers=headers)
    problem(answer, 503, "unavailable")
    assert answer.headers["Retry-After"]
    assert await database.pool.fetchval("SELECT count(*) FROM lists") == 0
    await database.pool.execute("DROP TRIGGER broken ON idempotency_keys")
    again = await client.post("/v1/lists", json={"name": "l"}, headers=headers)
    assert (again.status_code, "Idempotency-Replayed" in again.headers) == (201, False)


async def test_same_key_of_two_tenants_is_two_keys(client: Client, make_client: MakeClient) -> None:
    """A tenant neither sees nor blocks another one's keys."""
    headers = {"Idempotency-Key": "shared"}
    stranger = await make_client("stranger")
    for caller, name in ((client, "a"), (stranger, "b")):
        answer = await caller.post("/v1/lists", json={"name": name}, headers=headers)
        assert (await done(answer, 201))["name"] == name


async def test_replay_is_only_for_who_may_do_it(client: Client, make_client: MakeClient) -> None:
    """A kept answer is no way around the scope; with it, another key of the tenant is given the answer."""
    headers = {"Idempotency-Key": "user"}
    form = {"email": "a@x.example", "role": "viewer"}
    made = await done(await client.post("/v1/users", json=form, headers=headers), 201)
    reader = await make_client("acme", "contacts:read", "contacts:read_personal")
    problem(await reader.post("/v1/users", json=form, headers=headers), 403, "missing-scope")
    assert await done(await (await make_client("acme")).post("/v1/users", json=form, headers=headers), 201) == made


async def test_upload_is_told_apart_by_its_content(client: Client, database: Database) -> None:
    """The same file again is a replay, in either form of upload; another file of the same length is not."""
    headers = {"Idempotency-Key": "file"}
    first = await done(await client.post("/v1/imports", content=b"email\na@b.example\n", headers=CSV | headers), 202)
    again = await client.post("/v1/imports", content=b"email\na@b.example\n", headers=CSV | headers)
    assert (await done(again, 202), again.headers["Idempotency-Replayed"]) == (first, "true")
    other = await client.post("/v1/imports", content=b"email\nc@d.example\n", headers=CSV | headers)
    problem(other, 422, "idempotency-key-reused")
    parts = {"file": ("people.csv", b"email\na@b.example\n")}
    made = await done(await client.post("/v1/imports", files=parts, headers={"Idempotency-Key": "parts"}), 202)
    again = await client.post("/v1/imports", files=parts, headers={"Idempotency-Key": "parts"})
    assert (await done(again, 202), again.headers["Idempotency-Replayed"]) == (made, "true")
    assert made["filename"] == "people.csv"
    assert await database.pool.fetchval("SELECT count(*) FROM import_jobs") == 2
