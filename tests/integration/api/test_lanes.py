"""Lanes and suspensions over REST: what is reported, what is suspended, and what lifts it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hayabin.broker.topology import dispatch_queue
from hayabin.database.engine import Database
from tests.integration.api.conftest import MakeClient
from tests.integration.api.rest import Client, done, problem

V4, V6 = "192.0.2.10", "2001:db8::a"


async def report(database: Database, lane: str, **more: Any) -> None:
    """A row as a dispatcher writes it."""
    row = {
        "pool": "main", "source_ip": V4, "lane": lane, "dispatcher": "d0", "state": "open", "reason": "", "waiting": 3,
        "connections": 2, "connection_limit": 10, "begun_per_s": 1.5, "begun_today": 40, **more,
    }  # fmt: skip
    await database.pool.execute(
        f"INSERT INTO lane_reports ({', '.join(row)}) VALUES ({', '.join(f'${n}' for n in range(1, len(row) + 1))})",
        *row.values(),
    )


async def lanes(client: Client, query: str = "") -> list[dict[str, Any]]:
    """The lanes that answer a query."""
    return list((await done(await client.get(f"/v1/lanes{query}"), 200))["items"])


async def suspend(client: Client, **form: Any) -> dict[str, Any]:
    """Suspend something."""
    answer: dict[str, Any] = await done(await client.post("/v1/suspensions", json={"reason": "r", **form}), 201)
    return answer


async def test_lanes_reported_are_shown_with_their_belt_and_pages(client: Client, database: Database) -> None:
    """What dispatchers wrote is shown by pool, source IP and lane, with the depth of the lane's queue; in pages."""
    for lane in ("mx:mx.example.net", "gmail", "yahoo"):
        await report(database, lane)
    await report(database, "gmail", source_ip=V6, state="capped", cap_today=50)
    await database.pool.execute(
        "INSERT INTO belt_depths (queue, ready, seen_at) VALUES ($1, 7, now()), ($2, 8, now() - interval '5 min')",
        dispatch_queue("main", "gmail"),
        dispatch_queue("main", "yahoo"),
    )
    first = await done(await client.get("/v1/lanes?limit=3"), 200)
    rest = await done(await client.get(f"/v1/lanes?limit=3&cursor={first['next_cursor']}"), 200)
    shown = [(item["source_ip"], item["lane"], item["belt_ready"]) for item in first["items"] + rest["items"]]
    assert shown == [(V4, "gmail", 7), (V4, "mx:mx.example.net", None), (V4, "yahoo", None), (V6, "gmail", 7)]
    assert rest["next_cursor"] is None
    assert {item["state"] for item in await lanes(client)} == {"open", "capped"}
    assert [item["cap_today"] for item in await lanes(client, "?state=capped&pool=main")] == [50]
    assert len(await lanes(client, "?provider=mx:MX.example.net.")) == 1
    assert len(await lanes(client, "?source_ip=2001:DB8:0::A")) == 1
    assert await lanes(client, "?pool=none") == []
    for query in ("provider=gmial", "source_ip=x", "state=tired"):
        problem(await client.get(f"/v1/lanes?{query}"), 422, "invalid-request")


async def test_lane_not_reported_any_more_is_silent(client: Client, database: Database) -> None:
    """A report that is older than half a minute says nothing of now."""
    await report(database, "gmail", reported_at=datetime.now(UTC) - timedelta(seconds=31))
    await report(database, "yahoo", reported_at=datetime.now(UTC) - timedelta(seconds=20))
    assert [(item["lane"], item["state"]) for item in await lanes(client)] == [("gmail", "silent"), ("yahoo", "open")]
    assert [item["lane"] for item in await lanes(client, "?state=silent")] == ["gmail"]


