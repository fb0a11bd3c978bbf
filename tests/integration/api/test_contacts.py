"""Contacts in depth: flags, stages, time zones, history, filters, and people who were erased."""

import asyncio
from typing import Any

from hayabin.database import erasing
from hayabin.database.contact_history import KEPT_ROWS
from hayabin.database.engine import Database
from tests.integration.api.conftest import MakeClient
from tests.integration.api.rest import Client, done, problem


async def entered(client: Client, email: str, status: int = 201, **more: Any) -> dict[str, Any]:
    """A contact, created or updated."""
    contact: dict[str, Any] = await done(await client.post("/v1/contacts", json={"email": email, **more}), status)
    return contact


async def changes_of(client: Client, contact_id: int) -> list[tuple[str, Any, Any]]:
    """Field, old and new of each change."""
    answer = await done(await client.get(f"/v1/contacts/{contact_id}/history"), 200)
    return [(item["field"], item["old"], item["new"]) for item in answer["items"]]


async def test_role_and_disposable_addresses_are_flagged_and_taken(client: Client) -> None:
    """Flags are part of the contact; nobody is refused for them."""
    assert (await entered(client, "info@mailinator.com"))["flags"] == ["role", "disposable"]
    assert (await entered(client, "taro@example.jp"))["flags"] == []


async def test_stage_is_any_until_there_are_stages_then_one_of_them(client: Client) -> None:
    """An unknown stage is refused with those that there are; a stage in use cannot go; order and empty stay."""
    first = await entered(client, "a@x.example", stage="whatever")
    assert await done(await client.get("/v1/stages"), 200) == {"names": []}
    names = ["見込み", "見積", "成約"]
    assert await done(await client.put("/v1/stages", json={"names": names}), 200) == {"names": names}
    for answer in (
        await client.post("/v1/contacts", json={"email": "b@x.example", "stage": "失注"}),
        await client.patch(f"/v1/contacts/{first['id']}", json={"stage": "失注"}),
    ):
        error = problem(answer, 422, "unknown-stage")["errors"][0]
        assert error == {"pointer": "#/stage", "message": "one of 見込み, 見積, 成約"}
    assert (await done(await client.patch(f"/v1/contacts/{first['id']}", json={"stage": "見積"}), 200))[
        "stage"
    ] == "見積"
    refused = problem(await client.put("/v1/stages", json={"names": ["成約", "見込み"]}), 409, "stage-in-use")
    assert refused["errors"] == [{"pointer": "#/names", "message": "見積: 1 contacts"}]
    assert (await done(await client.patch(f"/v1/contacts/{first['id']}", json={"stage": ""}), 200))["stage"] == ""
    assert await done(await client.put("/v1/stages", json={"names": ["成約", "見込み"]}), 200)
    assert await done(await client.get("/v1/stages"), 200) == {"names": ["成約", "見込み"]}
    for wrong in (["a", "a"], [" a"], [""], ["a\n"], [str(n) for n in range(51)]):
        problem(await client.put("/v1/stages", json={"names": wrong}), 422, "invalid-request")


async def test_time_zone_is_of_the_iana_database_or_empty(client: Client) -> None:
    """What no clock knows is refused, and so is a path."""
    contact = await entered(client, "a@x.example", time_zone="Asia/Tokyo")
    assert contact["time_zone"] == "Asia/Tokyo"
    for wrong in ("Asia/Tokio", "JST+9", "../etc/passwd", "asia/tokyo", "/Asia/Tokyo"):
        found = problem(
            await client.patch(f"/v1/contacts/{contact['id']}", json={"time_zone": wrong}), 422, "invalid-request"
        )
        assert found["errors"][0]["pointer"] == "#/time_zone"
    assert (await done(await client.patch(f"/v1/contacts/{contact['id']}", json={"time_zone": ""}), 200))[
        "time_zone"
    ] == ""


async def test_history_has_each_change_once_and_nothing_where_nothing_changed(
    client: Client, database: Database
) -> None:
    """Who, when, which field, before and after; the same again writes nothing. It goes with the contact, as activity does."""
    contact = await entered(client, "Taro@x.example", name="田中", attributes={"company": "A", "n": 1})
    path = f"/v1/contacts/{contact['id']}"
    await entered(client, "Taro@x.example", 200, name="田中", attributes={"company": "A"})
    await done(await client.patch(path, json={"name": "田中", "locale": "ja", "attributes": {"n": 1.0}}), 200)
    assert await changes_of(client, contact["id"]) == [("created", None, None)]
    await entered(client, "taro@x.example", 200, name="佐藤", stage="見積", attributes={"company": None, "m": [1]})
    await done(
        await client.patch(path, json={"locale": "en", "time_zone": "Asia/Tokyo", "attributes": {"n": "x"}}), 200
    )
    assert sorted((await changes_of(client, contact["id"]))[1:], key=str) == sorted(
        [
            ("email", "Taro@x.example", "taro@x.example"),
            ("name", "田中", "佐藤"),
            ("stage", "", "見積"),
            ("attributes.company", "A", None),
            ("attributes.m", None, [1]),
            ("locale", "ja", "en"),
            ("time_zone", "", "Asia/Tokyo"),
            ("attributes.n", 1, "x"),
        ],
        key=str,
    )
    items = (await done(await client.get(f"{path}/history?limit=2"), 200))["items"]
    assert {(item["source"], item["actor"][:4]) for item in items} == {("api", "key:")}
    await database.pool.execute("INSERT INTO contact_activity SELECT tenant_id, id, now() FROM contacts")
    await done(await client.delete(path), 204)
    problem(await client.get(f"{path}/history"), 404, "not-found")
    assert await database.pool.fetchval("SELECT count(*) FROM contact_activity") == 0


