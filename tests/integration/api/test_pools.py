"""IP pools and source IPs over REST: added and removed at run time, with the campaigns that use them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hayabin.database.engine import Database
from tests.integration.api.conftest import MakeClient
from tests.integration.api.rest import OVERRIDE, Client, a_campaign, done, problem

ADDRESS = "192.0.2.10"
ADDED = {"address": ADDRESS, "ehlo_name": "mta1.example.jp"}


async def announced(database: Database, address: str = ADDRESS, pool: str = "main", ago_s: float = 1.0) -> None:
    """A source IP as the dispatcher that uses it announces it."""
    await database.pool.execute(
        "INSERT INTO pool_sources (pool, address, ehlo_name, dispatcher, seen_at) VALUES ($1, $2, 'mta.example', 'd0', $3) "
        "ON CONFLICT (pool, address) DO UPDATE SET seen_at = excluded.seen_at",
        pool, address, datetime.now(UTC) - timedelta(seconds=ago_s),
    )  # fmt: skip


async def sources(client: Client, pool: str = "main") -> list[tuple[str, str, str, str | None, str]]:
    """Address, origin, state, dispatcher and problem of each source IP of a pool."""
    pools = (await done(await client.get("/v1/ip-pools"), 200))["items"]
    found = next(item["sources"] for item in pools if item["name"] == pool)
    return [(s["address"], s["origin"], s["state"], s["dispatcher"], s["problem"]) for s in found]


async def test_source_ip_added_waits_until_a_dispatcher_takes_it(client: Client, database: Database) -> None:
    """Added: waiting; refused by a dispatcher: waiting with the reason; taken: active; its dispatcher gone: waiting."""
    added = await done(await client.post("/v1/ip-pools/main/source-ips", json=ADDED), 201)
    assert (added["state"], added["origin"], added["ehlo_name"]) == ("waiting", "api", "mta1.example.jp")
    await database.pool.execute("UPDATE source_ips SET problem = 'not an address of this machine'")
    assert await sources(client) == [(ADDRESS, "api", "waiting", None, "not an address of this machine")]
    await database.pool.execute("UPDATE source_ips SET owner = 'd0', owner_seen_at = now(), problem = ''")
    await announced(database)
    assert await sources(client) == [(ADDRESS, "api", "active", "d0", "")]
    again = await done(
        await client.post("/v1/ip-pools/main/source-ips", json={**ADDED, "ehlo_name": "M2.Example."}), 201
    )
    assert (again["ehlo_name"], again["dispatcher"]) == ("m2.example", "d0")  # whoever has it keeps it
    await database.pool.execute("UPDATE source_ips SET owner_seen_at = now() - interval '2 minutes'")
    await announced(database, ago_s=120)
    assert await sources(client) == [(ADDRESS, "api", "waiting", "d0", "")]


async def test_source_ip_removed_is_removed_also_where_a_setting_has_it(client: Client, database: Database) -> None:
    """The operator's word stands over the dispatcher's settings, until it is added again."""
    await announced(database)
    assert await sources(client) == [(ADDRESS, "settings", "active", "d0", "")]
    await done(await client.delete(f"/v1/ip-pools/main/source-ips/{ADDRESS}"), 204)
    assert await sources(client) == [(ADDRESS, "settings", "removed", "d0", "")]
    problem(await client.delete(f"/v1/ip-pools/main/source-ips/{ADDRESS}"), 404, "not-found")
    await done(await client.post("/v1/ip-pools/main/source-ips", json=ADDED), 201)
    assert [source[2] for source in await sources(client)] == ["active"]
    await done(await client.delete(f"/v1/ip-pools/main/source-ips/{ADDRESS}"), 204)
    (row,) = await database.pool.fetch("SELECT state, ehlo_name FROM source_ips")
    assert tuple(row) == ("removed", "mta1.example.jp")
    problem(await client.delete("/v1/ip-pools/main/source-ips/192.0.2.99"), 404, "not-found")


async def test_source_ip_is_active_in_one_pool_only(client: Client, database: Database) -> None:
    """Refused while another pool has it by the API or by a dispatcher's setting; free once it is removed there."""
    await done(await client.post("/v1/ip-pools", json={"name": "second"}), 201)
    await done(await client.post("/v1/ip-pools/second/source-ips", json=ADDED), 201)
    refused = problem(await client.post("/v1/ip-pools/main/source-ips", json=ADDED), 409, "address-in-use")
    assert "second" in refused["detail"]
    await done(await client.delete(f"/v1/ip-pools/second/source-ips/{ADDRESS}"), 204)
    await done(await client.post("/v1/ip-pools/main/source-ips", json=ADDED), 201)
    v6 = {"address": "2001:DB8::0:1", "ehlo_name": "mta.example"}
    await announced(database, "2001:db8::1")
    problem(await client.post("/v1/ip-pools/second/source-ips", json=v6), 409, "address-in-use")
    await announced(database, "2001:db8::1", ago_s=61)
    assert (await done(await client.post("/v1/ip-pools/second/source-ips", json=v6), 201))["address"] == "2001:db8::1"


