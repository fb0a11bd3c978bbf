"""Approvals: bound to what was approved, by enough people, before a launch and when a schedule fires."""

from typing import Any

import pytest

from hayabin.database.engine import Database
from services.api.access import Scope
from services.api.scheduler.schedules import launch_scheduled
from tests.integration.api.conftest import MakeClient
from tests.integration.api.rest import OVERRIDE, Client, a_campaign, a_template, done, problem

LATER = {"schedule_at": "2099-01-01T00:00:00Z", **OVERRIDE}


async def settings(client: Client, **changes: Any) -> None:
    """Change some of the tenant's settings."""
    await done(await client.patch("/v1/settings", json=changes), 200)


async def a_smaller(client: Client, campaign: dict[str, Any], people: int, **more: Any) -> dict[str, Any]:
    """Another draft like a campaign, to some of the people of its list."""
    members = await done(await client.get(f"/v1/lists/{campaign['list_id']}/members?limit={people}"), 200)
    ids = [member["contact_id"] for member in members["items"]]
    made = await done(await client.post("/v1/lists", json={"name": f"smaller{people}"}), 201)
    await done(await client.post(f"/v1/lists/{made['id']}/members", json={"contact_ids": ids}), 200)
    form = {name: campaign[name] for name in ("name", "template_version_id", "from_name", "from_address")}
    answer = await client.post("/v1/campaigns", json={**form, "list_id": made["id"], **more})
    draft: dict[str, Any] = await done(answer, 201)
    return draft


async def standing(client: Client, campaign: dict[str, Any]) -> dict[str, Any]:
    """The campaign's approvals."""
    found: dict[str, Any] = await done(await client.get(f"/v1/campaigns/{campaign['id']}/approvals"), 200)
    return found


async def approve(client: Client, campaign: dict[str, Any]) -> dict[str, Any]:
    """Approve a campaign as it is now."""
    form = {"hash": (await standing(client, campaign))["hash"]}
    found: dict[str, Any] = await done(await client.post(f"/v1/campaigns/{campaign['id']}/approve", json=form), 200)
    return found


async def launch(client: Client, campaign: dict[str, Any]) -> Any:
    """Launch."""
    return await client.post(f"/v1/campaigns/{campaign['id']}/launch", json=OVERRIDE)


async def test_large_audience_needs_somebody_else_to_approve(client: Client, make_client: MakeClient) -> None:
    """Without is 409 with what is missing; the editor alone is not enough, another one is."""
    campaign = await a_campaign(client, people=3)
    await settings(client, approval_above=2)
    for path, form in (("launch", OVERRIDE), ("schedule", LATER)):
        answer = await client.post(f"/v1/campaigns/{campaign['id']}/{path}", json=form)
        body = problem(answer, 409, "approval-needed")
        assert (body["audience"], body["needed"], body["missing"]) == (3, 1, 1)
    own = await approve(client, campaign)
    assert (own["missing"], own["approvals"][0]["valid"]) == (1, True)
    assert "somebody else" in problem(await launch(client, campaign), 409, "approval-needed")["detail"]
    colleague = await make_client("acme", Scope.CAMPAIGNS_READ, Scope.CAMPAIGNS_APPROVE)
    assert (await approve(colleague, campaign))["missing"] == 0
    problem(await launch(colleague, campaign), 403, "missing-scope")
    assert (await done(await launch(client, campaign), 200))["state"] == "sending"


async def test_small_audience_needs_no_approval(client: Client) -> None:
    """As large as the threshold is not above it."""
    campaign = await a_campaign(client, people=3)
    await settings(client, approval_above=3, two_approvals_above=3)
    assert (await done(await launch(client, campaign), 200))["audience"] == 3


async def as_person(client: Client, database: Database, name: str) -> None:
    """Make the key of a client one of a new person."""
    await database.pool.execute(
        "WITH person AS (INSERT INTO users (tenant_id, email, email_key, role) "
        "SELECT id, $2, $2, 'admin' FROM tenants WHERE slug = 'acme' RETURNING id) "
        "UPDATE api_keys SET user_id = (SELECT id FROM person) WHERE prefix = $1",
        client.headers["Authorization"].split("_")[1],
        f"{name}@x.example",
    )


