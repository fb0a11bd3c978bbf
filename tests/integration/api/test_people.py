"""Contacts, lists and suppressions over REST."""

from tests.integration.api.rest import Client, done, problem


async def test_contact_is_one_for_each_address(client: Client) -> None:
    """The same address again updates; what is left out stays, null removes, another case is the same person."""
    form = {"email": "a..b@docomo.ne.jp", "name": "田中 花子", "attributes": {"company": "サンプル商事", "n": 1}}
    first = await done(await client.post("/v1/contacts", json=form), 201)
    again = {"email": "A..B@docomo.ne.jp", "attributes": {"n": 2.5, "company": None}}
    second = await done(await client.post("/v1/contacts", json=again), 200)
    assert (second["id"], second["name"], second["attributes"]) == (first["id"], "田中 花子", {"n": 2.5})
    path = f"/v1/contacts/{first['id']}"
    changed = await done(await client.patch(path, json={"locale": "en-GB", "attributes": {"x": [1, {"y": None}]}}), 200)
    assert (changed["locale"], changed["attributes"]) == ("en-GB", {"n": 2.5, "x": [1, {}]})
    found = await done(await client.get("/v1/contacts", params={"email": "a..B@DOCOMO.ne.jp"}), 200)
    assert [item["id"] for item in found["items"]] == [first["id"]]
    await done(await client.delete(path), 204)
    problem(await client.get(path), 404, "not-found")
    problem(await client.delete(path), 404, "not-found")


async def test_pages_meet_without_gap_or_overlap(client: Client) -> None:
    """Pages are stable while rows come and go between them."""
    for number in range(7):
        await done(await client.post("/v1/contacts", json={"email": f"u{number}@x.example"}), 201)
    seen: list[str] = []
    cursor = ""
    while True:
        answer = await done(await client.get(f"/v1/contacts?limit=3{cursor}"), 200)
        seen += [item["email"] for item in answer["items"]]
        await client.delete(f"/v1/contacts/{answer['items'][0]['id']}")
        if answer["next_cursor"] is None:
            break
        cursor = f"&cursor={answer['next_cursor']}"
    assert seen == [f"u{number}@x.example" for number in range(7)]
    for limit in ("0", "501", "x", "true"):
        problem(await client.get(f"/v1/contacts?limit={limit}"), 422, "invalid-request")


async def test_list_members_come_and_go(client: Client) -> None:
    """Adding twice adds once; contacts that are not there are not added; names of lists are unique."""
    made = await done(await client.post("/v1/lists", json={"name": "l"}), 201)
    problem(await client.post("/v1/lists", json={"name": "l"}), 409, "name-taken")
    one = await done(await client.post("/v1/contacts", json={"email": "a@b.example"}), 201)
    path = f"/v1/lists/{made['id']}/members"
    assert await done(await client.post(path, json={"contact_ids": [one["id"], one["id"], 999]}), 200) == {"added": 1}
    assert await done(await client.post(path, json={"contact_ids": [one["id"]]}), 200) == {"added": 0}
    assert (await done(await client.get(f"/v1/lists/{made['id']}"), 200))["subscribed"] == 1
    members = (await done(await client.get(path), 200))["items"]
    assert [(member["email"], member["state"]) for member in members] == [("a@b.example", "subscribed")]
    await done(await client.delete(f"{path}/{one['id']}"), 204)
    problem(await client.delete(f"{path}/{one['id']}"), 404, "not-found")
    assert (await done(await client.get(path), 200))["items"] == []


async def test_suppressions_are_by_address_and_list(client: Client) -> None:
    """Bulk add tells new from known; one list's suppression is not another's; pages go through all of them."""
    made = await done(await client.post("/v1/lists", json={"name": "l"}), 201)
    emails = [f"u{number}@x.example" for number in range(5)]
    assert await done(await client.post("/v1/suppressions", json={"emails": emails}), 201) == {"added": 5, "known": 0}
    again = {"emails": ["U0@X.example", "new@x.example"]}
    assert await done(await client.post("/v1/suppressions", json=again), 201) == {"added": 1, "known": 1}
    await done(await client.post("/v1/suppressions", json={"emails": emails[:1], "list_id": made["id"]}), 201)
    problem(await client.post("/v1/suppressions", json={"emails": emails, "list_id": 999}), 404, "not-found")
    one = await done(await client.get("/v1/suppressions/u0@x.example"), 200)
    assert [item["list_id"] for item in one["suppressions"]] == [0, made["id"]]
    seen = []
    cursor: str | None = ""
    while cursor is not None:
        answer = await done(await client.get(f"/v1/suppressions?limit=2{cursor}"), 200)
        seen += [(item["email"], item["list_id"]) for item in answer["items"]]
        cursor = f"&cursor={answer['next_cursor']}" if answer["next_cursor"] else None
    assert len(seen) == len(set(seen)) == 7
    await done(await client.delete("/v1/suppressions/u0@x.example"), 204)
    one = await done(await client.get("/v1/suppressions/u0@x.example"), 200)
    assert [item["list_id"] for item in one["suppressions"]] == [made["id"]]
    many = {"emails": [f"u{number}@x.example" for number in range(1001)]}
    problem(await client.post("/v1/suppressions", json=many), 422, "invalid-request")
    wrong = {"emails": ["a@b.example", "broken"]}
    found = problem(await client.post("/v1/suppressions", json=wrong), 422, "invalid-address")
    assert found["errors"][0]["pointer"] == "#/emails/1"
