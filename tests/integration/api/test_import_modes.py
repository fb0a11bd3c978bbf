"""What becomes of rows: modes, typed values, consent, and people who are to be left alone."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from hayabin.database import erasing
from hayabin.database.contact_history import KEPT_ROWS
from hayabin.database.engine import Database
from services.api.imports.runner import run_next_import
from tests.integration.api.rest import CSV, Client, done, problem

CONSENT = {"consent_basis": "written", "consent_source": "paper, fair of May", "consented_at": "2026-05-01T00:00:00Z"}


async def imported(client: Client, database: Database, content: str, **params: Any) -> dict[str, Any]:
    """Upload a file with parameters, run its job, return it."""
    job = await done(await client.post("/v1/imports", content=content.encode(), headers=CSV, params=params), 202)
    assert await run_next_import(database, "test")
    answer: dict[str, Any] = await done(await client.get(f"/v1/imports/{job['id']}"), 200)
    assert answer["error"] is None
    return answer


async def a_list(client: Client, name: str = "l") -> int:
    """A list's id."""
    return int((await done(await client.post("/v1/lists", json={"name": name}), 201))["id"])


async def errors_of(client: Client, job: dict[str, Any]) -> list[tuple[int, str, str]]:
    """The errors of a job."""
    items = (await done(await client.get(f"/v1/imports/{job['id']}/errors"), 200))["items"]
    return [(e["line"], e["column"], e["reason"]) for e in items]


async def people(client: Client) -> dict[str, str]:
    """Names by address."""
    return {c["email"]: c["name"] for c in (await done(await client.get("/v1/contacts"), 200))["items"]}


async def states(database: Database, list_id: int) -> dict[str, str]:
    """States on a list, by address key."""
    rows = await database.pool.fetch(
        "SELECT c.address_key, m.state FROM list_members m JOIN contacts c ON c.id = m.contact_id WHERE list_id = $1",
        list_id,
    )
    return {row["address_key"]: row["state"] for row in rows}


async def test_mode_insert_leaves_who_is_there_alone(client: Client, database: Database) -> None:
    """Only new people are added; the others are told by line and stay as they are."""
    await client.post("/v1/contacts", json={"email": "a@b.example", "name": "Ada"})
    job = await imported(client, database, "email,name\nA@b.example,X\nc@d.example,C\nc@D.example,D\n", mode="insert")
    assert (job["rows_imported"], job["rows_exists"], job["rows_duplicate"], job["rows_invalid"]) == (1, 1, 1, 0)
    assert await people(client) == {"a@b.example": "Ada", "c@D.example": "D"}
    assert await errors_of(client, job) == [(2, "", "exists")]


async def test_mode_update_adds_nobody(client: Client, database: Database) -> None:
    """Who is there is changed, with a history; who is not is told by line."""
    await client.post("/v1/contacts", json={"email": "a@b.example", "name": "Ada", "attributes": {"n": "1"}})
    job = await imported(client, database, "email,name,n\na@b.example,Eve,2\nc@d.example,C,3\n", mode="update")
    assert (job["rows_imported"], job["rows_unknown"]) == (1, 1)
    assert await people(client) == {"a@b.example": "Eve"}
    assert await errors_of(client, job) == [(3, "", "unknown")]
    changes = await database.pool.fetch(
        "SELECT field, old, new, source, actor FROM contact_changes WHERE source = 'import' ORDER BY field"
    )
    assert [tuple(row) for row in changes] == [
        ("attributes.n", "1", "2", "import", f"import:{job['id']}"),
        ("name", "Ada", "Eve", "import", f"import:{job['id']}"),
    ]