async def test_larger_audience_needs_two_different_people(
    client: Client, make_client: MakeClient, database: Database
) -> None:
    """The same one twice is one; the editor and another one are two."""
    await as_person(client, database, "editor")
    campaign = await a_campaign(client, people=3)
    await settings(client, two_approvals_above=2)
    colleague = await make_client("acme")
    await as_person(colleague, database, "colleague")
    assert (await approve(colleague, campaign))["missing"] == 1
    again = await approve(colleague, campaign)
    assert (again["missing"], len(again["approvals"])) == (1, 1)
    assert "another person" in problem(await launch(client, campaign), 409, "approval-needed")["detail"]
    assert (await approve(client, campaign))["missing"] == 0
    await done(await launch(client, campaign), 200)


async def test_key_of_nobody_is_none_of_two_people(client: Client, make_client: MakeClient, database: Database) -> None:
    """Whoever has two such keys is one: it is refused, and one that came before the audience had grown counts no more."""
    campaign = await a_campaign(client, people=3)
    await settings(client, two_approvals_above=3)
    person, program = await make_client("acme"), await make_client("acme")
    await as_person(person, database, "a")
    await approve(person, campaign)
    assert (await approve(program, campaign))["missing"] == 0
    await settings(client, two_approvals_above=2)
    found = await standing(client, campaign)
    assert (found["missing"], [one["void_because"] for one in found["approvals"]]) == (1, ["no_person", None])
    answer = await program.post(f"/v1/campaigns/{campaign['id']}/approve", json={"hash": found["hash"]})
    assert "user_id" in problem(answer, 403, "personal-key-needed")["detail"]
    assert "personal key" in problem(await launch(client, campaign), 409, "approval-needed")["detail"]


async def test_every_edit_voids_the_approvals(client: Client, make_client: MakeClient, database: Database) -> None:
    """Each field of the draft, the audience and the template version are in the hash; back again is the same hash."""
    campaign = await a_campaign(client, people=3)
    await settings(client, approval_above=0)
    colleague = await make_client("acme")
    await approve(colleague, campaign)
    first = (await standing(client, campaign))["hash"]
    path = f"/v1/campaigns/{campaign['id']}"
    other_list = await done(await client.post("/v1/lists", json={"name": "other"}), 201)
    other_version = (await a_template(client, "other"))["version"]["id"]
    await done(await client.post("/v1/domains", json={"name": "second.example.jp"}), 201)
    await database.pool.execute("INSERT INTO ip_pools (name) VALUES ('second')")
    hashes = {first}
    for change in (
        {"name": "other"}, {"template_version_id": other_version}, {"list_id": other_list["id"]},
        {"from_name": "other"}, {"from_address": "other@mail.example.jp"}, {"from_address": "a@second.example.jp"},
        {"reply_to": "r@x.example"}, {"pool": "second"}, {"class": "transactional"}, {"merge_policy": "skip"},
        {"send_by": "2099-01-02T00:00:00Z"}, {"audience": {"include_lists": [campaign["list_id"], other_list["id"]]}},
    ):  # fmt: skip
        await done(await client.patch(path, json=change), 200)
        found = await standing(client, campaign)
        assert found["hash"] not in hashes, change
        assert (found["approvals"][0]["valid"], found["approvals"][0]["void_because"]) == (False, "edited")
        hashes.add(found["hash"])
        back = (
            {"audience": None, "list_id": campaign["list_id"]}
            if "audience" in change
            else {name: campaign[name] for name in change}
        )
        await done(await client.patch(path, json=back), 200)
        found = await standing(client, campaign)
        assert (found["hash"], found["approvals"][0]["valid"]) == (first, True), change
    where = f"/v1/lists/{campaign['list_id']}"  # its name is in the mail: List-Id
    await done(await client.patch(where, json={"public_name": "other"}), 200)
    assert (await standing(client, campaign))["hash"] not in hashes
    await done(await client.patch(where, json={"public_name": ""}), 200)
    await done(await client.patch(path, json={"name": "other"}), 200)
    problem(await launch(client, campaign), 409, "approval-needed")


