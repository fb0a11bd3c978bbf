"""The consent ledger over REST: recorded, found by person and period, exported, masked."""

import csv
import io
import json
from typing import Any

from hayabin.database.engine import Database
from services.api.access import Scope
from tests.integration.api.conftest import MakeClient
from tests.integration.api.rest import Client, done, problem
from tests.integration.api.test_lists import a_list, contacts

WRITTEN = {"basis": "written", "note": "=HYPERLINK(paper 7)", "ip": "192.0.2.7"}


async def recorded(client: Client, contact_id: int, list_id: int, action: str, **more: Any) -> dict[str, Any]:
    """The answer to a recorded consent."""
    form = {"contact_id": contact_id, "list_id": list_id, "action": action, **WRITTEN, **more}
    answer: dict[str, Any] = await done(await client.post("/v1/consents", json=form), 201)
    return answer


async def test_recorded_consent_moves_the_subscription_and_leaves_one_row_each(
    client: Client, database: Database
) -> None:
    """In, out, back by their own confirmation; what others say does not bring them back, and leaves no row."""
    list_id, (one,) = await a_list(client), await contacts(client, 1)
    for action, moved, state in (("opt_in", True, "subscribed"), ("opt_in", False, "subscribed"),
                                 ("opt_out", True, "unsubscribed")):  # fmt: skip
        answer = await recorded(client, one, list_id, action)
        assert (answer["moved"], answer["state"]) == (moved, state)
    assert (await done(await client.get("/v1/suppressions/u0@x.example"), 200))["suppressions"][0]["list_id"] == list_id
    form = {"contact_id": one, "list_id": list_id, "action": "opt_in", **WRITTEN}
    problem(await client.post("/v1/consents", json=form), 409, "opted-out")
    assert (await recorded(client, one, list_id, "confirm"))["state"] == "subscribed"
    problem(await client.get("/v1/suppressions/u0@x.example"), 404, "not-found")
    assert not (await recorded(client, one, list_id, "change"))["moved"]
    rows = await database.pool.fetch("SELECT action FROM consents ORDER BY id")
    assert [row["action"] for row in rows] == ["opt_in", "opt_in", "opt_out", "confirm", "change"]


async def test_opt_out_of_everything_ends_every_list(client: Client, database: Database) -> None:
    """List 0: one row, one suppression, each membership; nobody opts in to everything."""
    lists, (one,) = [await a_list(client, name) for name in "ab"], await contacts(client, 1)
    for list_id in lists:
        await done(await client.post(f"/v1/lists/{list_id}/members", json={"contact_ids": [one]}), 200)
    assert (await recorded(client, one, 0, "opt_out"))["moved"]
    rows = await database.pool.fetch("SELECT state FROM list_members")
    assert [row["state"] for row in rows] == ["unsubscribed"] * 2
    assert await database.pool.fetchval("SELECT list_id FROM suppressions") == 0
    for form in ({"list_id": 0, "action": "opt_in"}, {"list_id": lists[0], "action": "confirm", "note": ""},
                 {"list_id": lists[0], "action": "forget"}):  # fmt: skip
        answer = await client.post("/v1/consents", json={"contact_id": one, **WRITTEN, "basis": "api", **form})
        problem(answer, 422, "invalid-request")
    ahead = {"contact_id": one, "list_id": 0, "action": "opt_out", "occurred_at": "2999-01-01T00:00:00Z", **WRITTEN}
    errors = problem(await client.post("/v1/consents", json=ahead), 422, "invalid-request")["errors"]
    assert [error["pointer"] for error in errors] == ["#/occurred_at"]
    for missing in ({"contact_id": one, "list_id": 10**9}, {"contact_id": 10**9, "list_id": lists[0]}):
        problem(await client.post("/v1/consents", json={"action": "opt_out", **WRITTEN, **missing}), 404, "not-found")


async def test_ledger_is_found_by_person_list_action_and_period(client: Client, make_client: MakeClient) -> None:
    """Each filter alone and together; pages meet; the address finds who has it now, too."""
    lists, ids = [await a_list(client, name) for name in "ab"], await contacts(client, 2)
    moments = ("2026-01-10T00:00:00Z", "2026-02-10T00:00:00Z", "2026-03-10T00:00:00Z")
    for contact_id in ids:
        for n, moment in enumerate(moments):
            action = "opt_out" if n == 2 else "opt_in"
            await recorded(client, contact_id, lists[n % 2], action, occurred_at=moment)
    await done(await client.post("/v1/contacts", json={"email": "u1@x.example", "name": "n"}), 200)

    async def found(query: str) -> int:
        return len((await done(await client.get(f"/v1/consents?{query}"), 200))["items"])

    assert await found("") == 6
    assert await found(f"contact_id={ids[0]}") == await found("email=U0@X.example") == 3
    assert await found(f"contact_id={ids[0]}&list_id={lists[0]}") == 2
    assert await found("action=opt_out") == 2
    assert await found("since=2026-02-01T00:00:00Z&until=2026-03-10T00:00:00Z") == 2
    assert await found("email=nobody@x.example") == 0
    first = await done(await client.get("/v1/consents?limit=4"), 200)
    rest = await done(await client.get(f"/v1/consents?limit=4&cursor={first['next_cursor']}"), 200)
    assert len({row["id"] for row in first["items"] + rest["items"]}) == 6
    assert (await done(await (await make_client("other")).get("/v1/consents"), 200))["items"] == []
    problem(await client.get("/v1/consents?email=broken"), 422, "invalid-address")


async def test_export_is_whole_safe_for_spreadsheets_and_written_down(client: Client, database: Database) -> None:
    """CSV with a BOM and no formula, NDJSON with the same rows; each export has its line in the audit log."""
    list_id, ids = await a_list(client), await contacts(client, 3)
    for contact_id in ids:
        await recorded(client, contact_id, list_id, "opt_in")
    answer = await client.get(f"/v1/consents/export?list_id={list_id}")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert 'filename="consents.csv"' in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    assert [row["email"] for row in rows] == [f"u{n}@x.example" for n in range(3)]
    assert {row["note"] for row in rows} == {"'=HYPERLINK(paper 7)"}
    one = await client.get(f"/v1/consents/export?file=ndjson&contact_id={ids[1]}")
    assert [json.loads(line)["note"] for line in one.text.splitlines()] == [WRITTEN["note"]]
    lines = await database.pool.fetch(
        "SELECT detail FROM audit_pending WHERE action = 'exportConsents' ORDER BY entry_id"
    )
    assert len(lines) == 2
    assert "u1@x.example" not in str([dict(line) for line in lines])


async def test_personal_data_is_masked_without_the_right(client: Client, make_client: MakeClient) -> None:
    """Address, IP and note are masked on the page and in the file; without consents:read there is nothing."""
    list_id, (one,) = await a_list(client), await contacts(client, 1)
    await recorded(client, one, list_id, "opt_in")
    masked = await make_client("acme", Scope.CONSENTS_READ.value)
    (row,) = (await done(await masked.get("/v1/consents"), 200))["items"]
    assert (row["email"], row["ip"], row["note"]) == ("u•••@x.example", "1•••", "=•••")
    for file in ("csv", "ndjson"):
        text = (await masked.get(f"/v1/consents/export?file={file}")).text
        assert "u0@" not in text
        assert "192.0.2.7" not in text
        assert "paper" not in text
    nobody = await make_client("acme", Scope.CONTACTS_READ_PERSONAL.value)
    for path in ("/v1/consents", "/v1/consents/export"):
        problem(await nobody.get(path), 403, "missing-scope")
