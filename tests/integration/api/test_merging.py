"""Duplicates: candidates, and one contact made of two."""

import asyncio
from typing import Any

from hayabin.database import duplicates, subscriptions
from hayabin.database.consent import Evidence
from hayabin.database.engine import Database
from hayabin.domain.consent import ConsentAction, ConsentBasis, SubscriptionState
from tests.integration.api.conftest import MakeClient
from tests.integration.api.rest import Client, done, problem
from tests.support.waiting import eventually

BY_API = Evidence(action=ConsentAction.OPT_IN, basis=ConsentBasis.API, source="test")


async def entered(client: Client, email: str, **more: Any) -> int:
    """The id of a new contact."""
    made: dict[str, Any] = await done(await client.post("/v1/contacts", json={"email": email, **more}), 201)
    return int(made["id"])


async def put(database: Database, list_id: int, contact_id: int, *states: SubscriptionState) -> None:
    """Bring a contact into a state on a list, by the code that moves subscriptions."""
    async with database.pool.acquire() as connection, connection.transaction():
        tenant_id = await connection.fetchval("SELECT tenant_id FROM lists WHERE id = $1", list_id)
        for state in states:
            await subscriptions.move(connection, tenant_id, list_id, [contact_id], state, BY_API)


async def test_merge_fills_what_lacks_and_keeps_the_address(client: Client, database: Database) -> None:
    """Own values count, missing ones are filled; the other is gone; history of both stays and says so."""
    kept = await entered(client, "taro@x.example", name="田中 太郎", attributes={"company": "A"})
    gone = await entered(client, "taro+2@x.example", name="T", stage="見積", attributes={"company": "B", "age": 3})
    await client.patch(f"/v1/contacts/{gone}", json={"name": "Taro"})
    merged = await done(await client.post(f"/v1/contacts/{kept}/merge", json={"from": gone}), 200)
    assert (merged["id"], merged["email"], merged["name"], merged["stage"]) == (
        kept,
        "taro@x.example",
        "田中 太郎",
        "見積",
    )
    assert merged["attributes"] == {"company": "A", "age": 3}
    problem(await client.get(f"/v1/contacts/{gone}"), 404, "not-found")
    items = (await done(await client.get(f"/v1/contacts/{kept}/history"), 200))["items"]
    assert [(item["source"], item["field"]) for item in items].count(("merge", "merged")) == 1
    assert ("name", "T", "Taro") in [(item["field"], item["old"], item["new"]) for item in items]
    (line,) = [item for item in items if item["field"] == "merged"]
    assert line["old"] == {"id": gone, "email": "taro+2@x.example"}
    notes = await database.pool.fetch(
        "SELECT contact_id, action, note FROM consents WHERE list_id = 0 ORDER BY contact_id"
    )
    assert [(row["contact_id"], row["action"]) for row in notes] == [(kept, "change"), (gone, "change")]


async def test_merge_can_prefer_the_other_ones_values(client: Client) -> None:
    """Where both have one, the other's counts; what it lacks stays."""
    kept = await entered(client, "a@x.example", name="old", stage="s", attributes={"company": "A", "x": 1})
    gone = await entered(client, "b@x.example", name="new", attributes={"company": "B"})
    body = {"from": gone, "prefer": "from"}
    merged = await done(await client.post(f"/v1/contacts/{kept}/merge", json=body), 200)
    assert (merged["email"], merged["name"], merged["stage"]) == ("a@x.example", "new", "s")
    assert merged["attributes"] == {"company": "B", "x": 1}


async def test_merge_gives_nobody_more_mail(client: Client, database: Database) -> None:
    """On each list the stricter state wins; only who was subscribed and waits for nothing goes on being so."""
    s = SubscriptionState
    kept = await entered(client, "a@x.example")
    gone = await entered(client, "b@x.example")
    cases = {
        "both, gone unsubscribed": ([s.SUBSCRIBED], [s.SUBSCRIBED, s.UNSUBSCRIBED], "unsubscribed"),
        "both, kept unsubscribed": ([s.SUBSCRIBED, s.UNSUBSCRIBED], [s.SUBSCRIBED], "unsubscribed"),
        "both, gone complained": ([s.SUBSCRIBED, s.UNSUBSCRIBED], [s.SUBSCRIBED, s.COMPLAINED], "complained"),
        "both, kept complained": ([s.SUBSCRIBED, s.COMPLAINED], [s.SUBSCRIBED, s.UNSUBSCRIBED], "complained"),
        "both, kept waits": ([s.PENDING], [s.SUBSCRIBED], "pending"),
        "both, gone waits": ([s.SUBSCRIBED], [s.PENDING], "subscribed"),
        "gone subscribed": ([], [s.SUBSCRIBED], "subscribed"),
        "gone waits": ([], [s.PENDING], "pending"),
        "gone unsubscribed": ([], [s.SUBSCRIBED, s.UNSUBSCRIBED], "unsubscribed"),
        "gone bounced": ([], [s.SUBSCRIBED, s.BOUNCED], "bounced"),
    }
    for name, (kept_states, gone_states, _) in cases.items():
        list_id = (await done(await client.post("/v1/lists", json={"name": name}), 201))["id"]
        await put(database, list_id, kept, *kept_states)
        await put(database, list_id, gone, *gone_states)
    await done(await client.post(f"/v1/contacts/{kept}/merge", json={"from": gone}), 200)
    rows = await database.pool.fetch(
        "SELECT l.name, m.contact_id, m.state FROM list_members m JOIN lists l ON l.id = m.list_id"
    )
    assert {row["contact_id"] for row in rows} == {kept}
    assert {row["name"]: row["state"] for row in rows} == {name: case[2] for name, case in cases.items()}