async def test_history_of_one_contact_is_bounded(client: Client, database: Database) -> None:
    """Long values are kept as their length, and of very many changes the newest."""
    contact = await entered(client, "a@x.example", attributes={"note": "a"})
    path = f"/v1/contacts/{contact['id']}"
    await done(await client.patch(path, json={"attributes": {"note": "b" * 5000}}), 200)
    assert (await changes_of(client, contact["id"]))[1] == ("attributes.note", "a", {"chars": 5002})
    await database.pool.execute(
        "INSERT INTO contact_changes (tenant_id, contact_id, actor, source, field) "
        "SELECT tenant_id, id, 'x', 'import', 'many' FROM contacts, generate_series(1, 1000)"
    )
    for number in range(40):
        await done(await client.patch(path, json={"name": str(number)}), 200)
    kept = await database.pool.fetchval("SELECT count(*) FROM contact_changes")
    assert KEPT_ROWS <= kept <= KEPT_ROWS + 40
    assert (await done(await client.get(f"{path}/history?limit=1"), 200))["items"][0]["field"] == "many"


async def test_concurrent_upserts_of_one_person_leave_a_history_that_adds_up(client: Client) -> None:
    """Each change says what it replaced: read in order, old follows new."""
    contact = await entered(client, "a@x.example", name="0")
    await asyncio.gather(*(entered(client, "a@x.example", 200, name=str(number)) for number in range(1, 13)))
    changes = [change for change in await changes_of(client, contact["id"]) if change[0] == "name"]
    assert len(changes) == 12
    assert [old for _, old, _ in changes] == ["0", *(new for _, _, new in changes[:-1])]


async def test_erased_person_is_not_entered_again(client: Client, make_client: MakeClient, database: Database) -> None:
    """409 for whoever had their data erased, however the address is written; another tenant is not concerned."""
    kept = await entered(client, "b@x.example")
    tenant_id = await database.pool.fetchval("SELECT tenant_id FROM contacts WHERE id = $1", kept["id"])
    async with database.pool.acquire() as connection, connection.transaction():
        await erasing.remember(connection, tenant_id, ["taro@x.example"])
    problem(await client.post("/v1/contacts", json={"email": "Taro@X.example"}), 409, "erased")
    assert await database.pool.fetchval("SELECT count(*) FROM contacts") == 1
    await entered(client, "b@x.example", 200)
    await entered(await make_client("other"), "taro@x.example")


async def test_contacts_are_filtered_by_each_condition_and_by_all(client: Client) -> None:
    """Stage, list, time, prefix, typed and free attributes; conditions add up; pages go on."""
    made = await done(await client.post("/v1/lists", json={"name": "l"}), 201)
    await done(await client.post("/v1/attributes", json={"name": "age", "type": "number"}), 201)
    await done(await client.post("/v1/attributes", json={"name": "likes", "type": "list"}), 201)
    one = await entered(
        client, "taro@x.example", stage="s", attributes={"age": "３０", "likes": "東京;大阪", "free": "1"}
    )
    two = await entered(client, "tarou_2@x.example", stage="s", attributes={"age": 31, "free": 1})
    three = await entered(client, "hanako@x.example", attributes={"likes": ["大阪"]})
    await done(await client.post(f"/v1/lists/{made['id']}/members", json={"contact_ids": [two["id"]]}), 200)

    async def found(**query: Any) -> list[int]:
        answer = await done(await client.get("/v1/contacts", params=query), 200)
        return [item["id"] for item in answer["items"]]

    ids = [one["id"], two["id"], three["id"]]
    assert await found(stage="s") == ids[:2]
    assert await found(list_id=made["id"]) == [ids[1]]
    assert await found(created_after=one["created_at"]) == ids[1:]
    assert await found(created_after="2020-01-01T00:00:00+09:00") == ids
    assert await found(email_prefix="TARO") == ids[:2]
    assert await found(email_prefix="tarou_") == [ids[1]]
    assert await found(email_prefix="%") == []
    assert await found(attribute="age", value="30") == [ids[0]]
    assert await found(attribute="likes", value="大阪") == [ids[0], ids[2]]
    assert await found(attribute="free", value="1") == ids[:2]
    assert await found(stage="s", attribute="age", value="31", list_id=made["id"]) == [ids[1]]
    assert await found(
        stage="s", limit=1, cursor=(await client.get("/v1/contacts?stage=s&limit=1")).json()["next_cursor"]
    ) == [ids[1]]
    for query in ("attribute=age&value=abc", "attribute=age", "value=1", "created_after=x", "stage=%00", "list_id=0"):
        assert (await client.get(f"/v1/contacts?{query}")).status_code == 422, query


async def test_what_would_tell_personal_data_takes_the_right(client: Client, make_client: MakeClient) -> None:
    """Searching by prefix, or by a personal attribute, would be a way to guess it letter by letter."""
    await done(await client.post("/v1/attributes", json={"name": "phone", "type": "string", "personal": True}), 201)
    await entered(client, "taro@x.example", attributes={"phone": "03-1111-2222"})
    limited = await make_client("acme", "contacts:read", "contacts:write")
    for query in ("email_prefix=t", "attribute=phone&value=03-1111-2222"):
        problem(await limited.get(f"/v1/contacts?{query}"), 403, "missing-scope")
        assert len((await done(await client.get(f"/v1/contacts?{query}"), 200))["items"]) == 1
    problem(await limited.get("/v1/contacts/duplicates"), 403, "missing-scope")
    problem(await limited.patch("/v1/attributes/phone", json={"personal": False}), 403, "missing-scope")
    problem(await limited.delete("/v1/attributes/phone"), 403, "missing-scope")
