"""Segments over REST: saved, counted, listed, refused with pointers; who may see what; on a real PostgreSQL."""

import json
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from hayabin.database import segments
from hayabin.database.engine import Database
from tests.integration.api.conftest import MakeClient
from tests.integration.api.rest import OVERRIDE, Client, a_campaign, done, problem

GOLD = {"attribute": "plan", "is": "equals", "value": "gold"}


async def people(client: Client, number: int = 4) -> list[int]:
    """Contacts of whom every second has the plan gold."""
    forms = [
        {"email": f"u{n}@x.example", "name": f"田中 {n}", "attributes": {"plan": "silver" if n % 2 else "gold", "n": n}}
        for n in range(number)
    ]
    return [(await done(await client.post("/v1/contacts", json=form), 201))["id"] for form in forms]


async def save(client: Client, rules: dict[str, Any], name: str = "s") -> Any:
    """A saved segment."""
    return await done(await client.post("/v1/segments", json={"name": name, "rules": rules}), 201)


async def test_segment_is_saved_counted_listed_changed_and_deleted(client: Client) -> None:
    """The life of one, with a name that is unique."""
    ids = await people(client)
    made = await save(client, GOLD)
    path = f"/v1/segments/{made['id']}"
    assert made["rules"] == GOLD
    problem(await client.post("/v1/segments", json={"name": "s", "rules": GOLD}), 409, "name-taken")
    assert await done(await client.get(f"{path}/count"), 200) == {"segment_id": made["id"], "count": 2}
    first = await done(await client.get(f"{path}/contacts?limit=1"), 200)
    second = await done(await client.get(f"{path}/contacts?limit=1&cursor={first['next_cursor']}"), 200)
    assert [item["contact_id"] for item in first["items"] + second["items"]] == [ids[0], ids[2]]
    assert second["next_cursor"] is None
    rules = {"not": {"segment": made["id"]}}
    assert (await done(await client.post("/v1/segments/preview", json={"rules": rules}), 200))["count"] == 2
    change = {"description": "よい", "rules": {**GOLD, "value": "silver"}}
    assert (await done(await client.patch(path, json=change), 200))["description"] == "よい"
    listed = await done(await client.get(f"{path}/contacts"), 200)
    assert [item["contact_id"] for item in listed["items"]] == [ids[1], ids[3]]
    await save(client, GOLD, "t")
    problem(await client.patch(path, json={"name": "t"}), 409, "name-taken")
    problem(await client.patch(path, json={"rules": None}), 422, "invalid-request")
    assert len((await done(await client.get("/v1/segments"), 200))["items"]) == 2
    await done(await client.delete(path), 204)
    for gone in (path, f"{path}/count", f"{path}/contacts"):
        problem(await client.get(gone), 404, "not-found")


async def test_today_is_where_the_tenant_is(client: Client) -> None:
    """Two places whose days never are the same; A place that is none."""
    east, west = "Pacific/Kiritimati", "Pacific/Pago_Pago"
    born = datetime.now(ZoneInfo(east)).date().isoformat()
    await done(await client.post("/v1/attributes", json={"name": "born", "type": "date"}), 201)
    form = {"email": "u@x.example", "attributes": {"born": born}}
    await done(await client.post("/v1/contacts", json=form), 201)
    made = await save(client, {"attribute": "born", "is": "within_last_days", "value": 0})
    campaign = await a_campaign(client, 0, audience={"include_segments": [made["id"]]}, list_id=None)
    counts, audiences = [], []
    for name in (east, west):
        assert (await done(await client.patch("/v1/settings", json={"time_zone": name}), 200))["time_zone"] == name
        counts.append((await done(await client.get(f"/v1/segments/{made['id']}/count"), 200))["count"])
        shown = await done(await client.get(f"/v1/campaigns/{campaign['id']}/audience"), 200)
        audiences.append(shown["included_by"][0]["people"])
    assert (counts, audiences) == ([1, 0], [1, 0])
    problem(await client.patch("/v1/settings", json={"time_zone": "Asia/Atlantis"}), 422, "invalid-request")


