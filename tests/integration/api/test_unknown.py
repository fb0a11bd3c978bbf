"""Messages of which nobody knows what came of them, settled by a person over REST."""

import pytest
from structlog.testing import capture_logs

from hayabin.database import feeds, ledger, unknown
from hayabin.database.engine import Database
from hayabin.domain.message import MessageState
from services.api.routes import message_rows
from services.api.scheduler import reconciler
from tests.integration.api.attempts import attempt, launched, with_unknown
from tests.integration.api.conftest import MakeClient
from tests.integration.api.rest import OVERRIDE, Client, done, problem

FINAL = ("accepted", "failed", "suppressed", "cancelled", "expired", "unknown", "due")
ACCEPTED, RESEND = {"as": "accepted"}, {"as": "resend"}


async def assert_sums(client: Client, database: Database, campaign_id: int, **expected: int) -> None:
    """The report adds up, is what the ledger says, and is what the test expects."""
    stats = await done(await client.get(f"/v1/campaigns/{campaign_id}/stats"), 200)
    assert sum(stats[state] for state in FINAL) == stats["audience"]
    rows = await database.pool.fetch(
        "SELECT state, count(*) n FROM messages WHERE campaign_id = $1 GROUP BY 1", campaign_id
    )
    counted = {row["state"]: row["n"] for row in rows}
    counted["due"] = sum(counted.pop(state, 0) for state in ("due", "claimed", "deferred"))
    assert {name: n for name, n in counted.items() if n} == {name: stats[name] for name in FINAL if stats[name]}
    assert {name: stats[name] for name in expected} == expected


async def campaign_of(database: Database, campaign_id: int) -> tuple[str, bool]:
    """Its state, and whether it has a time of completion."""
    row = await database.pool.fetchrow("SELECT state, completed_at FROM campaigns WHERE id = $1", campaign_id)
    assert row is not None
    return row["state"], row["completed_at"] is not None


async def test_other_tenants_see_and_settle_nothing(
    client: Client, make_client: MakeClient, database: Database
) -> None:
    """Ids of another tenant are 404 everywhere, and nothing of them changes; a key without the scope is 403."""
    campaign_id, ids = await with_unknown(client, database)
    other = await make_client("other")
    assert (await done(await other.get("/v1/messages?state=unknown"), 200))["items"] == []
    problem(await other.get(f"/v1/messages?campaign_id={campaign_id}"), 404, "not-found")
    for body in (ACCEPTED, RESEND):
        problem(await other.post(f"/v1/messages/{ids[1]}/resolve", json=body), 404, "not-found")
        problem(await other.post(f"/v1/campaigns/{campaign_id}/resolve-unknown", json=body), 404, "not-found")
        problem(await client.post("/v1/messages/999999999/resolve", json=body), 404, "not-found")
        problem(await client.post("/v1/campaigns/999999999/resolve-unknown", json=body), 404, "not-found")
    reader = await make_client("acme", "campaigns:read", "campaigns:write")
    problem(await reader.post(f"/v1/messages/{ids[1]}/resolve", json=RESEND), 403, "missing-scope")
    problem(await reader.post(f"/v1/campaigns/{campaign_id}/resolve-unknown", json=RESEND), 403, "missing-scope")
    for body in ({"as": "lost"}, {"as": "due"}, {}, {"resolution": "resend"}):
        problem(await client.post(f"/v1/messages/{ids[1]}/resolve", json=body), 422, "invalid-request")
    assert await campaign_of(database, campaign_id) == ("completed", True)
    await assert_sums(client, database, campaign_id, unknown=2, accepted=1)


async def test_message_settled_as_accepted_counts_as_accepted(client: Client, database: Database) -> None:
    """State, reason and sums change, the campaign does not; what is settled cannot be settled again."""
    campaign_id, ids = await with_unknown(client, database)
    answer = await done(await client.post(f"/v1/messages/{ids[1]}/resolve", json=ACCEPTED), 200)
    assert (answer["state"], answer["reason"], answer["attempts"]) == ("accepted", "resolved_accepted", 1)
    assert answer["timeline"][0]["state"] == "unknown"
    for message_id in ids[:2]:
        for body in (ACCEPTED, RESEND):
            refused = problem(await client.post(f"/v1/messages/{message_id}/resolve", json=body), 409, "wrong-state")
            assert "The message is accepted" in refused["detail"]
    assert await campaign_of(database, campaign_id) == ("completed", True)
    await assert_sums(client, database, campaign_id, unknown=1, accepted=2)


