"""What a launch has to pass besides approvals: the expected size, the undo window, the legal checks."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hayabin.database.engine import Database
from services.api.access import Scope
from services.api.quotas import QUOTA_LOCK
from services.api.scheduler.schedules import launch_scheduled
from tests.integration.api.conftest import MakeClient
from tests.integration.api.rest import OVERRIDE, Client, a_campaign, done, problem
from tests.integration.api.test_approvals import LATER, a_smaller, approve, settings
from tests.support.waiting import eventually

_WAITING_SQL = """
SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database
WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted"""


async def _send(client: Client, campaign: dict[str, Any], what: str = "launch", **form: Any) -> Any:
    return await client.post(
        f"/v1/campaigns/{campaign['id']}/{what}", json={**OVERRIDE, **form.pop("form", {}), **form}
    )


async def test_unexpected_audience_is_refused_with_both_numbers(client: Client, database: Database) -> None:
    """Within the percent of the setting or of the form it passes; beyond, nothing is done."""
    campaign = await a_campaign(client, people=10)
    for expected, within in ((12, None), (8, None), (11, 9), (0, None)):
        form = {"expected_count": expected, "expected_within_percent": within}
        body = problem(await _send(client, campaign, form=form), 409, "unexpected-audience")
        assert (body["audience"], body["expected_count"]) == (10, expected)
    later = {"schedule_at": LATER["schedule_at"], "expected_count": 20}
    problem(await _send(client, campaign, "schedule", **later), 409, "unexpected-audience")
    problem(await _send(client, campaign, expected_count=10, expected_within_percent=101), 422, "invalid-request")
    await settings(client, expected_count_percent=0)
    problem(await _send(client, campaign, expected_count=11), 409, "unexpected-audience")
    assert (await done(await client.get(f"/v1/campaigns/{campaign['id']}"), 200))["state"] == "draft"
    assert await database.pool.fetchval("SELECT count(*) FROM messages") == 0
    form = {"expected_count": 11, "expected_within_percent": 10}
    assert (await done(await _send(client, campaign, form=form), 200))["audience"] == 10


async def test_audience_is_not_counted_where_nothing_depends_on_it(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A launch by the default settings costs no count, so it is as quick for a million as for three."""

    async def counted(*_: object) -> None:
        raise AssertionError("counted")

    monkeypatch.setattr("services.api.launch_checks.size_in_request", counted)
    campaign = await a_campaign(client)
    answer = await done(await _send(client, campaign, undo_s=None), 200)
    assert (answer["state"], answer["undo_until"]) == ("sending", None)


async def test_undo_window_sends_nothing_before_its_end_and_is_taken_back(client: Client, database: Database) -> None:
    """While it lasts nobody is in the ledger, whatever the scheduler does; afterwards the scheduler launches it."""
    campaign = await a_campaign(client)
    path = f"/v1/campaigns/{campaign['id']}"
    await settings(client, undo_s=60)
    waiting = await done(await _send(client, campaign), 200)
    assert (waiting["state"], waiting["schedule_at"]) == ("scheduled", waiting["undo_until"])
    left_s = await database.pool.fetchval(
        "SELECT EXTRACT(EPOCH FROM schedule_at - now())::float8 FROM campaigns WHERE id = $1", campaign["id"]
    )
    assert 50 < left_s <= 60
    assert await launch_scheduled(database.pool) == 0
    assert await database.pool.fetchval("SELECT count(*) FROM messages") == 0
    assert await database.pool.fetchval("SELECT count(*) FROM outbox") == 0
    assert (await done(await client.post(f"{path}/unschedule"), 200))["state"] == "draft"
    await done(await _send(client, campaign), 200)
    await database.pool.execute("UPDATE campaigns SET schedule_at = now()")
    assert await launch_scheduled(database.pool) == 1
    assert (await done(await client.get(path), 200))["state"] == "sending"
    assert await database.pool.fetchval("SELECT count(*) FROM messages") == 3
    problem(await client.post(f"{path}/unschedule"), 409, "wrong-state")


async def test_undo_window_is_at_least_the_tenants(client: Client) -> None:
    """A launch may wait longer, not shorter; nor is a schedule a way around it. A launch of what waits waits anew."""
    campaign = await a_campaign(client)
    await settings(client, undo_s=60)
    body = problem(await _send(client, campaign, undo_s=59), 422, "invalid-request")
    assert body["errors"][0]["pointer"] == "#/undo_s"
    soon = datetime.now(UTC) + timedelta(seconds=20)
    body = problem(await _send(client, campaign, "schedule", schedule_at=soon.isoformat()), 422, "invalid-request")
    assert body["errors"][0]["pointer"] == "#/schedule_at"
    first = await done(await _send(client, campaign, undo_s=3600), 200)
    second = await done(await _send(client, campaign, undo_s=60), 200)
    assert (second["state"], second["undo_until"] < first["undo_until"]) == ("scheduled", True)
    short = await a_smaller(client, campaign, 1, send_by=soon.isoformat())
    problem(await _send(client, short), 422, "invalid-request")


