"""A copy of everything that is held about one person: whole, for who may have it, for a week."""

from datetime import timedelta

from hayabin.database.engine import Database
from services.api.people_jobs.runner import drop_expired
from tests.integration.api.conftest import MakeClient
from tests.integration.api.person_everywhere import (
    BYSTANDER,
    EMAIL,
    MARKERS,
    person_everywhere,
    work_off,
)
from tests.integration.api.rest import Client, done, problem


async def test_export_holds_everything_about_the_person(client: Client, database: Database) -> None:
    """Every marker is in it, with messages, attempts, events, consents, suppressions; nothing of the bystander."""
    await person_everywhere(client, database)
    job = await done(await client.post("/v1/people/export", json={"email": EMAIL}), 202)
    problem(await client.get(f"/v1/people/jobs/{job['id']}/export"), 409, "not-finished")
    await work_off(database, 1)
    answer = await client.get(f"/v1/people/jobs/{job['id']}/export")
    document = await done(answer, 200)
    assert document["format"] == "hayabin.person-export/1"
    assert all(marker.casefold() in answer.text.casefold() for marker in MARKERS)
    assert BYSTANDER not in answer.text
    assert len(document["messages"]) == 3
    [bounced] = [message for message in document["messages"] if message["state"] == "bounced"]
    assert bounced["attempts"][0]["code"] == 550
    assert bounced["attempts"][0]["transcript"]
    assert {event["kind"] for event in bounced["events"]} == {"bounce", "open"}
    for name in ("contact_history", "subscriptions", "consents", "sign_ups"):
        assert document[name], name


async def test_export_needs_rights_is_audited_and_ends(
    client: Client, make_client: MakeClient, database: Database
) -> None:
    """Without the right to read what is personal nobody gets it; after a week nobody does."""
    await person_everywhere(client, database)
    for scopes in (["contacts:export"], ["contacts:erase"], ["contacts:read_personal"]):
        blind = await make_client("acme", *scopes)
        problem(await blind.post("/v1/people/export", json={"email": EMAIL}), 403, "missing-scope")
    job = await done(await client.post("/v1/people/export", json={"email": EMAIL}), 202)
    await work_off(database, 1)
    await done(await client.get(f"/v1/people/jobs/{job['id']}/export"), 200)
    lines = await database.pool.fetch(
        "SELECT action FROM audit_pending WHERE object_type = 'people' UNION ALL "
        "SELECT action FROM audit_log WHERE object_type = 'people'"
    )
    assert {"exportPerson", "downloadPersonExport"} <= {line["action"] for line in lines}
    await database.pool.execute(
        "UPDATE person_jobs SET expires_at = now() - $1::interval WHERE id = $2", timedelta(seconds=1), job["id"]
    )
    problem(await client.get(f"/v1/people/jobs/{job['id']}/export"), 410, "expired")
    await drop_expired(database.pool)
    assert await database.pool.fetchval("SELECT result FROM person_jobs WHERE id = $1", job["id"]) is None
    problem(await client.get(f"/v1/people/jobs/{job['id']}/export"), 410, "expired")