async def test_claimed_message_is_not_settled_as_accepted(client: Client, database: Database) -> None:
    """An attempt that is under way has its outcome on the way."""
    campaign_id, ids = await launched(client, database)
    async with database.pool.acquire() as connection:
        await ledger.claim(connection, [(ids[0], 0)], "d1")
    problem(await client.post(f"/v1/messages/{ids[0]}/resolve", json=ACCEPTED), 409, "wrong-state")
    answer = await done(await client.post(f"/v1/campaigns/{campaign_id}/resolve-unknown", json=ACCEPTED), 200)
    assert answer == {"campaign_id": campaign_id, "resolved": 0, "remaining": 0, "next_cursor": None}
    await assert_sums(client, database, campaign_id, due=3)


async def test_resend_opens_a_completed_campaign_until_the_message_is_through(
    client: Client, database: Database
) -> None:
    """Due now, fed, let through the gate once at its attempt number; then the campaign completes by itself."""
    campaign_id, ids = await with_unknown(client, database)
    answer = await done(await client.post(f"/v1/messages/{ids[1]}/resolve", json=RESEND), 200)
    assert (answer["state"], answer["attempts"]) == ("due", 1)
    assert answer["waiting"]["reason"] == answer["reason"] == "resolved_resend"
    assert await campaign_of(database, campaign_id) == ("sending", False)
    await assert_sums(client, database, campaign_id, unknown=1, due=1, accepted=1)
    problem(await client.post(f"/v1/campaigns/{campaign_id}/launch", json=OVERRIDE), 409, "wrong-state")
    assert await reconciler.complete_campaigns(database.pool) == 0
    async with database.pool.acquire() as connection, connection.transaction():
        assert await feeds.feed_retries(connection, "bulk", 10) == 1
        assert await ledger.claim(connection, [(ids[1], 0)], "d1") == {}  # what the belt had of before
    await attempt(database, [ids[1]], MessageState.ACCEPTED, begun=1)
    assert await reconciler.complete_campaigns(database.pool) == 1
    assert await campaign_of(database, campaign_id) == ("completed", True)
    await assert_sums(client, database, campaign_id, unknown=1, due=0, accepted=2)


async def test_completed_campaign_cannot_be_launched_or_resumed(client: Client, database: Database) -> None:
    """It may be sending again, but its audience enters the ledger once."""
    campaign_id, _ = await with_unknown(client, database)
    for move in ("launch", "resume"):
        problem(await client.post(f"/v1/campaigns/{campaign_id}/{move}", json=OVERRIDE), 409, "wrong-state")
    assert await campaign_of(database, campaign_id) == ("completed", True)
    await assert_sums(client, database, campaign_id, unknown=2, accepted=1)


async def test_resend_waits_in_a_paused_campaign_and_is_refused_in_a_cancelled_one(
    client: Client, database: Database
) -> None:
    """Paused: due, and the gate is shut. Cancelled: only ``accepted`` is possible, and the answer says so."""
    campaign_id, ids = await launched(client, database)
    await attempt(database, ids[1:], MessageState.UNKNOWN)
    await done(await client.post(f"/v1/campaigns/{campaign_id}/pause"), 200)
    answer = await done(await client.post(f"/v1/messages/{ids[1]}/resolve", json=RESEND), 200)
    assert answer["waiting"] == {"reason": "campaign_paused", "until": None}
    assert await campaign_of(database, campaign_id) == ("paused", False)
    async with database.pool.acquire() as connection:
        assert await ledger.claim(connection, [(ids[1], 1)], "d1") == {}
    await done(await client.post(f"/v1/campaigns/{campaign_id}/cancel"), 200)
    for path in (f"/v1/messages/{ids[2]}/resolve", f"/v1/campaigns/{campaign_id}/resolve-unknown"):
        refused = problem(await client.post(path, json=RESEND), 409, "wrong-state")
        assert refused["detail"].startswith("The campaign is cancelled")
        assert "only be resolved as accepted" in refused["detail"]
    await reconciler.cancel_rows(database.pool)
    await assert_sums(client, database, campaign_id, unknown=1, cancelled=2)
    await done(await client.post(f"/v1/messages/{ids[2]}/resolve", json=ACCEPTED), 200)
    await assert_sums(client, database, campaign_id, accepted=1, cancelled=2)


async def test_resend_needs_a_pool_that_sends(client: Client, database: Database) -> None:
    """A completed campaign whose pool was removed would be sending for ever: it is refused, accepted is not."""
    campaign_id, ids = await with_unknown(client, database)
    await database.pool.execute("UPDATE ip_pools SET state = 'removed'")
    problem(await client.post(f"/v1/messages/{ids[1]}/resolve", json=RESEND), 409, "pool-removed")
    problem(await client.post(f"/v1/campaigns/{campaign_id}/resolve-unknown", json=RESEND), 409, "pool-removed")
    await done(await client.post(f"/v1/campaigns/{campaign_id}/resolve-unknown", json=ACCEPTED), 200)
    assert await campaign_of(database, campaign_id) == ("completed", True)
    await assert_sums(client, database, campaign_id, accepted=3)


