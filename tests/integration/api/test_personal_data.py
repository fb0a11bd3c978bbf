"""A key without ``contacts:read_personal`` sees no address, no name and no personal attribute: in no answer, in no log."""

from typing import Any

import httpx
from structlog.testing import capture_logs

from hayabin.database.engine import Database
from services.api.access import Scope
from tests.integration.api.conftest import MakeClient
from tests.integration.api.rest import OVERRIDE, Client, a_campaign, a_template, done, problem
from tests.integration.api.test_reference import walk_all

NEARLY_ALL = [scope.value for scope in Scope if scope is not Scope.CONTACTS_READ_PERSONAL]
EMAIL, NAME, PHONE = "hanako.suzuki@personal.example", "鈴木 花子", "03-9876-5432"

_PERSONAL_SQL = """
SELECT DISTINCT word FROM (
    SELECT unnest(ARRAY[address, wire, address_key, name]) AS word FROM contacts
    UNION ALL SELECT unnest(ARRAY[wire, name]) FROM recipients
    UNION ALL SELECT address_key FROM suppressions
    UNION ALL SELECT attributes ->> d.name FROM contacts c JOIN attribute_definitions d
              ON d.tenant_id = c.tenant_id AND d.personal) words
WHERE length(word) > 1 AND word NOT LIKE '@%' AND word NOT LIKE 'erased:%'"""


async def personal_words(database: Database) -> list[str]:
    """All that the database knows of people at this moment."""
    return [row["word"] for row in await database.pool.fetch(_PERSONAL_SQL)]


def assert_without(text: str, words: list[str], where: str) -> None:
    """None of the words is in the text, as it is or percent-encoded."""
    for word in words:
        for form in (word, word.replace('"', '\\"'), word.replace("@", "%40"), str(httpx.QueryParams({"x": word}))[2:]):
            assert form.lower() not in text.lower(), f"{where} shows {word}"


async def test_no_get_of_the_whole_api_shows_personal_data_without_the_right(
    client: Client, make_client: MakeClient, database: Database
) -> None:
    """Every GET of the walk over all operations, asked again with a key that has every right but this one."""
    limited = await make_client("acme", *NEARLY_ALL)
    asked: list[str] = []

    async def ask_again(method: str, where: str, _answer: Any) -> None:
        if method != "get":
            return
        answer = await limited.get(where)
        assert answer.status_code < 500, answer.text
        asked.append(f"{answer.status_code} {where}")
        if where.startswith("/v1/users"):  # the tenant's own staff
            return
        assert_without(answer.text, await personal_words(database), where)

    with capture_logs() as logs:
        await walk_all(client, database, ask_again)
    assert len(asked) > 35
    refused = [line for line in asked if not line.startswith("2")]
    assert all(line.startswith("403") for line in refused), refused
    assert_without(str(logs), await personal_words(database), "the log")


async def a_world(client: Client, database: Database) -> dict[str, Any]:
    """One person, known everywhere: a contact with history, a message with attempts, transcripts and events."""
    await done(await client.post("/v1/attributes", json={"name": "phone", "type": "string", "personal": True}), 201)
    campaign = await a_campaign(client, 0)
    contact = await done(
        await client.post(
            "/v1/contacts", json={"email": EMAIL, "name": NAME, "attributes": {"phone": "x", "plan": "A"}}
        ),
        201,
    )
    path = f"/v1/contacts/{contact['id']}"
    await done(await client.patch(path, json={"attributes": {"phone": PHONE}}), 200)
    members = {"contact_ids": [contact["id"]]}
    await done(await client.post(f"/v1/lists/{campaign['list_id']}/members", json=members), 200)
    await done(await client.post(f"/v1/campaigns/{campaign['id']}/launch", json=OVERRIDE), 200)
    messages = await done(await client.get(f"/v1/campaigns/{campaign['id']}/messages"), 200)
    message_id = messages["items"][0]["id"]
    tenant_id = await database.pool.fetchval("SELECT tenant_id FROM messages WHERE id = $1", message_id)
    await database.pool.execute(
        "INSERT INTO attempts (message_id, attempt, tenant_id, state, reason, phase, code, reply) "
        "VALUES ($1, 1, $2, 'deferred', 'greylisted', 'rcpt', 450, $3)",
        message_id,
        tenant_id,
        f"450 4.2.0 <{EMAIL}>: hanako.suzuki is over quota, {NAME}様",
    )
    await database.pool.execute(
        "INSERT INTO transcripts (message_id, attempt, tenant_id, lines) VALUES ($1, 1, $2, $3)",
        message_id,
        tenant_id,
        f"C: RCPT TO:<{EMAIL}>\nS: 450 HANAKO.SUZUKI, phone {PHONE}",
    )
    await database.pool.execute(
        "INSERT INTO events (event_id, tenant_id, campaign_id, message_id, kind, detail, occurred_at) "
        "VALUES ('\\x01', $2, $3, $1, 'click', $4, now())",
        message_id,
        tenant_id,
        campaign["id"],
        f"https://shop.example/?to={EMAIL.replace('@', '%40')}",
    )
    return {"path": path, "contact_id": contact["id"], "campaign_id": campaign["id"], "message_id": message_id}