async def test_rules_that_are_none_are_refused_with_a_pointer_to_each_place(client: Client) -> None:
    """Form, types by the tenant's definitions, and what does not exist, wherever it stands."""
    await done(await client.post("/v1/attributes", json={"name": "born", "type": "date"}), 201)
    rules = {
        "all": [{"attribute": "born", "is": "contains", "value": "x"}, {"not": {"list": "x", "is": "has_consent"}}]
    }
    answer = problem(await client.post("/v1/segments", json={"name": "s", "rules": rules}), 422, "invalid-rules")
    assert [error["pointer"] for error in answer["errors"]] == ["#/rules/all/0/is", "#/rules/all/1/not/list"]
    rules = {"any": [{"list": 99, "is": "has_consent"}, {"activity": "opened", "is": "in_campaigns", "value": [98]},
                     {"all": [{"segment": 97}, GOLD]}]}  # fmt: skip
    answer = problem(await client.post("/v1/segments/preview", json={"rules": rules}), 422, "invalid-rules")
    assert {error["pointer"] for error in answer["errors"]} == {
        "#/rules/any/0/list", "#/rules/any/1/value/0", "#/rules/any/2/all/0/segment",
    }  # fmt: skip


async def test_other_tenants_people_lists_and_segments_are_neither_found_nor_named(make_client: MakeClient) -> None:
    """Not counted, not listed, and an id of theirs is one that is not there."""
    mine, theirs = await make_client("mine"), await make_client("theirs")
    await people(mine)
    await people(theirs, 3)
    segment = await save(theirs, GOLD)
    everybody = {"not": {**GOLD, "value": "nobody"}}
    assert (await done(await mine.post("/v1/segments/preview", json={"rules": everybody}), 200))["count"] == 4
    problem(await mine.get(f"/v1/segments/{segment['id']}"), 404, "not-found")
    problem(await mine.patch(f"/v1/segments/{segment['id']}", json={"name": "x"}), 404, "not-found")
    problem(await mine.delete(f"/v1/segments/{segment['id']}"), 404, "not-found")
    rules = {"segment": segment["id"]}
    problem(await mine.post("/v1/segments/preview", json={"rules": rules}), 422, "invalid-rules")
    await save(mine, GOLD)  # the name is theirs too


async def test_sample_is_masked_for_who_may_not_see_personal_data(make_client: MakeClient) -> None:
    """Addresses, names and attributes that are flagged; nor is what they are found out by asking for it."""
    full, reader = await make_client("acme"), await make_client("acme", "contacts:read", "campaigns:read")
    ids = await people(full, 1)
    await done(await full.post("/v1/attributes", json={"name": "plan", "type": "string", "personal": True}), 201)
    campaign = await a_campaign(full, 0)
    await done(await full.post(f"/v1/lists/{campaign['list_id']}/members", json={"contact_ids": ids}), 200)
    for client, email, name, plan in (
        (full, "u0@x.example", "田中 0", "gold"),
        (reader, "u•••@x.example", "田•••", "g•••"),
    ):
        rules = {
            "all": [{"attribute": "plan", "is": "is_set"}, {"field": "domain", "is": "equals", "value": "x.example"}]
        }
        answer = await done(await client.post("/v1/segments/preview", json={"rules": rules}), 200)
        assert [(one["email"], one["name"], one["attributes"]["plan"]) for one in answer["sample"]] == [
            (email, name, plan)
        ]
        answer = await done(await client.post(f"/v1/campaigns/{campaign['id']}/audience/preview", json={}), 200)
        assert [(one["email"], one["name"], one["reason"]) for one in answer["items"]] == [(email, name, "will_get")]
    asked = {"any": [{"field": "stage", "is": "is_set"}, {"not": {**GOLD, "is": "starts_with", "value": "g"}}]}
    problem(await reader.post("/v1/segments/preview", json={"rules": asked}), 403, "missing-scope")
    writer = await make_client("acme", "contacts:read", "contacts:write")
    problem(await writer.post("/v1/segments", json={"name": "x", "rules": asked}), 403, "missing-scope")
    assert (await done(await full.post("/v1/segments/preview", json={"rules": asked}), 200))["count"] == 0
    nobody = await make_client("acme", "campaigns:read")
    problem(await nobody.post("/v1/segments/preview", json={"rules": GOLD}), 403, "missing-scope")
    problem(await nobody.post(f"/v1/campaigns/{campaign['id']}/audience/preview", json={}), 403, "missing-scope")
    problem(await reader.post("/v1/segments", json={"name": "x", "rules": GOLD}), 403, "missing-scope")


