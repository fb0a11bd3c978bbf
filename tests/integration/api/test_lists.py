"""Lists, who is on them, and how they came there, over REST."""

from typing import Any

from hayabin.database.engine import Database
from tests.integration.api.conftest import MakeClient
from tests.integration.api.rest import Client, a_campaign, done, problem

WRITTEN = {"basis": "written", "note": "counter 3"}


async def a_list(client: Client, name: str = "l", **more: Any) -> int:
    """The id of a new list."""
    made = await done(await client.post("/v1/lists", json={"name": name, **more}), 201)
    return int(made["id"])


async def contacts(client: Client, count: int) -> list[int]:
    """The ids of new contacts."""
    return [
        (await done(await client.post("/v1/contacts", json={"email": f"u{n}@x.example"}), 201))["id"]
        for n in range(count)
    ]


async def test_list_is_changed_field_by_field_and_its_name_stays_unique(
    client: Client, make_client: MakeClient
) -> None:
    """What is left out stays; another tenant's list is not there."""
    one, _ = await a_list(client, "one", description="d"), await a_list(client, "two")
    changed = await done(await client.patch(f"/v1/lists/{one}", json={"public": True, "public_name": "春"}), 200)
    assert (changed["name"], changed["description"], changed["public"], changed["public_name"]) == (
        "one",
        "d",
        True,
        "春",
    )
    assert await done(await client.patch(f"/v1/lists/{one}", json={"name": "one"}), 200) == changed
    problem(await client.patch(f"/v1/lists/{one}", json={"name": "two"}), 409, "name-taken")
    other = await make_client("other")
    for answer in (await other.patch(f"/v1/lists/{one}", json={"name": "x"}), await other.delete(f"/v1/lists/{one}")):
        problem(answer, 404, "not-found")


async def test_list_in_use_is_not_deleted_and_a_finished_campaign_lets_it_go(
    client: Client, database: Database
) -> None:
    """A campaign that may still send keeps its list, by name or in its audience; contacts and history stay."""
    campaign = await a_campaign(client, people=1)
    list_id, path = campaign["list_id"], f"/v1/lists/{campaign['list_id']}"
    refusal = problem(await client.delete(path), 409, "list-in-use")
    assert "1 campaigns" in refusal["detail"]
    other = await a_list(client, "other")
    await database.pool.execute(
        "UPDATE campaigns SET list_id = $1, audience_definition = jsonb_build_object('exclude_lists', jsonb_build_array($2::bigint))",
        other,
        list_id,
    )
    problem(await client.delete(path), 409, "list-in-use")
    rules = {"list": other, "is": "one_of", "value": ["subscribed"]}
    await database.pool.execute("INSERT INTO segments (tenant_id, name, rules) SELECT 1, 's', $1", {"all": [rules]})
    assert "1 segments" in problem(await client.delete(f"/v1/lists/{other}"), 409, "list-in-use")["detail"]
    await database.pool.execute("DELETE FROM segments")
    await database.pool.execute("UPDATE campaigns SET state = 'completed', audience = 1")
    for each in (list_id, other):
        await done(await client.delete(f"/v1/lists/{each}"), 204)
    assert await database.pool.fetchval("SELECT list_id FROM campaigns") is None
    assert await database.pool.fetchval("SELECT count(*) FROM subscription_changes WHERE list_id = $1", list_id) == 1
    assert await database.pool.fetchval("SELECT count(*) FROM contacts") == 1


