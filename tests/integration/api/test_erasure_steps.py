"""The steps of an erasure: in which order, what they wait for, and that each may be broken off."""

from typing import Any

import pytest

from hayabin.broker import connect
from hayabin.database import ledger
from hayabin.database.engine import Database
from hayabin.domain.message import MessageState
from services.api.people_jobs import erase, erase_ledger
from services.api.people_jobs.jobs import claim
from services.api.people_jobs.runner import run_next_person_job
from tests.integration.api.person_everywhere import (
    EMAIL,
    KEY,
    erased,
    found_in,
    person_everywhere,
    work_off,
)
from tests.integration.api.rest import Client, done


async def test_gate_is_closed_before_anything_else(client: Client, database: Database) -> None:
    """After the job's first step a dispatcher that has the mail in hand is refused."""
    world = await person_everywhere(client, database)
    await done(await client.post("/v1/people/erase", json={"email": EMAIL}), 202)
    async with database.pool.acquire() as connection:
        job = await _claimed(connection)
        assert await erase.take_step(job, None)
        assert job.step == erase.Step.CONTACT
        assert await ledger.claim(connection, [(world.waiting_id, 0)], "d") == {}


async def _claimed(connection: Any) -> Any:
    job = await claim(connection)
    assert job is not None
    return job


async def test_job_broken_off_anywhere_is_finished_by_the_next_worker(client: Client, database: Database) -> None:
    """A worker that dies after each step in turn leaves nothing undone and nothing done twice."""
    await person_everywhere(client, database)
    job = await done(await client.post("/v1/people/erase", json={"email": EMAIL}), 202)
    steps = 0
    for _ in range(40):
        async with database.pool.acquire() as connection:
            try:
                await erase.take_step(await _claimed(connection), None)
            finally:
                connection.terminate()
        steps += 1
        await database.pool.execute("UPDATE person_jobs SET not_before = NULL")
        if await database.pool.fetchval("SELECT state FROM person_jobs WHERE id = $1", job["id"]) == "completed":
            break
    assert steps == len(erase.Step)
    assert await found_in(database) == {}
    certificate = await done(await client.get(f"/v1/people/jobs/{job['id']}/certificate"), 200)
    assert {"table": "contacts", "erased": 1, "anonymised": 0} in certificate["tables"]


async def test_mail_in_a_dispatchers_hands_is_waited_for(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claimed row is left until its outcome is there; then reply and address go too."""
    world = await person_everywhere(client, database)
    async with database.pool.acquire() as connection, connection.transaction():
        assert await ledger.claim(connection, [(world.waiting_id, 0)], "d")
    job = await erased(client, database)
    assert job["state"] == "running"
    async with database.pool.acquire() as connection, connection.transaction():
        outcome = ledger.Outcome(world.waiting_id, 1, MessageState.ACCEPTED, code=250, reply=f"250 ok {EMAIL}")
        await ledger.record(connection, [outcome])
        await ledger.keep_transcripts(connection, [(world.waiting_id, 1, f"RCPT TO:<{EMAIL}>")])
    await work_off(database)
    assert (await done(await client.get(f"/v1/people/jobs/{job['id']}"), 200))["state"] == "running"  # just now
    monkeypatch.setattr(erase_ledger, "SETTLE_S", 0.0)
    await work_off(database)
    assert (await done(await client.get(f"/v1/people/jobs/{job['id']}"), 200))["state"] == "completed"
    assert await found_in(database) == {}


async def test_transaction_that_began_before_is_waited_for(client: Client, database: Database) -> None:
    """An import's page that puts the contact back after it was removed does not keep it there."""
    world = await person_everywhere(client, database)
    async with database.pool.acquire() as late:
        transaction = late.transaction()
        await transaction.start()
        await late.execute("SELECT")  # nothing is written yet, so it has no number
        job = await erased(client, database)
        assert job["state"] == "running"
        await late.execute(
            "INSERT INTO contacts (tenant_id, address, wire, address_key) "
            "SELECT tenant_id, $1, $1, $2 FROM lists LIMIT 1",
            EMAIL,
            KEY,
        )
        await transaction.commit()
    await work_off(database)
    assert (await done(await client.get(f"/v1/people/jobs/{job['id']}"), 200))["state"] == "completed"
    assert await found_in(database) == {}
    assert world.contact_id


async def test_import_that_runs_is_waited_for(client: Client, database: Database) -> None:
    """The file of an import under way is not pulled away; one that was not begun is ended with a sentence."""
    world = await person_everywhere(client, database)
    await database.pool.execute("UPDATE import_jobs SET state = 'running' WHERE id = $1", world.import_id)
    job = await erased(client, database)
    assert job["state"] == "running"
    await database.pool.execute("UPDATE import_jobs SET state = 'queued' WHERE id = $1", world.import_id)
    await work_off(database)
    ended = await done(await client.get(f"/v1/imports/{world.import_id}"), 200)
    assert ended["state"] == "failed"
    assert "erased" in ended["error"]


async def test_messages_set_aside_are_dropped_from_the_belt(
    client: Client, database: Database, database_url: str
) -> None:
    """A parked batch with a mail of the person goes; the others stay."""
    await person_everywhere(client, database)
    await database.pool.execute(
        "INSERT INTO belt_messages (queue, headers, body) VALUES ('parked', $1, $2), ('parked', '{}', $3)",
        {"hayabin-detail": f"bad address {EMAIL}", "hayabin-parked-id": "a"},
        b"x",
        b"other",
    )
    await done(await client.post("/v1/people/erase", json={"email": EMAIL}), 202)
    async with connect(database_url, name="test") as broker:
        await run_next_person_job(database, "test", broker)
    assert await found_in(database) == {}
    assert await database.pool.fetchval("SELECT count(*) FROM belt_messages WHERE body = 'other'") == 1