async def test_merge_keeps_suppressions_of_both_addresses(client: Client) -> None:
    """An address that must not be mailed stays so, whoever's it was."""
    kept = await entered(client, "a@x.example")
    gone = await entered(client, "b@x.example")
    await done(await client.post("/v1/suppressions", json={"emails": ["a@x.example", "b@x.example"]}), 201)
    await done(await client.post(f"/v1/contacts/{kept}/merge", json={"from": gone}), 200)
    for email in ("a@x.example", "b@x.example"):
        found = await done(await client.get(f"/v1/suppressions/{email}"), 200)
        assert len(found["suppressions"]) == 1


async def test_merge_beside_others_waits_and_sees_what_they_did(client: Client, database: Database) -> None:
    """Contacts are locked in the order of imports; who leaves a list in the very moment is off it afterwards too."""
    s = SubscriptionState
    kept = await entered(client, "b@x.example")
    gone = await entered(client, "a@x.example")
    list_id = (await done(await client.post("/v1/lists", json={"name": "l"}), 201))["id"]
    for contact_id in (kept, gone):
        await put(database, list_id, contact_id, s.SUBSCRIBED)
    first = "SELECT FROM contacts WHERE id = $1 FOR UPDATE NOWAIT"
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with database.pool.acquire() as leaves, leaves.transaction():
        tenant_id = await leaves.fetchval("SELECT tenant_id FROM lists")
        evidence = Evidence(action=ConsentAction.OPT_OUT, basis=ConsentBasis.UNSPECIFIED, source="test")
        await subscriptions.move(leaves, tenant_id, list_id, [gone], s.UNSUBSCRIBED, evidence)
        async with database.pool.acquire() as imports, imports.transaction():
            await imports.execute(first, gone)
            merge = asyncio.create_task(client.post(f"/v1/contacts/{kept}/merge", json={"from": gone}))
            await eventually(lambda: database.pool.fetchval(waiting), lambda n: n == 1, every_s=0.02)
            await imports.execute(first, kept)
        await eventually(lambda: database.pool.fetchval(waiting), lambda n: n == 1, every_s=0.02)
    await done(await merge, 200)
    assert await database.pool.fetchval("SELECT state FROM list_members WHERE contact_id = $1", kept) == "unsubscribed"


async def test_merge_of_what_is_not_there_changes_nothing(client: Client, make_client: MakeClient) -> None:
    """404 for another tenant's contact on either side, 422 for oneself."""
    own = await entered(client, "a@x.example")
    other = await make_client("other")
    foreign = await entered(other, "b@x.example")
    problem(await client.post(f"/v1/contacts/{own}/merge", json={"from": foreign}), 404, "not-found")
    problem(await client.post(f"/v1/contacts/{foreign}/merge", json={"from": own}), 404, "not-found")
    problem(await client.post(f"/v1/contacts/{own}/merge", json={"from": own}), 422, "same-contact")
    problem(await client.post(f"/v1/contacts/{own}/merge", json={"from": own, "prefer": "x"}), 422, "invalid-request")
    await done(await client.get(f"/v1/contacts/{own}"), 200)
    await done(await other.get(f"/v1/contacts/{foreign}"), 200)


