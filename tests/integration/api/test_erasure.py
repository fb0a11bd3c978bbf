"""One person erased everywhere: every table, and the database's files, are searched for what is left."""

import asyncio

import orjson

from hayabin.database import erasing
from hayabin.database.engine import Database
from services.api.imports.runner import run_next_import
from services.api.people_jobs.certificate import digest
from tests.integration.api.conftest import MakeClient
from tests.integration.api.person_everywhere import (
    BYSTANDER,
    EMAIL,
    KEY,
    MARKERS,
    erased,
    found_in,
    in_bytes,
    person_everywhere,
    work_off,
)
from tests.integration.api.rest import CSV, OVERRIDE, Client, a_campaign, done, problem
from tests.support.postgres import PostgresInstance

HOLDS_PERSON = {
    "attempts.reply", "belt_messages.body", "confirmations.address", "confirmations.ip", "consents.address_key",
    "consents.user_agent", "contact_changes.old", "contacts.address_key", "contacts.attributes", "events.detail",
    "export_chunks.content", "idempotency_keys.body", "idempotency_keys.key", "import_chunks.content",
    "import_errors.value", "messages.address_key", "outbox.body", "quarantine.content", "recipients.variables",
    "suppressions.address_key", "transcripts.lines",
}  # fmt: skip
"""At least: where the person is before; a scan that does not find them there would prove nothing afterwards."""


async def test_erased_person_is_nowhere_in_the_database(client: Client, database: Database) -> None:
    """Before: in two dozen columns. After: no column of any table has address, name, attributes or browser."""
    await database.pool.execute("INSERT INTO ip_pools (name) VALUES ('other')")
    world = await person_everywhere(client, database)
    await done(await client.post("/v1/people/export", json={"email": EMAIL}), 202)
    await work_off(database, 1)
    await client.post("/v1/suppressions", json={"emails": [EMAIL]})
    before = await found_in(database)
    assert HOLDS_PERSON - set(before) == set(), before
    assert {"person_jobs.result"} <= set(before)

    job = await erased(client, database)

    assert (job["state"], job["error"], job["reason"]) == ("completed", None, "[erased] wrote")
    assert await found_in(database) == {}
    assert await database.pool.fetchval("SELECT count(*) FROM contacts WHERE id = $1", world.contact_id) == 0
    stand_in = erasing.MARK + job["address_hash"]
    (row,) = await database.pool.fetch(
        "SELECT address_key, state, reason FROM messages WHERE id = $1", world.waiting_id
    )
    assert tuple(row) == (stand_in, "suppressed", "erased")
    (row,) = await database.pool.fetch("SELECT m.state, a.code, a.reply FROM messages m JOIN attempts a ON a.message_id = m.id WHERE m.id = $1", world.sent_id)  # fmt: skip
    assert tuple(row) == ("bounced", 550, None)
    stats = await done(await client.get(f"/v1/campaigns/{world.campaign_id}/stats"), 200)
    assert stats["bounced"] == 2


async def test_erasure_leaves_everybody_else_alone(client: Client, database: Database) -> None:
    """The bystander's contact, mail, report, transcript, quarantined mail and export are as they were."""
    world = await person_everywhere(client, database)
    before = await found_in(database, (BYSTANDER,))
    await erased(client, database)
    assert await found_in(database, (BYSTANDER,)) == before
    reply = await database.pool.fetchval("SELECT reply FROM attempts WHERE message_id = $1", world.bystander_id)
    assert BYSTANDER in reply
    assert await database.pool.fetchval("SELECT count(*) FROM quarantine") == 1
    assert await database.pool.fetchval("SELECT count(*) FROM export_chunks") == 2


