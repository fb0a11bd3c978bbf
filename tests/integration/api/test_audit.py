"""The audit log: a line for each change, none that can be changed, one chain whatever happens at once."""

import asyncio
import csv
import io
import json
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from hayabin.database.engine import Database
from services.api import audit_lines, audit_trail
from services.api.access import Scope
from services.api.app import make_app
from services.api.audit_export import COLUMNS, pages
from services.api.audit_lines import verify
from services.api.openapi import document_of
from services.api.scheduler import audit_duty
from services.api.scheduler.audit_duty import HeadLog, link_lines
from tests.integration.api.conftest import MakeClient, settings_of
from tests.integration.api.rest import OVERRIDE, Client, a_campaign, done, problem

PATH = "/v1/audit"


async def _lines(client: Client, query: str = "") -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await done(await client.get(f"{PATH}{query}"), 200))["items"]
    return items


async def _verdict(client: Client, anchor: str = "") -> dict[str, Any]:
    found: dict[str, Any] = await done(await client.get(f"{PATH}/verify{anchor and f'?anchor={anchor}'}"), 200)
    return found


async def _some_lines(client: Client, database: Database, count: int = 5) -> None:
    """So many lines in the chain of the client's tenant."""
    for number in range(count):
        await done(await client.post("/v1/lists", json={"name": f"l{number}"}), 201)
    assert await link_lines(database.pool) == count


async def _tamper(database: Database, statement: str) -> None:
    """Change the log as its owner can, who switches the trigger off."""
    async with database.pool.acquire() as connection, connection.transaction():
        await connection.execute("ALTER TABLE audit_log DISABLE TRIGGER append_only")
        await connection.execute(statement)
        await connection.execute("ALTER TABLE audit_log ENABLE TRIGGER append_only")


async def test_each_change_has_a_line_that_says_who_did_what_to_what(client: Client, database: Database) -> None:
    """Operation, object, key, names of the fields, trace; a refused request and a read have none."""
    campaign = await a_campaign(client, people=1)
    launched = await client.post(f"/v1/campaigns/{campaign['id']}/launch", json=OVERRIDE)
    await done(launched, 200)
    problem(await client.post("/v1/lists", json={"name": ""}), 422, "invalid-request")
    await done(await client.get("/v1/campaigns"), 200)
    lines = await _lines(client)
    assert [line["action"] for line in lines] == [
        "launchCampaign", "createCampaign", "addDomain", "publishTemplateVersion", "createTemplate", "addMembers",
        "upsertContact", "createList",
    ]  # fmt: skip
    launch, create, *_ = lines
    key_id = await database.pool.fetchval("SELECT id FROM api_keys")
    assert (launch["object_type"], launch["object_id"]) == ("campaigns", str(campaign["id"]))
    assert (launch["actor"], launch["key_id"], launch["user_id"]) == ("key", key_id, None)
    assert launch["detail"]["fields"] == ["allow_unverified_domain"]
    assert len(launch["trace_id"]) == 32
    assert create["object_id"] == str(campaign["id"])
    assert next(line for line in lines if line["action"] == "addMembers")["detail"]["counts"] == {"added": 1}


async def test_replay_of_a_request_has_no_second_line(client: Client) -> None:
    """What was done once is written once."""
    headers = {"Idempotency-Key": "k"}
    for _ in range(3):
        await done(await client.post("/v1/lists", json={"name": "l"}, headers=headers), 201)
    assert len(await _lines(client)) == 1


async def test_line_has_no_personal_data_and_its_object_is_found_by_the_address(client: Client) -> None:
    """An address in the path is hashed with the tenant's key; in a body it is not kept at all."""
    await done(await client.post("/v1/suppressions", json={"emails": ["hanako@x.example"]}), 201)
    assert (await client.delete("/v1/suppressions/hanako@x.example")).status_code == 204
    lines = await _lines(client)
    assert "hanako" not in json.dumps(lines)
    assert [line["action"] for line in lines] == ["unsuppress", "suppress"]
    assert await _lines(client, "?object_text=hanako@x.example") == lines[:1]
    assert len(lines[0]["object_id"]) == 64
    assert await _lines(client, "?object_text=taro@x.example") == []


async def test_chain_holds_whatever_is_written_at_once(
    client: Client, make_client: MakeClient, database: Database
) -> None:
    """Eighty requests of two tenants and four linkers at once: no fork, no gap, nothing lost."""
    stranger = await make_client("stranger")
    writing = True

    async def link_for_ever() -> None:
        while writing:
            await link_lines(database.pool)
            await asyncio.sleep(0)

    linkers = [asyncio.create_task(link_for_ever()) for _ in range(4)]
    requests = [who.post("/v1/lists", json={"name": f"l{n}"}) for n in range(40) for who in (client, stranger)]
    answers = await asyncio.gather(*requests)
    writing = False
    await asyncio.gather(*linkers)
    await link_lines(database.pool)
    assert {answer.status_code for answer in answers} == {201}
    for who in (client, stranger):
        verdict = await _verdict(who)
        assert (verdict["ok"], verdict["lines"], verdict["head"]["seq"], verdict["pending"]) == (True, 40, 40, 0)