async def test_members_are_counted_and_filtered_by_state(client: Client, database: Database) -> None:
    """Each state is counted; a filter shows who stands there, with the basis of their consent."""
    list_id, ids = await a_list(client), await contacts(client, 4)
    path = f"/v1/lists/{list_id}/members"
    form = {"contact_ids": ids[:2], "consent": WRITTEN}
    assert await done(await client.post(path, json=form), 200) == {"added": 2}
    assert await done(await client.post(path, json={"contact_ids": ids[2:3], "state": "pending"}), 200) == {"added": 1}
    await database.pool.execute("UPDATE list_members SET state = 'complained' WHERE contact_id = $1", ids[1])
    found = await done(await client.get(f"/v1/lists/{list_id}"), 200)
    assert found["states"] == {"pending": 1, "subscribed": 1, "unsubscribed": 0, "bounced": 0, "complained": 1}
    for state, who, consent in (
        ("subscribed", ids[:1], "written"),
        ("pending", ids[2:3], "unspecified"),
        ("bounced", [], ""),
    ):
        items = (await done(await client.get(f"{path}?state={state}"), 200))["items"]
        assert [item["contact_id"] for item in items] == who
        assert {item["consent"] for item in items} <= {consent}
    problem(await client.get(f"{path}?state=gone"), 422, "invalid-request")


async def test_tenant_that_requires_consent_subscribes_nobody_without(client: Client, database: Database) -> None:
    """422 names what is missing; with evidence the same request is done; written consent needs a note."""
    list_id, ids = await a_list(client), await contacts(client, 1)
    await done(await client.patch("/v1/settings", json={"consent_policy": "required"}), 200)
    path = f"/v1/lists/{list_id}/members"
    refusal = problem(await client.post(path, json={"contact_ids": ids}), 422, "consent-required")
    assert refusal["errors"][0]["pointer"] == "#/consent"
    for consent in ({"basis": "written"}, {"basis": "unspecified"}, {"basis": "form", "ip": "1.2.3"},
                    {"basis": "api", "occurred_at": "2999-01-01T00:00:00Z"}):  # fmt: skip
        problem(await client.post(path, json={"contact_ids": ids, "consent": consent}), 422, "invalid-request")
    assert await database.pool.fetchval("SELECT count(*) FROM list_members") == 0
    assert await done(await client.post(path, json={"contact_ids": ids, "consent": WRITTEN}), 200) == {"added": 1}


async def test_subscriptions_of_a_contact_show_where_they_stand_and_how_they_came_there(
    client: Client, make_client: MakeClient
) -> None:
    """Taken off a list, a contact has no row there, and the history says so; another tenant sees nothing."""
    list_id, ids = await a_list(client), await contacts(client, 1)
    path = f"/v1/lists/{list_id}/members"
    await done(await client.post(path, json={"contact_ids": ids, "consent": WRITTEN}), 200)
    where = f"/v1/contacts/{ids[0]}/subscriptions"
    found = await done(await client.get(where), 200)
    assert [(s["list_id"], s["list"], s["state"], s["consent"]) for s in found["subscriptions"]] == [
        (list_id, "l", "subscribed", "written")
    ]
    await done(await client.delete(f"{path}/{ids[0]}"), 204)
    found = await done(await client.get(where), 200)
    assert found["subscriptions"] == []
    assert [(h["was"], h["state"]) for h in found["history"]] == [("subscribed", None), (None, "subscribed")]
    assert found["history"][0]["source"].startswith("api_key:")
    problem(await (await make_client("other")).get(where), 404, "not-found")


async def test_removing_who_unsubscribed_keeps_their_wish(client: Client) -> None:
    """A program that removes and adds its members cannot subscribe somebody again who has left."""
    list_id, ids = await a_list(client), await contacts(client, 1)
    path = f"/v1/lists/{list_id}/members"
    await done(await client.post(path, json={"contact_ids": ids}), 200)
    gone = {"contact_id": ids[0], "list_id": list_id, "action": "opt_out", **WRITTEN}
    await done(await client.post("/v1/consents", json=gone), 201)
    await done(await client.delete(f"{path}/{ids[0]}"), 204)
    assert await done(await client.post(path, json={"contact_ids": ids}), 200) == {"added": 0}
    assert [m["state"] for m in (await done(await client.get(path), 200))["items"]] == ["unsubscribed"]