async def test_suspension_is_seen_on_each_lane_that_it_covers(client: Client, database: Database) -> None:
    """Before any dispatcher says so: covered lanes are suspended with the reason and the end, the others are not."""
    for source_ip in (V4, V6):
        for lane in ("gmail", "yahoo"):
            await report(database, lane, source_ip=source_ip)
    until = datetime.now(UTC) + timedelta(hours=1)
    short = await suspend(client, provider="gmail", source_ip=V4, for_s=60)
    long = await suspend(client, provider="gmail", until=until.isoformat(), reason="postmaster")
    shown = {(item["source_ip"], item["lane"]): item for item in await lanes(client)}
    assert {place for place, item in shown.items() if item["state"] == "suspended"} == {(V4, "gmail"), (V6, "gmail")}
    one = shown[V4, "gmail"]  # the suspension that ends last
    assert (one["reason"], one["suspension_id"]) == ("postmaster", long["id"])
    assert datetime.fromisoformat(one["next_try_at"]) == until
    await done(await client.delete(f"/v1/suspensions/{long['id']}"), 204)
    shown = {(item["source_ip"], item["lane"]): item for item in await lanes(client)}
    assert (shown[V4, "gmail"]["suspension_id"], shown[V6, "gmail"]["state"]) == (short["id"], "open")


async def test_suspension_without_reported_lanes_stands_for_itself(client: Client, database: Database) -> None:
    """What no dispatcher has as a lane is shown with stars for what it does not name; its rules and ours as one."""
    await report(database, "gmail")
    await suspend(client, provider="docomo")
    await suspend(client, source_ip=V6)
    await database.pool.execute(
        "INSERT INTO suspensions (source_ip, origin, reason, until) VALUES ($1, 'rule', 's3150', now() + '1 hour')", V6
    )
    shown = [(item["pool"], item["source_ip"], item["lane"], item["state"]) for item in await lanes(client)]
    assert shown == [
        ("*", "*", "docomo", "suspended"), ("*", V6, "*", "suspended"), ("main", V4, "gmail", "open")]  # fmt: skip
    assert [item["lane"] for item in await lanes(client, f"?source_ip={V6}&pool=main&provider=docomo")] == [
        "docomo", "*"]  # fmt: skip
    assert (await lanes(client))[0]["connections"] is None


async def test_suspension_of_the_same_target_replaces_it(client: Client) -> None:
    """One target has one suspension of the operator, however it is spelled; the newest word counts."""
    first = await suspend(client, source_ip="2001:DB8:0:0::A", provider="mx:MX.Example.NET.", for_s=60)
    second = await suspend(client, source_ip=V6, provider="mx:mx.example.net", reason="again")
    assert (first["id"], second["until"], second["reason"]) == (second["id"], None, "again")
    assert (second["source_ip"], second["provider"]) == (V6, "mx:mx.example.net")
    listed = await done(await client.get("/v1/suspensions"), 200)
    assert [item["id"] for item in listed["items"]] == [first["id"]]
    await done(await client.delete(f"/v1/suspensions/{first['id']}"), 204)
    problem(await client.delete(f"/v1/suspensions/{first['id']}"), 404, "not-found")


async def test_suspension_that_ended_is_hidden_and_shown_on_demand(client: Client, database: Database) -> None:
    """What is over is no suspension, but may be looked at for a while."""
    await suspend(client, provider="gmail", for_s=1)
    await database.pool.execute("UPDATE suspensions SET until = now() - interval '1 s'")
    assert (await done(await client.get("/v1/suspensions"), 200))["items"] == []
    assert len((await done(await client.get("/v1/suspensions?expired=true"), 200))["items"]) == 1
    assert await lanes(client) == []
    assert await done(await client.post("/v1/lanes/resume", json={"provider": "gmail"}), 200) == {"lifted": []}