async def test_long_transaction_keeps_nobody_from_writing_or_linking(client: Client, database: Database) -> None:
    """A launch that takes minutes holds no lock of the trail; its line comes in when it has committed, and holds."""
    tenant_id = await database.pool.fetchval("SELECT id FROM tenants WHERE slug = 'acme'")
    async with database.pool.acquire() as slow, slow.transaction():
        await audit_trail.note_campaign(slow, tenant_id, "launchScheduled", 21, {})
        async with asyncio.timeout(5):
            await _some_lines(client, database, 3)
        assert (await _verdict(client))["lines"] == 3
    assert await link_lines(database.pool) == 1
    assert (await _verdict(client))["lines"] == 4
    chained = await database.pool.fetch("SELECT entry_id FROM audit_log ORDER BY seq")
    assert chained[-1]["entry_id"] < chained[0]["entry_id"], "begun first, committed last"


async def test_log_refuses_changes_also_of_its_owner(client: Client, database: Database) -> None:
    """The trigger answers to everybody; the tenants' role may not even insert."""
    await _some_lines(client, database, 1)
    for statement in (
        "UPDATE audit_log SET action = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log",
        "UPDATE audit_log SET action = 'x' WHERE false",
    ):  # fmt: skip
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await database.pool.execute(statement)
    for statement in (
        "INSERT INTO audit_heads VALUES (1, 1, '')", "UPDATE audit_heads SET seq = 1", "DELETE FROM audit_pending",
        "INSERT INTO audit_log (tenant_id, seq) VALUES (1, 1)",
    ):  # fmt: skip
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
            await database.pool.execute(f"BEGIN; SET LOCAL ROLE hayabin_tenant; {statement}; COMMIT")


TAMPERED = (
    ("UPDATE audit_log SET object_id = '99' WHERE seq = 3", "changed", 3),
    ("UPDATE audit_log SET detail = '{}' WHERE seq = 2", "changed", 2),
    ("DELETE FROM audit_log WHERE seq = 2", "missing", 2),
    ("DELETE FROM audit_log WHERE seq >= 4", "missing", 4),
    ("UPDATE audit_heads SET hash = sha256('')", "wrong_head", 5),
    ("UPDATE audit_heads SET seq = 4, hash = (SELECT hash FROM audit_log WHERE seq = 4)", "beyond_head", 5),
    ("DELETE FROM audit_heads", "beyond_head", 1),
)


async def test_verify_names_the_first_place_that_does_not_hold(client: Client, database: Database) -> None:
    """A changed row, a missing one, a removed end, a wrong head; by itself and over REST."""
    await _some_lines(client, database)
    tenant_id = await database.pool.fetchval("SELECT id FROM tenants WHERE slug = 'acme'")
    assert (await _verdict(client))["ok"]
    for statement, what, seq in TAMPERED:
        async with database.pool.acquire() as connection:
            undone = connection.transaction()
            await undone.start()
            await connection.execute("ALTER TABLE audit_log DISABLE TRIGGER append_only")
            await connection.execute(statement)
            broken = (await verify(connection, tenant_id)).broken
            await undone.rollback()
        assert broken is not None, statement
        assert (broken.what, broken.seq, bool(broken.detail)) == (what, seq, True), statement
    await _tamper(database, TAMPERED[0][0])
    verdict = await _verdict(client)
    assert (verdict["ok"], verdict["lines"], verdict["broken"]["what"]) == (False, 2, "changed")


async def test_end_removed_with_its_head_is_found_by_an_anchor(client: Client, database: Database) -> None:
    """The head that the scheduler logs is enough; so is one of a chain that was written anew."""
    await _some_lines(client, database)
    with capture_logs() as logs:
        head_log = HeadLog()
        await head_log.turn(database.pool)
        await head_log.turn(database.pool)
    heads = [line for line in logs if line["event"] == "audit_head"]
    assert len(heads) == 1, "a head that has not moved is not logged again"
    anchor = f"{heads[0]['seq']}:{heads[0]['hash']}"
    assert (await _verdict(client, anchor))["ok"]
    await _tamper(
        database,
        "DELETE FROM audit_log WHERE seq = 5; "
        "UPDATE audit_heads SET seq = 4, hash = (SELECT hash FROM audit_log WHERE seq = 4)",
    )
    assert (await _verdict(client))["ok"], "by itself the chain cannot know"
    assert (await _verdict(client, anchor))["broken"]["what"] == "wrong_anchor"
    await done(await client.post("/v1/lists", json={"name": "new"}), 201)
    await link_lines(database.pool)
    broken = (await _verdict(client, anchor))["broken"]
    assert (broken["what"], broken["seq"]) == ("wrong_anchor", 5)
    problem(await client.get(f"{PATH}/verify?anchor=5:xyz"), 422, "invalid-request")