async def test_resent_message_meets_suppressions_and_the_deadline_at_the_gate(
    client: Client, database: Database
) -> None:
    """Who was suppressed meanwhile gets no second mail, and after ``send_by`` nobody does."""
    campaign_id, ids = await with_unknown(client, database, 4)
    await done(await client.post("/v1/suppressions", json={"emails": ["u1@x.example"]}), 201)
    await done(await client.post(f"/v1/campaigns/{campaign_id}/resolve-unknown", json=RESEND), 200)
    async with database.pool.acquire() as connection:
        assert list(await ledger.claim(connection, [(i, 1) for i in ids[1:3]], "d1")) == [ids[2]]
        await connection.execute("UPDATE campaigns SET send_by = now()")
        assert await ledger.claim(connection, [(ids[3], 1)], "d1") == {}
    await assert_sums(client, database, campaign_id, accepted=1, suppressed=1, expired=1, due=1)


async def test_resolution_has_one_effect_for_one_idempotency_key(client: Client, database: Database) -> None:
    """The replay has the first answer, also when the message is unknown anew."""
    campaign_id, ids = await with_unknown(client, database)
    path, headers = f"/v1/messages/{ids[1]}/resolve", {"Idempotency-Key": "once"}
    first = await client.post(path, json=RESEND, headers=headers)
    await attempt(database, [ids[1]], MessageState.UNKNOWN, begun=1)
    again = await client.post(path, json=RESEND, headers=headers)
    assert (await done(again, 200)) == (await done(first, 200))
    assert again.headers["Idempotency-Replayed"] == "true"
    await assert_sums(client, database, campaign_id, unknown=2, due=0)
    many, headers = f"/v1/campaigns/{campaign_id}/resolve-unknown", {"Idempotency-Key": "many"}
    for _ in range(2):
        answer = await done(await client.post(many, json=RESEND, headers=headers), 200)
        assert (answer["resolved"], answer["remaining"]) == (2, 0)
    await assert_sums(client, database, campaign_id, unknown=0, due=2)


@pytest.mark.parametrize("body", [ACCEPTED, RESEND], ids=["accepted", "resend"])
async def test_many_are_settled_request_by_request_each_once(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch, body: dict[str, str]
) -> None:
    """A request does so many, and says how many remain and where to go on; what is unknown anew is not sent a third time."""
    monkeypatch.setattr(unknown, "PAGE_ROWS", 3)
    monkeypatch.setattr(message_rows, "RESOLVED_MAX", 8)
    campaign_id, ids = await with_unknown(client, database, 21)
    path, cursor, steps = f"/v1/campaigns/{campaign_id}/resolve-unknown", "", []
    while True:
        answer = await done(await client.post(f"{path}{cursor}", json=body), 200)
        steps.append((answer["resolved"], answer["remaining"]))
        await assert_sums(client, database, campaign_id, unknown=answer["remaining"])
        if answer["next_cursor"] is None:
            break
        cursor = f"?cursor={answer['next_cursor']}"
        if body == RESEND and len(steps) == 1:
            await attempt(database, [ids[1]], MessageState.UNKNOWN, begun=1)
    if body == ACCEPTED:
        assert steps == [(8, 12), (8, 4), (4, 0)]
        assert await campaign_of(database, campaign_id) == ("completed", True)
    else:
        assert steps == [(8, 12), (8, 5), (4, 1)]
        assert await campaign_of(database, campaign_id) == ("sending", False)
        await assert_sums(client, database, campaign_id, unknown=1, due=19, accepted=1)
    problem(await client.post(f"{path}?cursor=nonsense", json=body), 422, "invalid-cursor")


async def test_settled_messages_are_noted_with_the_key_and_without_addresses(
    client: Client, database: Database
) -> None:
    """Who asks later finds the key, the decision and the ids."""
    campaign_id, ids = await with_unknown(client, database)
    with capture_logs() as lines:
        await done(await client.post(f"/v1/campaigns/{campaign_id}/resolve-unknown", json=RESEND), 200)
    (line,) = [line for line in lines if line["event"] == "unknown_resolved"]
    key = await database.pool.fetchrow("SELECT id, tenant_id FROM api_keys")
    assert key is not None
    assert line == {
        "event": "unknown_resolved", "log_level": "warning", "tenant_id": key["tenant_id"], "key_id": key["id"],
        "campaign_id": campaign_id, "resolution": "resend", "rows": 2, "first_id": ids[1], "last_id": ids[2],
    }  # fmt: skip