async def test_history_of_who_came_by_an_import_says_so(client: Client, database: Database) -> None:
    """The first line is told from when both happened, once over all pages; none where it may have been forgotten."""
    job = await imported(client, database, "email,name\na@b.example,Ada\n")
    (contact,) = (await done(await client.get("/v1/contacts"), 200))["items"]
    path = f"/v1/contacts/{contact['id']}"
    await client.patch(path, json={"name": "Eve", "locale": "en"})
    items, query = [], "?limit=1"
    while query:
        answer = await done(await client.get(f"{path}/history{query}"), 200)
        items += answer["items"]
        query = f"?limit=1&cursor={answer['next_cursor']}" if answer["next_cursor"] else ""
    first = {**items[0], "at": None}
    assert first == {"id": 0, "at": None, "actor": f"import:{job['id']}", "source": "import", "field": "created",
                     "old": None, "new": None}  # fmt: skip
    assert items[0]["at"] == contact["created_at"]
    assert [item["field"] for item in items] == ["created", "name", "locale"]
    await database.pool.execute(
        "INSERT INTO import_jobs (tenant_id, state, rows_imported, started_at) "
        "SELECT tenant_id, 'running', 1, created_at FROM contacts"
    )
    assert (await done(await client.get(f"{path}/history"), 200))["items"][0]["actor"] == ""
    by_hand = await done(await client.post("/v1/contacts", json={"email": "c@d.example"}), 201)
    lines = (await done(await client.get(f"/v1/contacts/{by_hand['id']}/history"), 200))["items"]
    assert [(line["source"], line["field"]) for line in lines] == [("api", "created")]
    await database.pool.execute(
        "INSERT INTO contact_changes (tenant_id, contact_id, actor, source, field) "
        "SELECT tenant_id, id, 'x', 'api', 'many' FROM contacts, generate_series(1, $1)",
        KEPT_ROWS,
    )
    assert (await done(await client.get(f"{path}/history"), 200))["items"][0]["field"] == "name"


async def test_mode_unsubscribe_takes_people_off_a_list(client: Client, database: Database) -> None:
    """Members become unsubscribed with evidence; who is no contact is suppressed for that list, not added."""
    one, other = await a_list(client, "one"), await a_list(client, "other")
    for target in (one, other):
        await imported(client, database, "email\na@b.example\nc@d.example\n", list_id=target)
    job = await imported(client, database, "email\nA@B.example\nz@z.example\n", mode="unsubscribe", list_id=one)
    assert (job["rows_unsubscribed"], job["rows_imported"]) == (2, 0)
    assert await states(database, one) == {"a@b.example": "unsubscribed", "c@d.example": "subscribed"}
    assert await states(database, other) == {"a@b.example": "subscribed", "c@d.example": "subscribed"}
    found = await database.pool.fetch("SELECT address_key, list_id, reason, source FROM suppressions ORDER BY 1")
    assert [tuple(row) for row in found] == [
        (key, one, "unsubscribe", f"import:{job['id']}") for key in ("a@b.example", "z@z.example")
    ]
    ledger = await database.pool.fetch("SELECT address_key, action, source FROM consents WHERE action = 'opt_out'")
    assert [tuple(row) for row in ledger] == [("a@b.example", "opt_out", f"import:{job['id']}")]
    again = await imported(client, database, "email\na@b.example\nc@d.example\n", list_id=one)
    assert (again["rows_imported"], again["rows_kept_unsubscribed"]) == (2, 1)
    assert (await states(database, one))["a@b.example"] == "unsubscribed"


async def test_mode_unsubscribe_without_a_list_is_for_every_mail(client: Client, database: Database) -> None:
    """On every list unsubscribed, and suppressed for all, whether they are contacts or not."""
    one, other = await a_list(client, "one"), await a_list(client, "other")
    for target in (one, other):
        await imported(client, database, "email\na@b.example\n", list_id=target)
    job = await imported(client, database, "email\na@b.example\nz@z.example\n", mode="unsubscribe")
    assert job["rows_unsubscribed"] == 2
    assert await states(database, one) == await states(database, other) == {"a@b.example": "unsubscribed"}
    found = await database.pool.fetch("SELECT address_key, reason FROM suppressions WHERE list_id = 0 ORDER BY 1")
    assert [tuple(row) for row in found] == [("a@b.example", "imported"), ("z@z.example", "imported")]
    assert set(await people(client)) == {"a@b.example"}