async def test_files_of_the_database_hold_nothing_after_a_vacuum(
    client: Client, database: Database, postgres: PostgresInstance
) -> None:
    """Heap, indexes and TOAST have none of the markers.

    What ages out is not looked at: WAL, backups, and the planner's samples of columns (``pg_statistic``).
    """
    await person_everywhere(client, database)
    await database.pool.execute("ANALYZE")
    await erased(client, database)
    await database.pool.execute("VACUUM (FULL, ANALYZE)")
    await database.pool.execute("CHECKPOINT")
    oid = await database.pool.fetchval("SELECT oid FROM pg_database WHERE datname = current_database()")
    folder = postgres.folder / "data" / "base" / str(oid)
    names = {
        str(row["file"]): row["name"]
        for row in await database.pool.fetch(
            "SELECT pg_relation_filenode(oid) AS file, oid::regclass::text AS name FROM pg_class"
        )
    }

    def left() -> list[tuple[str, str]]:
        files = [path for path in folder.iterdir() if path.is_file()]
        assert len(files) > 100
        return [
            (names.get(path.name, path.name), marker)
            for path in files
            for marker in MARKERS
            if names.get(path.name) != "pg_statistic" and in_bytes(path.read_bytes(), marker)
        ]

    assert await asyncio.to_thread(left) == []


async def test_certificate_says_what_was_done_and_can_be_checked(client: Client, database: Database) -> None:
    """Counts by table, reasons for what stays, a digest over it all; texts in both languages; nothing personal."""
    await person_everywhere(client, database)
    job = await erased(client, database)
    url = f"/v1/people/jobs/{job['id']}/certificate"
    certificate = await done(await client.get(url), 200)
    assert certificate["sha256"] == digest(certificate)
    assert certificate["address_hash"] == job["address_hash"]
    tables = {row["table"]: (row["erased"], row["anonymised"]) for row in certificate["tables"]}
    assert tables["contacts"] == (1, 0)
    assert tables["messages"] == (0, 3)
    assert tables["quarantine"] == (2, 0)
    assert tables["belt_messages"] == (1, 0)
    assert tables["outbox"] == (0, 1)
    assert tables["idempotency_keys"] == (1, 1)
    japanese, english = [(await client.get(f"{url}/text?language={x}")).text for x in ("ja", "en")]
    assert "消去証明書" in japanese
    assert "法的助言ではありません" in japanese
    assert "contacts: erased 1" in english
    assert certificate["sha256"] in japanese
    assert not any(marker.casefold() in (japanese + english).casefold() for marker in MARKERS)


async def test_erased_person_is_not_mailed_again(client: Client, database: Database) -> None:
    """Not by an import, not by the API, not by a list: row error `erased`, 409 `erased`."""
    await person_everywhere(client, database)
    await erased(client, database)
    problem(await client.post("/v1/contacts", json={"email": EMAIL}), 409, "erased")
    rows = f"email\n{EMAIL}\nfresh@x.example\n".encode()
    job = await done(await client.post("/v1/imports", content=rows, headers=CSV), 202)
    assert await run_next_import(database, "test")
    errors = await done(await client.get(f"/v1/imports/{job['id']}/errors"), 200)
    assert [error["reason"] for error in errors["items"]] == ["erased"]
    assert await database.pool.fetchval("SELECT count(*) FROM contacts WHERE address_key = $1", KEY) == 0
    assert await database.pool.fetchval(f"SELECT {erasing.erased_sql('1', '$1')}", KEY)


async def test_audience_takes_an_erased_address_for_suppressed(client: Client, database: Database) -> None:
    """However a contact came to be there with the address (a restored table, say), no mail is due to it."""
    campaign = await a_campaign(client, people=3)
    tenant_id = await database.pool.fetchval("SELECT id FROM tenants WHERE slug = 'acme'")
    async with database.pool.acquire() as connection:
        await erasing.remember(connection, tenant_id, ["u1@x.example"])
    await done(await client.post(f"/v1/campaigns/{campaign['id']}/launch", json=OVERRIDE), 200)
    rows = await database.pool.fetch("SELECT address_key, state FROM messages ORDER BY address_key")
    assert [tuple(row) for row in rows] == [
        ("u0@x.example", "due"), ("u1@x.example", "suppressed"), ("u2@x.example", "due"),
    ]  # fmt: skip


async def test_address_that_is_no_contact_can_be_erased(client: Client, database: Database) -> None:
    """Somebody who was deleted before, or of whom only a suppression is known."""
    await done(await client.post("/v1/suppressions", json={"emails": [EMAIL]}), 201)
    job = await erased(client, database)
    assert job["state"] == "completed"
    assert await found_in(database) == {}
    problem(await client.post("/v1/contacts", json={"email": EMAIL}), 409, "erased")