async def test_contact_message_transcript_and_preview_are_masked(
    client: Client, make_client: MakeClient, database: Database
) -> None:
    """What changes as well as what reads: all shown with the right, nothing without; enough stays to work with."""
    world = await a_world(client, database)
    limited = await make_client("acme", *NEARLY_ALL)
    template = await a_template(client, "p", "{{ name }} {{ email }} {{ phone }} {{ plan }}", "text")
    preview = (f"/v1/templates/{template['id']}/versions/1/preview", {"contact_id": world["contact_id"]})
    secret = [EMAIL, "hanako.suzuki", NAME, "鈴木", "花子", PHONE]
    with capture_logs() as logs:
        for method, where, body in (
            ("GET", world["path"], None),
            ("GET", "/v1/contacts", None),
            ("GET", f"/v1/contacts?email={EMAIL}", None),
            ("GET", f"{world['path']}/history", None),
            ("GET", f"/v1/campaigns/{world['campaign_id']}/messages", None),
            ("GET", f"/v1/messages?campaign_id={world['campaign_id']}", None),
            ("GET", f"/v1/messages/{world['message_id']}", None),
            ("PATCH", world["path"], {"locale": "en"}),
            ("POST", "/v1/contacts", {"email": EMAIL, "locale": "ja"}),
            ("POST", *preview),
        ):
            full = await client.request(method, where, json=body)
            assert full.status_code == 200, full.text
            assert any(word in full.text for word in secret), where
            answer = await limited.request(method, where, json=body)
            assert answer.status_code == 200, answer.text
            assert_without(answer.text, secret, where)
    seen = await done(await limited.get(world["path"]), 200)
    assert (seen["email"], seen["name"]) == ("h•••@personal.example", "鈴•••")
    assert seen["attributes"] == {"phone": "0•••", "plan": "A"}
    message = await done(await limited.get(f"/v1/messages/{world['message_id']}"), 200)
    assert message["recipient"] == "h•••@personal.example"
    assert message["timeline"][0]["code"] == 450
    assert "over quota" in message["timeline"][0]["reply"]
    assert "A" in (await limited.post(preview[0], json=preview[1])).json()["text"]
    assert_without(str(logs), secret, "the log")


async def test_preview_for_a_contact_needs_it_to_be_there_and_the_right_to_read_it(
    client: Client, make_client: MakeClient
) -> None:
    """404 for another tenant's contact, 403 without contacts:read; given variables come before the contact's."""
    contact = await done(await client.post("/v1/contacts", json={"email": "a@x.example", "name": "A"}), 201)
    template = await a_template(client, "p", "{{ name }} {{ email }}", "text")
    where = f"/v1/templates/{template['id']}/versions/1/preview"
    body = {"contact_id": contact["id"], "variables": {"name": "B"}}
    assert (await done(await client.post(where, json=body), 200))["text"].split() == ["B", "a@x.example"]
    problem(await client.post(where, json={"contact_id": 999_999}), 404, "not-found")
    problem(await (await make_client("acme", "templates:read")).post(where, json=body), 403, "missing-scope")


async def test_replay_of_an_answer_is_not_given_to_a_key_that_may_see_less(
    client: Client, make_client: MakeClient
) -> None:
    """The kept answer of an Idempotency-Key has what the first key could see."""
    limited = await make_client("acme", *NEARLY_ALL)
    await done(await client.post("/v1/contacts", json={"email": EMAIL, "name": NAME}), 201)
    headers = {"Idempotency-Key": "one"}
    body = {"email": EMAIL, "locale": "en"}
    assert NAME in (await client.post("/v1/contacts", json=body, headers=headers)).text
    problem(await limited.post("/v1/contacts", json=body, headers=headers), 422, "idempotency-key-reused")