async def test_suspension_refusals_name_the_member(client: Client) -> None:
    """No target, unknown names, addresses that are none, times that contradict: each with its place; nothing stored."""
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    far = (datetime.now(UTC) + timedelta(days=400)).isoformat()
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "#"), ({"pool": "none"}, "#/pool"), ({"provider": "gmial"}, "#/provider"),
        ({"provider": "mx:"}, "#/provider"), ({"provider": "mx:a b"}, "#/provider"),
        ({"provider": "mx:gmail-smtp-in.l.google.com"}, "#/provider"), ({"source_ip": "192.0.2.256"}, "#/source_ip"),
        ({"source_ip": "192.0.2.0/24"}, "#/source_ip"), ({"source_ip": "::ffff:192.0.2.1"}, "#/source_ip"),
        ({"source_ip": "fe80::1%eth0"}, "#/source_ip"), ({"provider": "gmail", "for_s": 0}, "#/for_s"),
        ({"provider": "gmail", "until": past}, "#/until"), ({"provider": "gmail", "until": far}, "#/until"),
        ({"provider": "gmail", "for_s": 5, "until": far}, "#/until"), ({"provider": "gmail", "reason": ""}, "#/reason"),
    ]  # fmt: skip
    for form, pointer in cases:
        found = problem(await client.post("/v1/suspensions", json={"reason": "r", **form}), 422, "invalid-request")
        assert found["errors"][0]["pointer"] == pointer, form
    assert (await done(await client.get("/v1/suspensions?expired=true"), 200))["items"] == []


async def test_resume_lifts_the_target_and_its_parts_by_whomever(client: Client, database: Database) -> None:
    """The provider's own suspension and those of the provider from single IPs go; a whole IP's and others' stay."""
    await suspend(client, provider="gmail")
    await suspend(client, provider="gmail", source_ip=V4, pool="main")
    await suspend(client, provider="yahoo")
    await suspend(client, source_ip=V4)
    await database.pool.execute(
        "INSERT INTO suspensions (pool, source_ip, provider, origin, reason, until) "
        "VALUES ('main', $1, 'gmail', 'rule', 'gmail-4.7.28', now() + interval '1 hour')",
        V4,
    )
    lifted = (await done(await client.post("/v1/lanes/resume", json={"provider": "gmail"}), 200))["lifted"]
    assert [(row["provider"], row["source_ip"], row["origin"]) for row in lifted] == [
        ("gmail", None, "operator"), ("gmail", V4, "operator"), ("gmail", V4, "rule")]  # fmt: skip
    left = (await done(await client.get("/v1/suspensions"), 200))["items"]
    assert [(row["provider"], row["source_ip"]) for row in left] == [("yahoo", None), (None, V4)]
    assert await done(await client.post("/v1/lanes/resume", json={"provider": "gmail"}), 200) == {"lifted": []}
    found = problem(await client.post("/v1/lanes/resume", json={}), 422, "invalid-request")
    assert found["errors"][0]["pointer"] == "#"


async def test_lanes_are_for_readers_and_suspensions_for_the_operator(
    make_client: MakeClient, client: Client, database: Database
) -> None:
    """Who may look at campaigns may look at lanes; only platform:admin suspends and resumes."""
    reader = await make_client("acme", "campaigns:read")
    suspended = await suspend(client, provider="gmail")
    assert [item["state"] for item in await lanes(reader)] == ["suspended"]
    await done(await reader.get("/v1/suspensions"), 200)
    form = {"provider": "gmail", "reason": "x"}
    problem(await reader.post("/v1/suspensions", json=form), 403, "missing-scope")
    problem(await reader.delete(f"/v1/suspensions/{suspended['id']}"), 403, "missing-scope")
    problem(await reader.post("/v1/lanes/resume", json={"provider": "gmail"}), 403, "missing-scope")
    assert await database.pool.fetchval("SELECT count(*) FROM suspensions") == 1


async def test_suspension_with_an_idempotency_key_has_one_effect(client: Client, database: Database) -> None:
    """A replay does not suspend again what was resumed meanwhile."""
    headers = {"Idempotency-Key": "once"}
    form = {"provider": "gmail", "reason": "x"}
    first = await done(await client.post("/v1/suspensions", json=form, headers=headers), 201)
    await done(await client.delete(f"/v1/suspensions/{first['id']}"), 204)
    assert await done(await client.post("/v1/suspensions", json=form, headers=headers), 201) == first
    assert await database.pool.fetchval("SELECT count(*) FROM suspensions") == 0