async def test_segments_that_name_each_other_in_a_circle_or_too_deep_are_refused(
    client: Client, database: Database
) -> None:
    """When saved; and when read, should it have come about in another way."""
    first = await save(client, GOLD, "0")
    chain = [first["id"]]
    for n in range(1, 6):
        chain.append((await save(client, {"not": {"segment": chain[-1]}}, str(n)))["id"])
    too_deep = {"name": "6", "rules": {"segment": chain[-1]}}
    problem(await client.post("/v1/segments", json=too_deep), 422, "segment-too-deep")
    for target in (chain[0], chain[3]):
        circle = {"rules": {"any": [GOLD, {"segment": target}]}}
        problem(await client.patch(f"/v1/segments/{chain[0]}", json=circle), 422, "segment-too-deep")
    other = [(await save(client, GOLD, "o0"))["id"]]
    for n in range(1, 4):
        other.append((await save(client, {"segment": other[-1]}, f"o{n}"))["id"])
    deepens = {"rules": {"segment": other[-1]}}  # is not too deep itself, but what names it would be
    problem(await client.patch(f"/v1/segments/{chain[2]}", json=deepens), 422, "segment-too-deep")
    await done(await client.get(f"/v1/segments/{chain[-1]}/count"), 200)
    rules = json.dumps({"segment": chain[2]})
    await database.pool.execute("UPDATE segments SET rules = $1::text::jsonb WHERE id = $2", rules, chain[1])
    problem(await client.get(f"/v1/segments/{chain[1]}/count"), 422, "segment-too-deep")
    wide = {"all": [{"segment": first["id"]}] * 199}
    wide_id = (await save(client, wide, "wide"))["id"]
    wider = {"name": "wider", "rules": {"all": [{"segment": wide_id}] * 6}}
    problem(await client.post("/v1/segments", json=wider), 422, "segment-too-deep")


async def test_segment_that_is_used_is_not_deleted_and_not_changed_under_a_launch(
    client: Client, database: Database
) -> None:
    """Segments and drafts that name it are told; while a campaign is filled its rules stay as they are."""
    inner = await save(client, GOLD, "inner")
    outer = await save(client, {"not": {"segment": inner["id"]}}, "outer")
    campaign = await a_campaign(client)
    audience = {"include_lists": [campaign["list_id"]], "exclude_segments": [outer["id"]]}
    await done(await client.patch(f"/v1/campaigns/{campaign['id']}", json={"audience": audience}), 200)
    for segment, kind, user in ((inner, "segment", outer), (outer, "campaign", campaign)):
        answer = problem(await client.delete(f"/v1/segments/{segment['id']}"), 409, "segment-in-use")
        assert [error["pointer"] for error in answer["errors"]] == [f"{kind}:{user['id']}"]
        shown = await done(await client.get(f"/v1/segments/{segment['id']}"), 200)
        assert [(one["kind"], one["id"]) for one in shown["used_by"]] == [(kind, user["id"])]
    await database.pool.execute("UPDATE campaigns SET filling = true, state = 'sending'")
    for segment in (inner, outer):
        path = f"/v1/segments/{segment['id']}"
        problem(await client.patch(path, json={"rules": {**GOLD, "value": "x"}}), 409, "segment-in-use")
        await done(await client.patch(path, json={"description": "may change"}), 200)
    await database.pool.execute("UPDATE campaigns SET filling = false")
    await done(await client.patch(f"/v1/segments/{inner['id']}", json={"rules": {**GOLD, "value": "x"}}), 200)
    await done(await client.delete(f"/v1/segments/{outer['id']}"), 204)
    await done(await client.delete(f"/v1/segments/{inner['id']}"), 204)