async def test_rules_of_a_segment_are_approved_with_the_campaign(client: Client, make_client: MakeClient) -> None:
    """Who edits a segment changes who gets the mail, however far down it is named."""
    inner = await done(
        await client.post(
            "/v1/segments", json={"name": "in", "rules": {"field": "stage", "is": "equals", "value": "a"}}
        ),
        201,
    )
    outer = await done(
        await client.post("/v1/segments", json={"name": "out", "rules": {"all": [{"segment": inner["id"]}]}}), 201
    )
    campaign = await a_campaign(client, people=3, list_id=None, audience={"include_segments": [outer["id"]]})
    await approve(await make_client("acme"), campaign)
    before = await standing(client, campaign)
    assert before["approvals"][0]["valid"]
    rules = {"rules": {"field": "stage", "is": "equals", "value": "b"}}
    await done(await client.patch(f"/v1/segments/{inner['id']}", json=rules), 200)
    after = await standing(client, campaign)
    assert (after["hash"] != before["hash"], after["approvals"][0]["void_because"]) == (True, "edited")


async def test_approval_is_of_what_was_looked_at(client: Client, make_client: MakeClient) -> None:
    """An edit between look and approval is refused with the new hash; a withdrawn approval is void."""
    campaign = await a_campaign(client, people=3)
    await settings(client, approval_above=0)
    colleague = await make_client("acme")
    path = f"/v1/campaigns/{campaign['id']}"
    seen = {"hash": (await standing(colleague, campaign))["hash"]}
    await done(await client.patch(path, json={"from_name": "other"}), 200)
    body = problem(await colleague.post(f"{path}/approve", json=seen), 409, "content-changed")
    assert body["hash"] == (await standing(client, campaign))["hash"] != seen["hash"]
    problem(await colleague.delete(f"{path}/approve"), 404, "not-found")
    await approve(colleague, campaign)
    withdrawn = await done(await colleague.delete(f"{path}/approve"), 200)
    assert (withdrawn["missing"], withdrawn["approvals"][0]["void_because"]) == (1, "withdrawn")
    problem(await launch(client, campaign), 409, "approval-needed")
    assert (await approve(colleague, campaign))["missing"] == 0
    await done(await launch(client, campaign), 200)
    problem(await colleague.post(f"{path}/approve", json=seen), 409, "wrong-state")
    problem(await colleague.post(f"{path}/approve", json={"hash": "x"}), 422, "invalid-request")


async def test_who_changes_nothing_does_not_become_the_editor(client: Client, make_client: MakeClient) -> None:
    """Else the author's own approval would do as soon as anybody has saved the draft as it was."""
    campaign = await a_campaign(client, people=3)
    await settings(client, approval_above=0)
    await approve(client, campaign)
    colleague = await make_client("acme")
    await done(await colleague.patch(f"/v1/campaigns/{campaign['id']}", json={"name": campaign["name"]}), 200)
    problem(await launch(client, campaign), 409, "approval-needed")
    await done(await colleague.patch(f"/v1/campaigns/{campaign['id']}", json={"name": "new"}), 200)
    assert (await standing(client, campaign))["edited_by"]["key_id"] != (await _key_id(client, campaign))


async def _key_id(client: Client, campaign: dict[str, Any]) -> Any:
    """The key that created the campaign, by the audit log."""
    lines = await done(await client.get(f"/v1/audit?action=createCampaign&object_id={campaign['id']}"), 200)
    return lines["items"][0]["key_id"]