async def test_replay_of_a_launch_with_undo_window_is_the_same_answer(client: Client, database: Database) -> None:
    """One schedule, however often it is asked for at once."""
    campaign = await a_campaign(client)
    path = f"/v1/campaigns/{campaign['id']}/launch"

    async def launch() -> Any:
        return await client.post(path, json={**OVERRIDE, "undo_s": 60}, headers={"Idempotency-Key": "u"})

    first = await done(await launch(), 200)
    answers = await asyncio.gather(*(launch() for _ in range(5)))
    assert all(answer.json() == first for answer in answers if answer.status_code == 200)
    assert await database.pool.fetchval("SELECT count(*) FROM audit_pending WHERE action = 'launchCampaign'") == 1


@pytest.mark.parametrize("scheduled", [False, True])
async def test_edit_between_check_and_launch_waits(
    client: Client, make_client: MakeClient, database: Database, *, scheduled: bool
) -> None:
    """What is launched is what was approved: an edit that comes after the look at it is too late, also of a segment."""
    rules = {"field": "domain", "is": "equals", "value": "x.example"}
    segment = await done(await client.post("/v1/segments", json={"name": "s", "rules": rules}), 201)
    campaign = await a_campaign(client, list_id=None, audience={"include_segments": [segment["id"]]})
    await settings(client, approval_above=0, quota_per_day=1000)
    await approve(await make_client("acme"), campaign)
    if scheduled:
        await done(await _send(client, campaign, "schedule", form=LATER), 200)
        await database.pool.execute("UPDATE campaigns SET schedule_at = now()")
    async with database.pool.acquire() as connection, connection.transaction():
        tenant_id = await connection.fetchval("SELECT id FROM tenants WHERE slug = 'acme'")
        await connection.execute("SELECT pg_advisory_xact_lock($1, hashint8($2))", QUOTA_LOCK, tenant_id)
        sending: Any = launch_scheduled(database.pool) if scheduled else _send(client, campaign)
        launch = asyncio.create_task(sending)  # passes the approvals, waits for its quota
        await eventually(lambda: database.pool.fetchval(_WAITING_SQL), lambda waiting: waiting > 0)
        edit = asyncio.create_task(client.patch(f"/v1/campaigns/{campaign['id']}", json={"from_name": "other"}))
        more = {"rules": {**rules, "is": "not_equals"}}
        edit_segment = asyncio.create_task(client.patch(f"/v1/segments/{segment['id']}", json=more))
        waiting = [edit_segment] if scheduled else [edit, edit_segment]  # a schedule cannot be edited
        assert (await asyncio.wait(waiting, timeout=0.2))[0] == set()
    await launch
    assert (await done(await client.get(f"/v1/campaigns/{campaign['id']}"), 200))["state"] == "sending"
    assert await database.pool.fetchval("SELECT count(*) FROM messages") == 3
    problem(await edit, 409, "wrong-state")
    await done(await edit_segment, 200)


async def test_legal_checks_warn_or_block_by_the_setting(
    client: Client, make_client: MakeClient, database: Database
) -> None:
    """Warnings come with the answer; a block names what is missing and is lifted by right alone, which is written."""
    campaign = await a_campaign(client)
    later = {"schedule_at": LATER["schedule_at"]}
    await settings(client, legal_checks="block")
    for what, form in (("launch", {}), ("schedule", later)):
        body = problem(await _send(client, campaign, what, **form), 409, "legal-checks")
        assert {"pointer", "message", "message_ja"} <= body["errors"][0].keys()
    sender = await make_client("acme", *(scope for scope in Scope if scope is not Scope.CAMPAIGNS_OVERRIDE))
    problem(await _send(sender, campaign, override_legal_checks=True), 403, "missing-scope")
    answer = await done(await _send(client, campaign, override_legal_checks=True), 200)
    codes = sorted({finding["code"] for finding in answer["legal_findings"]})
    assert answer["state"] == "sending"
    assert codes
    lines = await done(await client.get("/v1/audit?action=launchCampaign"), 200)
    assert lines["items"][0]["detail"]["overridden"] == codes
    await settings(client, legal_checks="warn")
    second = await a_smaller(client, campaign, 1)
    assert (await done(await _send(client, second, "schedule", **later), 200))["legal_findings"]
    await settings(client, legal_checks="off")
    third = await a_smaller(client, campaign, 2)
    assert (await done(await _send(client, third), 200))["legal_findings"] == []