async def test_source_ip_refusals_name_the_member(client: Client) -> None:
    """What mail cannot come from, and names that no server would accept in EHLO."""
    for address in ("", "x", "192.0.2.1/32", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "fe80::1%1"):
        answer = await client.post("/v1/ip-pools/main/source-ips", json={**ADDED, "address": address})
        assert problem(answer, 422, "invalid-request")["errors"][0]["pointer"] == "#/address", address
    for name in ("", "-a.example", "a..b", "a b", "日本.example", "x" * 64, "a." * 130 + "example", "[192.0.2.1]"):
        answer = await client.post("/v1/ip-pools/main/source-ips", json={**ADDED, "ehlo_name": name})
        assert problem(answer, 422, "invalid-request")["errors"][0]["pointer"] == "#/ehlo_name", name
    problem(await client.post("/v1/ip-pools/none/source-ips", json=ADDED), 404, "not-found")


async def test_pool_in_use_is_removed_only_with_a_place_for_its_campaigns(client: Client, database: Database) -> None:
    """409 without `move_to`; with it drafts and running campaigns go along, what is over stays as it was."""
    await done(await client.post("/v1/ip-pools", json={"name": "second"}), 201)
    draft = await a_campaign(client, pool="second")
    form = {name: draft[name] for name in (
        "name", "template_version_id", "list_id", "from_name", "from_address", "pool")}  # fmt: skip
    sending, over = [await done(await client.post("/v1/campaigns", json=form), 201) for _ in range(2)]
    for campaign in (sending, over):
        await done(await client.post(f"/v1/campaigns/{campaign['id']}/launch", json=OVERRIDE), 200)
    await done(await client.post(f"/v1/campaigns/{over['id']}/cancel"), 200)
    refused = problem(await client.delete("/v1/ip-pools/second"), 409, "pool-in-use")
    assert "2 campaigns" in refused["detail"]
    for wrong in ("second", "none", ""):
        problem(await client.delete(f"/v1/ip-pools/second?move_to={wrong}"), 422, "invalid-request")
    removed = await done(await client.delete("/v1/ip-pools/second?move_to=main"), 200)
    assert (removed["state"], removed["moved_campaigns"]) == ("removed", 2)
    pools = {row["id"]: row["pool"] for row in await database.pool.fetch("SELECT id, pool FROM campaigns")}
    assert pools == {draft["id"]: "main", sending["id"]: "main", over["id"]: "second"}
    problem(await client.delete("/v1/ip-pools/second"), 404, "not-found")


async def test_pool_removed_cannot_be_chosen_until_it_is_taken_back(client: Client, database: Database) -> None:
    """Nothing new goes there: no draft, no launch, no test send, no source IP; POST of its name takes it back."""
    await done(await client.post("/v1/ip-pools", json={"name": "second", "description": "a"}), 201)
    campaign = await a_campaign(client)
    path = f"/v1/campaigns/{campaign['id']}"
    assert (await done(await client.delete("/v1/ip-pools/second"), 200))["moved_campaigns"] == 0
    found = problem(await client.patch(path, json={"pool": "second"}), 422, "invalid-request")
    assert found["errors"][0]["pointer"] == "#/pool"
    problem(await client.post("/v1/ip-pools/second/source-ips", json=ADDED), 404, "not-found")
    problem(await client.delete("/v1/ip-pools/main?move_to=second"), 422, "invalid-request")
    await database.pool.execute("UPDATE campaigns SET pool = 'second'")  # as a held schedule may have it
    schedule = {"schedule_at": "2099-01-01T00:00:00Z", **OVERRIDE}
    for verb, form in (("launch", OVERRIDE), ("schedule", schedule), ("test", {"to": ["a@b.example"]})):
        problem(await client.post(f"{path}/{verb}", json=form), 409, "pool-removed")
    back = await done(await client.post("/v1/ip-pools", json={"name": "second", "description": "b"}), 201)
    assert (back["state"], back["description"]) == ("active", "b")
    await done(await client.post(f"{path}/launch", json=OVERRIDE), 200)


async def test_pools_are_changed_by_the_operator_alone(make_client: MakeClient, client: Client) -> None:
    """A team chooses pools; it does not make or remove them."""
    team = await make_client("acme", "campaigns:read", "campaigns:write")
    calls: list[tuple[str, str, Any]] = [
        ("DELETE", "/v1/ip-pools/main", None), ("POST", "/v1/ip-pools/main/source-ips", ADDED),
        ("DELETE", f"/v1/ip-pools/main/source-ips/{ADDRESS}", None),
    ]  # fmt: skip
    for method, path, form in calls:
        problem(await team.request(method, path, json=form), 403, "missing-scope")
    await done(await team.get("/v1/ip-pools"), 200)


async def test_spf_record_follows_the_source_ips(client: Client, database: Database) -> None:
    """What was added is in the record to publish, what was removed is not."""
    domain = await done(await client.post("/v1/domains", json={"name": "mail.example.jp"}), 201)
    await announced(database, "192.0.2.20")
    await announced(database, "192.0.2.21")
    await done(await client.post("/v1/ip-pools/main/source-ips", json=ADDED), 201)
    await done(await client.delete("/v1/ip-pools/main/source-ips/192.0.2.20"), 204)
    records = (await done(await client.get(f"/v1/domains/{domain['id']}"), 200))["dns_records"]
    spf = next(record["value"] for record in records if "v=spf1" in record["value"])
    assert ("192.0.2.10" in spf, "192.0.2.20" in spf, "192.0.2.21" in spf) == (True, False, True)
