"""Campaigns over REST: drafts, launch, moves, tests, what became of them."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from hayabin.database import ledger
from hayabin.database.engine import Database
from hayabin.domain.message import MessageState
from tests.integration.api.rest import MJML, OVERRIDE, Client, a_campaign, done, problem
from tests.support.waiting import eventually

STATES = ("accepted", "failed", "suppressed", "cancelled", "expired", "unknown", "due")


async def test_launch_puts_the_audience_into_the_ledger(client: Client, database: Database) -> None:
    """Create, launch with the override, and see everybody due or suppressed; stats hold the equation."""
    campaign = await a_campaign(client)
    path = f"/v1/campaigns/{campaign['id']}"
    await done(await client.post("/v1/suppressions", json={"emails": ["U1@x.example"]}), 201)
    counted = await done(await client.get(f"{path}/audience"), 200)
    assert counted == {**counted, "audience": 3, "suppressed": 1, "will_get": 2}
    launched = await done(await client.post(f"{path}/launch", json=OVERRIDE), 200)
    assert (launched["state"], launched["audience"]) == ("sending", 3)
    assert await database.pool.fetchval("SELECT count(*) FROM messages") == 3
    stats = await done(await client.get(f"{path}/stats"), 200)
    assert (stats["due"], stats["suppressed"], stats["audience"]) == (2, 1, 3)
    assert sum(stats[state] for state in STATES) == 3
    messages = await done(await client.get(f"{path}/messages?limit=2"), 200)
    rest = await done(await client.get(f"{path}/messages?limit=2&cursor={messages['next_cursor']}"), 200)
    assert len({item["id"] for item in messages["items"] + rest["items"]}) == 3
    assert rest["next_cursor"] is None
    suppressed = await done(await client.get(f"{path}/messages?state=suppressed"), 200)
    assert [item["recipient"] for item in suppressed["items"]] == ["u1@x.example"]
    problem(await client.get(f"{path}/messages?state=sent"), 422, "invalid-request")
    one = await done(await client.get(f"/v1/messages/{messages['items'][0]['id']}"), 200)
    assert one["timeline"] == []


async def test_launch_carries_the_trace_of_its_request(client: Client, database: Database) -> None:
    """The caller's trace goes into the campaign and onto the outbox, so that one trace reaches the SMTP reply."""
    campaign = await a_campaign(client)
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
    await done(await client.post(f"/v1/campaigns/{campaign['id']}/launch", json=OVERRIDE, headers=headers), 200)
    assert trace_id in await database.pool.fetchval("SELECT traceparent FROM campaigns")
    assert trace_id in str(await database.pool.fetchval("SELECT headers FROM outbox"))


async def test_launch_refusals_each_say_why(client: Client, database: Database) -> None:
    """Unverified domain, empty audience, past deadline, twice: each its own problem, and nothing is launched by it."""
    campaign = await a_campaign(client)
    problem(await client.post(f"/v1/campaigns/{campaign['id']}/launch"), 409, "unverified-domain")
    empty = await a_campaign(client, 0)
    problem(await client.post(f"/v1/campaigns/{empty['id']}/launch", json=OVERRIDE), 422, "empty-audience")
    await database.pool.execute("UPDATE campaigns SET send_by = now() WHERE id = $1", empty["id"])
    problem(await client.post(f"/v1/campaigns/{empty['id']}/launch", json=OVERRIDE), 422, "deadline-passed")
    assert await database.pool.fetchval("SELECT count(*) FROM messages") == 0
    await done(await client.post(f"/v1/campaigns/{campaign['id']}/launch", json=OVERRIDE), 200)
    problem(await client.post(f"/v1/campaigns/{campaign['id']}/launch", json=OVERRIDE), 409, "wrong-state")


async def test_moves_follow_the_table_of_states(client: Client) -> None:
    """Pause, resume and cancel where the table has them, 409 where it has not."""
    campaign = await a_campaign(client)
    path = f"/v1/campaigns/{campaign['id']}"
    problem(await client.post(f"{path}/resume"), 409, "wrong-state")
    problem(await client.post(f"{path}/pause"), 409, "wrong-state")
    await done(await client.post(f"{path}/launch", json=OVERRIDE), 200)
    assert (await done(await client.post(f"{path}/pause"), 200))["state"] == "paused"
    problem(await client.post(f"{path}/pause"), 409, "wrong-state")
    problem(await client.post(f"{path}/launch", json=OVERRIDE), 409, "wrong-state")
    assert (await done(await client.post(f"{path}/resume"), 200))["state"] == "sending"
    problem(await client.patch(path, json={"name": "late"}), 409, "wrong-state")
    assert (await done(await client.post(f"{path}/cancel"), 200))["state"] == "cancelled"
    problem(await client.post(f"{path}/resume"), 409, "wrong-state")