@pytest.mark.parametrize("approved", [True, False])
async def test_schedule_whose_audience_has_grown_is_held_unless_it_was_approved(
    client: Client, make_client: MakeClient, database: Database, *, approved: bool
) -> None:
    """The threshold holds for the audience of the moment at which it is launched."""
    campaign = await a_campaign(client, people=3)
    await settings(client, approval_above=3)
    if approved:
        await approve(await make_client("acme"), campaign)
    path = f"/v1/campaigns/{campaign['id']}"
    await done(await client.post(f"{path}/schedule", json=LATER), 200)
    problem(await client.patch(path, json={"name": "x"}), 409, "wrong-state")
    contact = await done(await client.post("/v1/contacts", json={"email": "new@x.example"}), 201)
    await done(
        await client.post(f"/v1/lists/{campaign['list_id']}/members", json={"contact_ids": [contact["id"]]}), 200
    )
    await database.pool.execute("UPDATE campaigns SET schedule_at = now()")
    assert await launch_scheduled(database.pool) == 1
    found = await done(await client.get(path), 200)
    if approved:
        assert (found["state"], found["audience"]) == ("sending", 4)
    else:
        assert (found["state"], found["state_reason"]) == ("failed", "approval_needed")
        assert await database.pool.fetchval("SELECT count(*) FROM messages") == 0
        assert (await done(await client.post(f"{path}/unschedule"), 200))["state"] == "draft"
    lines = await done(await client.get("/v1/audit?actor=scheduler"), 200)
    assert [line["action"] for line in lines["items"]] == ["launchScheduled" if approved else "holdSchedule"]


async def test_schedule_whose_approval_is_withdrawn_is_held(
    client: Client, make_client: MakeClient, database: Database
) -> None:
    """A scheduled campaign cannot be edited, but whoever approved it may think again until it goes out."""
    campaign = await a_campaign(client, people=3)
    await settings(client, approval_above=0)
    colleague = await make_client("acme")
    await approve(colleague, campaign)
    path = f"/v1/campaigns/{campaign['id']}"
    await done(await client.post(f"{path}/launch", json={**OVERRIDE, "undo_s": 60}), 200)
    await done(await colleague.delete(f"{path}/approve"), 200)
    await database.pool.execute("UPDATE campaigns SET schedule_at = now()")
    assert await launch_scheduled(database.pool) == 1
    found = await done(await client.get(path), 200)
    assert (found["state"], found["state_reason"]) == ("failed", "approval_needed")


async def test_two_keys_of_one_person_are_one_approver(
    client: Client, make_client: MakeClient, database: Database
) -> None:
    """Whoever edits with one key and approves with the other approves alone."""
    campaign = await a_campaign(client, people=3)
    await settings(client, approval_above=0)
    second = await make_client("acme")
    await database.pool.execute(
        "WITH person AS (INSERT INTO users (tenant_id, email, email_key, role) "
        "SELECT id, 'a@x.example', 'a@x.example', 'admin' FROM tenants WHERE slug = 'acme' RETURNING id) "
        "UPDATE api_keys SET user_id = (SELECT id FROM person)"
    )
    await done(await client.patch(f"/v1/campaigns/{campaign['id']}", json={"name": "edited"}), 200)
    assert (await approve(second, campaign))["missing"] == 1
    assert "somebody else" in problem(await launch(client, campaign), 409, "approval-needed")["detail"]
    program = await make_client("acme")
    assert (await approve(program, campaign))["missing"] == 0
    await done(await launch(client, campaign), 200)


async def test_approvals_are_the_own_tenants(client: Client, make_client: MakeClient, database: Database) -> None:
    """Another tenant's campaign is not there."""
    campaign = await a_campaign(client)
    stranger = await make_client("stranger")
    path = f"/v1/campaigns/{campaign['id']}"
    form = {"hash": (await standing(client, campaign))["hash"]}
    problem(await stranger.get(f"{path}/approvals"), 404, "not-found")
    problem(await stranger.post(f"{path}/approve", json=form), 404, "not-found")
    problem(await stranger.delete(f"{path}/approve"), 404, "not-found")
    assert await database.pool.fetchval("SELECT count(*) FROM approvals") == 0