async def test_typed_values_stages_and_zones_are_checked_and_stored(client: Client, database: Database) -> None:
    """Defined attributes in their canonical form, stage and time zone in columns; wrong ones by column and reason."""
    await database.pool.execute(
        "INSERT INTO attribute_definitions (tenant_id, name, type, max_chars, max_items) SELECT id, a.name, a.type, 5, 3 "
        "FROM tenants CROSS JOIN (VALUES ('age','number'), ('vip','boolean'), ('born','date'), ('tags','list'), "
        "('code','string')) AS a(name, type) WHERE slug = 'acme'"
    )
    header = "email,age,vip,born,tags,code,stage,time_zone\n"
    content = (
        header
        + 'info@b.example,"1,234",はい,2026年4月1日,a;b,abc,won,Asia/Tokyo\n'
        + "a@mailinator.com,,,,,,,\n"
        + "c@d.example,old,,,,,,\n"
        + "d@d.example,,maybe,,,,,\n"
        + "e@d.example,,,1/4/2026,,,,\n"
        + "f@d.example,,,,,toolong,,\n"
        + "g@d.example,,,,,,,Mars/Olympus\n"
        + f"h@d.example,,,,,,{'x' * 101},\n"
    )
    job = await imported(client, database, content)
    assert await errors_of(client, job) == [
        (4, "age", "not_a_number"), (5, "vip", "not_a_boolean"), (6, "born", "not_a_date"), (7, "code", "too_long"),
        (8, "time_zone", "unknown_time_zone"), (9, "stage", "value_too_long"),
    ]  # fmt: skip
    rows = await database.pool.fetch("SELECT attributes, stage, time_zone, flags FROM contacts ORDER BY address_key")
    assert [tuple(row) for row in rows] == [
        ({}, "", "", ["disposable"]),
        ({"age": 1234, "vip": True, "born": "2026-04-01", "tags": ["a", "b"], "code": "abc"}, "won", "Asia/Tokyo",
         ["role"]),
    ]  # fmt: skip
    await database.pool.execute(
        "INSERT INTO contact_stages (tenant_id, name, position) SELECT id, 'won', 1 FROM tenants WHERE slug = 'acme'"
    )
    job = await imported(client, database, "email,stage\ninfo@b.example,\na@b.example,lost\nb@b.example,won\n")
    assert await errors_of(client, job) == [(3, "stage", "unknown_stage")]
    rows = await database.pool.fetch("SELECT stage FROM contacts WHERE address_key LIKE '%@b.example'")
    assert [row["stage"] for row in rows] == ["won", "won"]


@pytest.mark.parametrize("mode", ["upsert", "insert", "unsubscribe"])
async def test_erased_people_are_errors_and_nothing_of_them_is_kept(
    client: Client, database: Database, mode: str
) -> None:
    """A later file does not bring them back in any mode; not even the error repeats their address."""
    tenant_id = await database.pool.fetchval("SELECT id FROM tenants WHERE slug = 'acme'")
    async with database.pool.acquire() as connection:
        await erasing.remember(connection, tenant_id, ["gone@b.example"])
    job = await imported(client, database, "email\nGone@b.example\nc@d.example\n", mode=mode)
    assert (job["rows_erased"], await errors_of(client, job)) == (1, [(2, "", "erased")])
    for table in ("contacts", "suppressions", "import_errors"):
        assert not await database.pool.fetchval(f"SELECT count(*) FROM {table} t WHERE t::text ILIKE '%gone@%'"), table