async def test_former_addresses_are_erased_too(client: Client, database: Database) -> None:
    """An address that was merged into the contact goes with it; another contact keeps itself and loses the address."""
    contact = await done(await client.post("/v1/contacts", json={"email": "new@x.example"}), 201)
    old = await done(await client.post("/v1/contacts", json={"email": EMAIL}), 201)
    await done(await client.post(f"/v1/contacts/{contact['id']}/merge", json={"from": old["id"]}), 200)
    assert set(await found_in(database)) >= {"contact_changes.old"}
    await erased(client, database)  # by the former address: the history forgets it
    assert await found_in(database) == {}
    await done(await client.get(f"/v1/contacts/{contact['id']}"), 200)
    other = await done(await client.post("/v1/contacts", json={"email": "zq-marker.local@two.example"}), 201)
    await done(await client.post(f"/v1/contacts/{contact['id']}/merge", json={"from": other["id"]}), 200)
    await erased(client, database, "new@x.example")  # by the present one: the former ones go with it
    assert await found_in(database, (*MARKERS, "new@x.example")) == {}
    problem(await client.post("/v1/contacts", json={"email": "zq-marker.local@two.example"}), 409, "erased")


async def test_erasing_again_changes_nothing_and_is_one_job_at_a_time(client: Client, database: Database) -> None:
    """While a job is under way the same is answered; afterwards a new one finds nothing."""
    form = {"email": EMAIL}
    first, second = [await done(await client.post("/v1/people/erase", json=form), 202) for _ in range(2)]
    assert first["id"] == second["id"]
    await work_off(database)
    third = await erased(client, database)
    assert third["id"] != first["id"]
    assert third["address_hash"] == first["address_hash"]
    certificate = await done(await client.get(f"/v1/people/jobs/{third['id']}/certificate"), 200)
    assert [row["table"] for row in certificate["tables"]] == ["suppressions"]


async def test_hash_is_of_one_tenant(client: Client, make_client: MakeClient, database: Database) -> None:
    """The same person erased by two tenants has two hashes; a tenant sees neither the other's job nor certificate."""
    other = await make_client("globex")
    mine, theirs = await erased(client, database), await erased(other, database)
    assert mine["address_hash"] != theirs["address_hash"]
    for path in ("", "/certificate", "/certificate/text", "/export"):
        problem(await other.get(f"/v1/people/jobs/{mine['id']}{path}"), 404, "not-found")
    assert [job["id"] for job in (await done(await other.get("/v1/people/jobs"), 200))["items"]] == [theirs["id"]]


async def test_audit_lines_hold_no_address(client: Client, database: Database) -> None:
    """Whatever was done with the address in paths and bodies, the trail has hashes."""
    await person_everywhere(client, database)
    await erased(client, database)
    texts = await database.pool.fetch("SELECT to_jsonb(a)::text AS line FROM audit_pending a")
    texts += await database.pool.fetch("SELECT to_jsonb(a)::text AS line FROM audit_log a")
    assert len(texts) > 5
    assert not any(marker.casefold() in row["line"].casefold() for row in texts for marker in MARKERS)


async def test_replayed_answer_that_held_the_person_says_gone(
    client: Client, make_client: MakeClient, database: Database
) -> None:
    """The request was done and is not done again; its answer has nothing of the person, not even by the id alone."""
    form = {"email": EMAIL, "name": "ZQマーカー花子", "attributes": {"company": "zqmarkervalue"}}
    blind = await make_client("acme", "contacts:write")
    for caller, key in ((blind, "masked"), (client, "plain")):
        answer = await caller.post("/v1/contacts", json=form, headers={"Idempotency-Key": key})
        assert answer.is_success
        assert (KEY in answer.text.lower()) == (key == "plain")
    await erased(client, database)
    assert await found_in(database) == {}
    for caller, key in ((blind, "masked"), (client, "plain")):
        again = await caller.post("/v1/contacts", json=form, headers={"Idempotency-Key": key})
        assert again.status_code == 410
        assert orjson.loads(again.content)["type"] == "/problems/erased"