async def test_log_is_filtered_and_paged_newest_first(client: Client, database: Database) -> None:
    """Pages go on where the one before ended, also while lines are linked in between."""
    await _some_lines(client, database, 4)
    for number in range(3):
        await done(await client.post("/v1/suppressions", json={"emails": [f"u{number}@x.example"]}), 201)
    whole = await _lines(client)
    assert [line["seq"] for line in whole] == [None, None, None, 4, 3, 2, 1]
    first = await done(await client.get(f"{PATH}?limit=2"), 200)
    await link_lines(database.pool)
    second = await done(await client.get(f"{PATH}?limit=5&cursor={first['next_cursor']}"), 200)
    assert [line["entry_id"] for line in (*first["items"], *second["items"])] == [line["entry_id"] for line in whole]
    assert second["next_cursor"] is None
    assert {line["action"] for line in await _lines(client, "?action=suppress")} == {"suppress"}
    assert len(await _lines(client, "?object_type=lists")) == 4
    middle = whole[3]["at"].replace("+", "%2B")
    assert len(await _lines(client, f"?since={middle}")) == 4
    assert len(await _lines(client, f"?until={middle}")) == 3
    assert await _lines(client, "?actor=operator") == []
    assert len(await _lines(client, f"?key_id={whole[0]['key_id']}&user_id=1")) == 0


async def test_export_misses_no_line_that_is_linked_meanwhile(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages with the scheduler at work between them have each line once."""
    monkeypatch.setattr(audit_lines, "PAGE_ROWS", 2)
    monkeypatch.setattr(audit_duty, "LINES_A_TURN", 1)
    for number in range(5):
        await done(await client.post("/v1/lists", json={"name": f"l{number}"}), 201)
    tenant_id = await database.pool.fetchval("SELECT id FROM tenants WHERE slug = 'acme'")
    found = []
    async with database.pool.acquire() as connection:
        async for rows in pages(connection, tenant_id, audit_lines.Filter()):
            found += [row["entry_id"] for row in rows]
            await link_lines(database.pool)
    assert sorted(found) == [1, 2, 3, 4, 5]


async def test_export_has_all_lines_and_is_itself_in_the_log(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both files hold what the log holds, page by page, safe for spreadsheets; the export leaves its line."""
    monkeypatch.setattr("services.api.audit_lines.PAGE_ROWS", 2)
    tenant_id = await database.pool.fetchval("SELECT id FROM tenants WHERE slug = 'acme'")
    await _some_lines(client, database, 5)
    async with database.pool.acquire() as connection:
        await audit_trail.note_admin(connection, tenant_id, "=cmd()", {"name": "x"})
    answer = await client.get(f"{PATH}/export?format=ndjson")
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["seq"] for line in lines] == [1, 2, 3, 4, 5, None, None]
    assert [line["action"] for line in lines[-2:]] == ["=cmd()", "exportAudit"]
    assert lines[1]["prev_hash"] == lines[0]["hash"]
    text = (await client.get(f"{PATH}/export")).text
    rows = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == 8
    assert rows[5]["action"] == "'=cmd()"
    assert json.loads(rows[5]["detail"]) == {"name": "x"}


async def test_log_needs_its_right_and_shows_the_own_tenants_lines_alone(
    client: Client, make_client: MakeClient, database: Database
) -> None:
    """Neither list nor file nor check has anything of another tenant."""
    await _some_lines(client, database, 2)
    stranger = await make_client("stranger")
    assert await _lines(stranger) == []
    assert len((await stranger.get(f"{PATH}/export?format=ndjson")).text.splitlines()) == 1
    assert (await _verdict(stranger))["lines"] == 0
    nobody = await make_client("acme", *(scope for scope in Scope if scope is not Scope.AUDIT_READ))
    for path in (PATH, f"{PATH}/export", f"{PATH}/verify"):
        problem(await nobody.get(path), 403, "missing-scope")


def test_audited_reads_are_those_that_take_something_out(database_url: str, database: Database) -> None:
    """The set has no name that is none (any more), and a new export or download has to be in it."""
    document = document_of(make_app(settings_of(database_url), database))
    reads = {methods["get"]["operationId"] for methods in document["paths"].values() if "get" in methods}
    assert {name for name in reads if name.startswith(("download", "export"))} == audit_trail.AUDITED_READS


async def test_linker_takes_more_lines_than_a_turn_has(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left over is linked by the next turn, on the same chain."""
    monkeypatch.setattr(audit_duty, "LINES_A_TURN", 3)
    for number in range(5):
        await done(await client.post("/v1/lists", json={"name": f"l{number}"}), 201)
    assert [await link_lines(database.pool) for _ in range(3)] == [3, 2, 0]
    assert (await _verdict(client))["lines"] == 5