async def test_consent_is_kept_with_each_person(client: Client, database: Database) -> None:
    """Basis, source, wording and moment of the import, or of the row's own column, are in the ledger."""
    target = await a_list(client)
    mapping = {"email": "email", "同意日": "consented_at"}
    content = "email,同意日\na@b.example,2026/4/1\nb@b.example,\nc@b.example,2999-01-01\nd@b.example,soon\n"
    job = await imported(client, database, content, list_id=target, mapping=json.dumps(mapping),
                         consent_wording="v2", **CONSENT)  # fmt: skip
    assert await errors_of(client, job) == [(4, "同意日", "date_in_the_future"), (5, "同意日", "not_a_datetime")]
    rows = await database.pool.fetch(
        "SELECT address_key, action, basis, source, wording, note, occurred_at FROM consents ORDER BY 1"
    )
    common = ("opt_in", "written", f"import:{job['id']}", "v2", "paper, fair of May")
    assert [tuple(row) for row in rows] == [
        ("a@b.example", *common, datetime(2026, 4, 1, tzinfo=UTC)),
        ("b@b.example", *common, datetime(2026, 5, 1, tzinfo=UTC)),
    ]
    assert await database.pool.fetchval("SELECT min(consent) FROM list_members") == "written"


async def test_consent_is_asked_for_before_the_file_is_read(client: Client, database: Database) -> None:
    """Where the policy requires it: refused with what to send; complete, or where nobody is subscribed, it is taken."""
    target = await a_list(client)
    await database.pool.execute(
        """UPDATE tenants SET settings = '{"consent_policy": "required"}' WHERE slug = 'acme'"""
    )
    read = []

    async def body() -> Any:
        read.append(1)
        yield b"email\na@b.example\n"

    async def post(**params: Any) -> Any:
        return await client.post("/v1/imports", content=body(), headers=CSV, params=params)

    answer = problem(await post(list_id=target), 422, "consent-required")
    assert [e["pointer"] for e in answer["errors"]] == [
        "query:consent_basis", "query:consent_source", "query:consented_at"
    ]  # fmt: skip
    without = {name: value for name, value in CONSENT.items() if name != "consented_at"}
    problem(await post(list_id=target, **without), 422, "consent-required")
    assert not read
    mapped = json.dumps({"email": "email", "on": "consented_at"})
    taken: list[dict[str, Any]] = [
        {"list_id": target, **CONSENT}, {"list_id": target, **without, "mapping": mapped}, {},
        {"list_id": target, "mode": "unsubscribe"},
    ]  # fmt: skip
    for params in taken:
        await done(await post(**params), 202)
    job = await done(await post(list_id=target, dry_run=True), 202)
    path = f"/v1/imports/{job['id']}/start"
    ahead = {"consent": {"basis": "written", "source": "fair", "at": "2999-01-01T00:00:00Z"}}
    answer = problem(await client.post(path, json=ahead), 422, "invalid-request")
    assert [error["pointer"] for error in answer["errors"]] == ["#/consent/at"]
    problem(await client.post(path, json={"list_id": target}), 422, "consent-required")
    consent = {"basis": "form", "source": "shop", "at": "2026-05-01T00:00:00Z"}
    await done(await client.post(path, json={"list_id": target, "consent": consent}), 202)


async def test_same_file_again_gives_the_same_contacts(client: Client, database: Database) -> None:
    """With its Idempotency-Key it is the same job; without, another one that changes nothing."""
    target = await a_list(client)
    content = b"email,name\na@b.example,A\nb@b.example,B\n"
    headers = {**CSV, "Idempotency-Key": "k1"}
    jobs = [
        (await done(await client.post(f"/v1/imports?list_id={target}", content=content, headers=headers), 202))["id"]
        for _ in range(2)
    ]
    assert jobs[0] == jobs[1]
    assert await run_next_import(database, "test")
    assert not await run_next_import(database, "test")
    sql = (
        "SELECT (SELECT array_agg((address_key, name, attributes)::text ORDER BY id) FROM contacts), "
        "(SELECT array_agg((contact_id, state)::text ORDER BY contact_id) FROM list_members), "
        "(SELECT count(*) FROM consents), (SELECT count(*) FROM contact_changes)"
    )
    before = await database.pool.fetchrow(sql)
    await imported(client, database, content.decode(), list_id=target)
    assert await database.pool.fetchrow(sql) == before