async def test_schedule_is_in_the_future_and_before_its_deadline(client: Client) -> None:
    """A schedule names a moment to come; its campaign can be made a draft again."""
    campaign = await a_campaign(client)
    path = f"/v1/campaigns/{campaign['id']}"
    now = datetime.now(UTC)
    times = [(now + timedelta(hours=hours)).isoformat() for hours in (-1, 1, 2)]
    problem(await client.post(f"{path}/schedule", json={"schedule_at": times[0], **OVERRIDE}), 422, "deadline-passed")
    backwards = {"schedule_at": times[2], "send_by": times[1], **OVERRIDE}
    problem(await client.post(f"{path}/schedule", json=backwards), 422, "invalid-request")
    problem(await client.post(f"{path}/schedule", json={"schedule_at": times[1]}), 409, "unverified-domain")
    naive = {"schedule_at": "2099-01-01T00:00:00", **OVERRIDE}
    problem(await client.post(f"{path}/schedule", json=naive), 422, "invalid-request")
    right = {"schedule_at": times[1], "send_by": times[2], **OVERRIDE}
    scheduled = await done(await client.post(f"{path}/schedule", json=right), 200)
    assert scheduled["state"] == "scheduled"
    assert datetime.fromisoformat(scheduled["schedule_at"]) == datetime.fromisoformat(times[1])
    draft = await done(await client.post(f"{path}/unschedule"), 200)
    assert (draft["state"], draft["schedule_at"]) == ("draft", None)


async def test_draft_needs_what_it_names(client: Client) -> None:
    """A campaign needs a published version, a list and a pool that exist, and a sender of one's own domain."""
    await client.post("/v1/domains", json={"name": "mail.example.jp"})
    template = {"name": "t", "kind": "mjml", "subject": "x", "source": MJML}
    version = (await done(await client.post("/v1/templates", json=template), 201))["version"]
    form = {"name": "c", "template_version_id": version["id"], "list_id": 999, "from_name": "x", "pool": "none",
            "from_address": "news@mail.example.jp"}  # fmt: skip
    found = problem(await client.post("/v1/campaigns", json=form), 422, "invalid-request")
    assert {error["pointer"] for error in found["errors"]} == {"#/template_version_id", "#/list_id", "#/pool"}
    problem(await client.post("/v1/campaigns", json={**form, "from_address": "x@else.example"}), 422, "foreign-domain")
    for sender in ("ニュース@mail.example.jp", "a@b@mail.example.jp", "Taro <news@mail.example.jp>"):
        found = problem(
            await client.post("/v1/campaigns", json={**form, "from_address": sender}), 422, "invalid-address"
        )
        assert found["errors"][0]["pointer"] == "#/from_address"


async def test_draft_changes_keep_what_is_left_out(client: Client) -> None:
    """PATCH changes what it names; null clears the deadline alone; another tenant's list stays out of reach."""
    campaign = await a_campaign(client)
    path = f"/v1/campaigns/{campaign['id']}"
    changes = {"name": "second", "send_by": "2099-01-01T00:00:00+09:00", "class": "transactional"}
    changed = await done(await client.patch(path, json=changes), 200)
    assert {**campaign, **changes, "send_by": "2098-12-31T15:00:00+00:00", "updated_at": changed["updated_at"]} == {
        **changed, "send_by": changed["send_by"].replace("Z", "+00:00")}  # fmt: skip
    assert (await done(await client.patch(path, json={"send_by": None}), 200))["send_by"] is None
    found = problem(await client.patch(path, json={"name": None}), 422, "invalid-request")
    assert found["errors"][0]["pointer"] == "#/name"
    problem(await client.patch(path, json={"list_id": 4711}), 422, "invalid-request")
    problem(await client.patch(path, json={"state": "sending"}), 422, "invalid-request")


async def test_two_edits_at_once_do_not_undo_each_other(client: Client, database: Database) -> None:
    """Both looked at the same draft: the second is told, instead of writing what it saw over the first."""
    campaign = await a_campaign(client)
    path = f"/v1/campaigns/{campaign['id']}"
    async with database.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT 1 FROM campaigns WHERE id = $1 FOR UPDATE", campaign["id"])
        edits = [
            asyncio.create_task(client.patch(path, json=json)) for json in ({"name": "second"}, {"from_name": "other"})
        ]
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        await eventually(lambda: database.pool.fetchval(waiting), lambda n: n == 2, every_s=0.02)
    answers = sorted(await asyncio.gather(*edits), key=lambda answer: answer.status_code)
    changed = await done(answers[0], 200)
    problem(answers[1], 409, "conflict")
    assert await done(await client.get(path), 200) == changed