async def test_duplicates_are_by_address_or_by_name_and_attribute(client: Client) -> None:
    """Plus-tags everywhere, dots at Gmail alone; the same name and telephone however spaced; pages meet."""
    emails = ["taro@x.example", "taro+a@x.example", "t.aro@x.example", "h.anako@gmail.com", "hanako+b@googlemail.com",
              "solo@x.example"]  # fmt: skip
    ids = {email: await entered(client, email) for email in emails}
    first = await done(await client.get("/v1/contacts/duplicates?limit=1"), 200)
    second = await done(await client.get(f"/v1/contacts/duplicates?limit=1&cursor={first['next_cursor']}"), 200)
    assert second["next_cursor"] is None
    groups = [[item["id"] for item in page["items"][0]["items"]] for page in (first, second)]
    assert groups == [
        [ids["h.anako@gmail.com"], ids["hanako+b@googlemail.com"]],
        [ids["taro@x.example"], ids["taro+a@x.example"]],
    ]
    assert first["items"][0]["contacts"] == 2
    one = await entered(client, "p1@x.example", name="ＴＡＮＡＫＡ 太郎", attributes={"phone": "03"})
    two = await entered(client, "p2@x.example", name="tanaka太郎", attributes={"phone": "03"})
    await entered(client, "p3@x.example", name="tanaka太郎", attributes={"phone": "04"})
    await entered(client, "p4@x.example", attributes={"phone": "03"})
    found = await done(await client.get("/v1/contacts/duplicates?by=attribute&attribute=phone"), 200)
    assert [[item["id"] for item in group["items"]] for group in found["items"]] == [[one, two]]
    for number in (1, 2):
        await entered(client, f"q{number}@x.example", name="佐藤 花子", attributes={"phone": "05"})
    query = "/v1/contacts/duplicates?by=attribute&attribute=phone&limit=1"
    first = await done(await client.get(query), 200)
    second = await done(await client.get(f"{query}&cursor={first['next_cursor']}"), 200)
    assert {page["items"][0]["items"][0]["name"] for page in (first, second)} == {"ＴＡＮＡＫＡ 太郎", "佐藤 花子"}
    assert second["next_cursor"] is None
    problem(await client.get(f"{query}&cursor=azp0YXJvQHguZXhhbXBsZQ"), 422, "invalid-cursor")  # of by=address
    for wrong in ("by=attribute", "attribute=phone", "by=attribute&attribute=%00", "by=x"):
        problem(await client.get(f"/v1/contacts/duplicates?{wrong}"), 422, "invalid-request")


async def test_duplicates_are_looked_for_by_an_index_and_so_many_at_a_time(client: Client, database: Database) -> None:
    """A page ends where enough was looked at, found or not, and the next goes on there, however long an address is."""
    domain = ".".join(letter * 55 for letter in "defg") + ".example"
    pair = [await entered(client, f"{local}@{domain}") for local in ("z", "z+1")]
    zz = [await entered(client, email) for email in ("zz@x.example", "zz+1@x.example")]
    await database.pool.execute(
        "INSERT INTO contacts (tenant_id, address, wire, address_key) SELECT tenant_id, a, a, a FROM contacts, "
        "LATERAL (SELECT 'a' || n || '+1@x.example' AS a FROM generate_series(1, $2) n) one WHERE id = $1",
        pair[0],
        duplicates.LOOKED_AT,
    )
    pages = [await done(await client.get("/v1/contacts/duplicates?limit=1"), 200)]
    while (cursor := pages[-1]["next_cursor"]) is not None:
        pages.append(await done(await client.get(f"/v1/contacts/duplicates?limit=1&cursor={cursor}"), 200))
    found = [[[item["id"] for item in group["items"]] for group in page["items"]] for page in pages]
    assert found == [[], [pair], [zz]]
    async with database.pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        keys = await connection.fetch(f"EXPLAIN {duplicates.KEYS_SQL}", 1, "")
        groups = await connection.fetch(f"EXPLAIN {duplicates.BY_MAILBOX_SQL}", 1, ["a@x.example"], 2, 20)
    assert "ix_contacts_tenant_id_mailbox" in str(keys)
    assert "ix_contacts_tenant_id_mailbox" in str(groups)


async def test_merge_keeps_the_later_of_what_was_opened_and_received(client: Client, database: Database) -> None:
    """Rules of segments about the last days see what either of them did."""
    kept, gone = await entered(client, "k@x.example"), await entered(client, "g@x.example")
    await database.pool.execute(
        "INSERT INTO contact_activity (tenant_id, contact_id, last_received_at, last_opened_at) "
        "SELECT c.tenant_id, c.id, g.received, g.opened FROM (VALUES ($1::bigint, '2026-11-01'::timestamptz, "
        "'2026-11-09'::timestamptz), ($2, '2026-11-05', NULL)) AS g(id, received, opened) JOIN contacts c USING (id)",
        kept,
        gone,
    )
    await done(await client.post(f"/v1/contacts/{kept}/merge", json={"from": gone}), 200)
    rows = await database.pool.fetch("SELECT contact_id, last_received_at, last_opened_at FROM contact_activity")
    assert [(row[0], row[1].day, row[2].day) for row in rows] == [(kept, 5, 9)]