async def test_count_that_takes_too_long_ends_with_a_problem_that_says_so(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database stops, the connection goes on being used."""
    monkeypatch.setattr(segments.bounded, "__defaults__", (0.001,))
    await database.pool.execute(
        "INSERT INTO contacts (tenant_id, address, wire, address_key, attributes) "
        "SELECT t.id, n::text, n::text, n::text, jsonb_build_object('plan', repeat('x', 500)) "
        "FROM tenants t, generate_series(1, 20000) n WHERE t.slug = 'acme'"
    )
    rules = {"attribute": "plan", "is": "contains", "value": "y"}
    answer = problem(await client.post("/v1/segments/preview", json={"rules": rules}), 422, "segment-too-slow")
    assert "narrower" in answer["detail"]
    monkeypatch.undo()
    assert (await done(await client.post("/v1/segments/preview", json={"rules": rules}), 200))["count"] == 0


async def test_campaign_with_an_audience_is_drafted_counted_and_launched(client: Client, database: Database) -> None:
    """Includes, excludes and overlaps in the answer; the ledger and the statistics have the reasons."""
    ids = await people(client, 6)
    lists = [(await done(await client.post("/v1/lists", json={"name": name}), 201))["id"] for name in ("a", "b", "out")]
    for list_id, members in zip(lists, (ids[:3], ids[2:5], ids[:1]), strict=True):
        await done(await client.post(f"/v1/lists/{list_id}/members", json={"contact_ids": members}), 200)
    gold = await save(client, GOLD)
    draft = await a_campaign(client, 0)
    audience = {"include_lists": lists[:2], "include_segments": [gold["id"]], "exclude_lists": lists[2:]}
    path = f"/v1/campaigns/{draft['id']}"
    changed = await done(await client.patch(path, json={"audience": audience, "list_id": None}), 200)
    assert (changed["list_id"], changed["audience_definition"]) == (lists[0], audience)
    assert (await done(await client.patch(path, json={"name": "again"}), 200))["audience_definition"] == audience
    await done(await client.post("/v1/suppressions", json={"emails": ["u1@x.example"]}), 201)
    counted = await done(await client.get(f"{path}/audience"), 200)
    assert {name: n for name, n in counted.items() if isinstance(n, int) and n} == {
        "audience": 4, "will_get": 3, "suppressed": 1, "excluded": 1,
    }  # fmt: skip
    assert [part["people"] for part in counted["included_by"]] == [3, 3, 3]
    assert [part["people"] for part in counted["overlaps"]] == [1, 2, 2]
    listed = await done(await client.post(f"{path}/audience/preview", json={"reason": "excluded"}), 200)
    assert [one["contact_id"] for one in listed["items"]] == ids[:1]
    page = await done(await client.post(f"{path}/audience/preview?limit=2", json={}), 200)
    rest = await done(await client.post(f"{path}/audience/preview?limit=2&cursor={page['next_cursor']}", json={}), 200)
    assert [one["contact_id"] for one in page["items"] + rest["items"]] == ids[2:5]
    launched = await done(await client.post(f"{path}/launch", json=OVERRIDE), 200)
    assert launched["audience"] == 4
    await database.pool.execute(
        "INSERT INTO counter_deltas (campaign_id, name, n) VALUES ($1, 'suppressed', 2)", draft["id"]
    )
    stats = await done(await client.get(f"{path}/stats"), 200)
    assert (stats["suppressed"], stats["suppressed_by_reason"]) == (3, {"suppressed": 3})  # two of them at the gate


async def test_audience_that_names_what_is_not_there_or_nobody_is_refused(client: Client) -> None:
    """Pointers into the form; `null` gives the list back; changing the audience moves the list that leads it."""
    draft = await a_campaign(client, 1)
    path, list_id = f"/v1/campaigns/{draft['id']}", draft["list_id"]
    wrong = {"include_lists": [list_id, 99], "include_segments": [98], "exclude_campaigns": [draft["id"], 97]}
    answer = problem(await client.patch(path, json={"audience": wrong}), 422, "invalid-request")
    assert [error["pointer"] for error in answer["errors"]] == [
        "#/audience/include_lists/1", "#/audience/include_segments/0", "#/audience/exclude_campaigns/1",
    ]  # fmt: skip
    for nobody in ({}, {"exclude_lists": [list_id]}):
        answer = problem(await client.patch(path, json={"audience": nobody}), 422, "invalid-request")
        assert [error["pointer"] for error in answer["errors"]] == ["#/audience"]
    answer = problem(await client.patch(path, json={"list_id": None}), 422, "invalid-request")
    assert [error["pointer"] for error in answer["errors"]] == ["#/list_id"]
    other = (await done(await client.post("/v1/lists", json={"name": "other"}), 201))["id"]
    audience = {"include_lists": [list_id]}
    await done(await client.patch(path, json={"audience": audience}), 200)
    moved = await done(await client.patch(path, json={"audience": {"include_lists": [other]}}), 200)
    assert moved["list_id"] == other
    test = await done(await client.post(f"{path}/test", json={"to": ["me@x.example"]}), 202)
    assert not any((await done(await client.get(f"/v1/campaigns/{test['id']}/audience"), 200)).values())  # has no list
    plain = await done(await client.patch(path, json={"audience": None, "list_id": list_id}), 200)
    assert (plain["list_id"], plain["audience_definition"]) == (list_id, {})