async def test_test_send_is_a_campaign_of_its_own(client: Client, database: Database) -> None:
    """At most ten addresses, each once, on the transactional belt, while the draft stays a draft."""
    campaign = await a_campaign(client)
    path = f"/v1/campaigns/{campaign['id']}/test"
    form = {"to": ["me@example.jp", "ME@example.jp", "a..b@docomo.ne.jp"], "variables": {"name": "私", "n": 3}}
    sent = await done(await client.post(path, json=form), 202)
    assert (sent["kind"], sent["class"], sent["state"], sent["audience"]) == ("test", "transactional", "sending", 2)
    rows = await database.pool.fetch("SELECT wire, name, variables FROM recipients ORDER BY wire")
    assert [(row["wire"], row["name"]) for row in rows] == [('"a..b"@docomo.ne.jp', "私"), ("ME@example.jp", "私")]
    assert '"n":3' in rows[0]["variables"]
    assert (await done(await client.get(f"/v1/campaigns/{campaign['id']}"), 200))["state"] == "draft"
    many = {"to": [f"u{number}@example.jp" for number in range(11)]}
    problem(await client.post(path, json=many), 422, "invalid-request")
    wrong = problem(await client.post(path, json={"to": ["a@b.example", "no"]}), 422, "invalid-address")
    assert wrong["errors"][0]["pointer"] == "#/to/1"


async def test_message_timeline_has_attempts_and_events_in_order(client: Client, database: Database) -> None:
    """What a person asks first: every attempt with the server's reply, then what came back."""
    campaign = await a_campaign(client, 1)
    await client.post(f"/v1/campaigns/{campaign['id']}/launch", json=OVERRIDE)
    ((message_id, tenant_id),) = await database.pool.fetch("SELECT id, tenant_id FROM messages")
    for attempt, state, reply in ((1, "deferred", "451 4.7.1 later"), (2, "accepted", "250 ok")):
        await database.pool.execute(
            "INSERT INTO attempts (message_id, attempt, tenant_id, finished_at, state, code, reply) "
            "VALUES ($1, $2, $3, now() + make_interval(secs => $4), $5, $6, $7)",
            message_id, attempt, tenant_id, float(attempt), state, int(reply[:3]), reply,
        )  # fmt: skip
    await database.pool.execute(
        "INSERT INTO events (event_id, tenant_id, campaign_id, message_id, kind, link, occurred_at) "
        "VALUES ('x', $1, $2, $3, 'click', 4, now() + interval '3 s')",
        tenant_id, campaign["id"], message_id,
    )  # fmt: skip
    timeline = (await done(await client.get(f"/v1/messages/{message_id}"), 200))["timeline"]
    assert [(item["what"], item.get("reply"), item.get("link")) for item in timeline] == [
        ("attempt", "451 4.7.1 later", None), ("attempt", "250 ok", None), ("click", None, 4)]  # fmt: skip


async def test_message_attempts_have_their_transcript_while_it_is_kept(client: Client, database: Database) -> None:
    """What was said line by line, with the TLS and the address; null where nothing was kept."""
    campaign = await a_campaign(client, 1)
    await client.post(f"/v1/campaigns/{campaign['id']}/launch", json=OVERRIDE)
    ((message_id, tenant_id),) = await database.pool.fetch("SELECT id, tenant_id FROM messages")
    for attempt in (1, 2):
        await database.pool.execute(
            "INSERT INTO attempts (message_id, attempt, tenant_id, state, address, tls_version, tls_policy, tls_result) "
            "VALUES ($1, $2, $3, 'deferred', '192.0.2.9', 'TLSv1.3', 'dane', 'verified-dane')",
            message_id, attempt, tenant_id,
        )  # fmt: skip
    await database.pool.execute(
        "INSERT INTO transcripts (message_id, attempt, tenant_id, lines) VALUES ($1, 2, $2, $3)",
        message_id, tenant_id, "C: EHLO a\nS: 250 \\n ok",
    )  # fmt: skip
    first, second = (await done(await client.get(f"/v1/messages/{message_id}"), 200))["timeline"]
    assert first["transcript"] is None
    assert second["transcript"] == ["C: EHLO a", "S: 250 \\n ok"]
    assert [second[name] for name in ("address", "tls_version", "tls_policy", "tls_result")] == [
        "192.0.2.9", "TLSv1.3", "dane", "verified-dane"]  # fmt: skip


async def test_message_that_waits_says_why_and_until_when(client: Client, database: Database) -> None:
    """In line at first; then the last reason with its time; the pause of its campaign before that; at the end nothing."""
    campaign = await a_campaign(client, 1)
    path = f"/v1/campaigns/{campaign['id']}"
    await client.post(f"{path}/launch", json=OVERRIDE)
    message_id = await database.pool.fetchval("SELECT id FROM messages")

    async def waiting() -> dict[str, str | None] | None:
        answer: dict[str, Any] = await done(await client.get(f"/v1/messages/{message_id}"), 200)
        return answer["waiting"] and dict(answer["waiting"])

    assert await waiting() == {"reason": "in_line", "until": None}
    await database.pool.execute("UPDATE messages SET reason = 'capped:gmail', next_attempt_at = '2099-01-01T00:00:00Z'")
    assert await waiting() == {"reason": "capped:gmail", "until": "2099-01-01T00:00:00Z"}
    await done(await client.post(f"{path}/pause"), 200)
    assert await waiting() == {"reason": "campaign_paused", "until": None}
    async with database.pool.acquire() as connection:
        await ledger.move(connection, [message_id], MessageState.CANCELLED, "test")
    assert await waiting() is None
