"""Warm-ups over REST: planned, looked at, ended."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hayabin.database.engine import Database
from tests.integration.api.conftest import MakeClient
from tests.integration.api.rest import Client, done, problem

PLAN: dict[str, Any] = {"start_per_day": 50, "growth": 1.5, "end_per_day": 200}
PATH = "/v1/warmups/192.0.2.10/gmail"


def day(offset: int) -> str:
    """A day from today on (UTC)."""
    return str(datetime.now(UTC).date() + timedelta(days=offset))


async def used(database: Database, lane: str, granted: int, offset: int = 0) -> None:
    """What a lane was granted on a day."""
    await database.pool.execute(
        "INSERT INTO lane_usage (source_ip, lane, day, granted) VALUES ('192.0.2.10', $1, $2::text::date, $3)",
        lane, day(offset), granted,
    )  # fmt: skip


async def test_warmup_shows_its_day_its_cap_and_what_was_used(client: Client, database: Database) -> None:
    """Begins today unless told; the cap is the day's, null once the plan is over, 0 before it starts."""
    await used(database, "gmail", 12)
    await used(database, "gmail", 49, -1)
    plan = await done(await client.put(PATH, json=PLAN), 200)
    assert (plan["started_on"], plan["day"], plan["days"], plan["cap_today"]) == (day(0), 0, 4, 50)
    assert (plan["used_today"], plan["finished"]) == (12, False)
    for offset, cap, finished in ((-3, 168, False), (-4, None, True), (3, 0, False)):
        plan = await done(await client.put(PATH, json={**PLAN, "started_on": day(offset)}), 200)
        assert (plan["day"], plan["cap_today"], plan["finished"]) == (-offset, cap, finished)
    assert len((await done(await client.get("/v1/warmups"), 200))["items"]) == 1
    await done(await client.delete(PATH), 204)
    problem(await client.delete(PATH), 404, "not-found")


async def test_warmup_of_all_providers_counts_the_one_that_used_most(client: Client, database: Database) -> None:
    """`*` is for each lane without a plan of its own; `other` has all other destinations together."""
    for lane, granted in (("gmail", 500), ("yahoo", 30), ("other", 40), ("mx:mx.example", 900)):
        await used(database, lane, granted)
    for provider in ("gmail", "*", "other"):
        await done(await client.put(f"/v1/warmups/192.0.2.10/{provider}", json=PLAN), 200)
    first = await done(await client.get("/v1/warmups?limit=2"), 200)
    rest = await done(await client.get(f"/v1/warmups?limit=2&cursor={first['next_cursor']}"), 200)
    shown = {item["provider"]: item["used_today"] for item in first["items"] + rest["items"]}
    assert shown == {"*": 30, "gmail": 500, "other": 40}


async def test_warmup_address_has_one_form(client: Client) -> None:
    """Two spellings of an address are one plan."""
    plan = await done(await client.put("/v1/warmups/2001:DB8:0::1/yahoo", json=PLAN), 200)
    assert plan["source_ip"] == "2001:db8::1"
    await done(await client.delete("/v1/warmups/2001:db8::1/yahoo"), 204)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"start_per_day": 0}, "#/start_per_day"), ({"end_per_day": 50}, "#/end_per_day"), ({"growth": 1}, "#/growth"),
        ({"growth": 10.5}, "#/growth"), ({"growth": 1.0001}, "#/growth"), ({"growth": "2"}, "#/growth"),
        ({"start_per_day": True}, "#/start_per_day"), ({"end_per_day": 2**70}, "#/end_per_day"),
        ({"started_on": "tomorrow"}, "#/started_on"), ({"started_on": "9999-01-01"}, "#/started_on"),
    ],
)  # fmt: skip
async def test_warmup_without_sense_is_refused(
    client: Client, database: Database, change: dict[str, Any], pointer: str
) -> None:
    """The member that is wrong is named; nothing is stored."""
    found = problem(await client.put(PATH, json={**PLAN, **change}), 422, "invalid-request")
    assert found["errors"][0]["pointer"] == pointer
    assert await database.pool.fetchval("SELECT count(*) FROM warmups") == 0


async def test_warmup_is_for_known_providers_and_for_the_operator(make_client: MakeClient, client: Client) -> None:
    """Another provider or no address is not there; who may look at campaigns may look."""
    problem(await client.put("/v1/warmups/192.0.2.10/gmial", json=PLAN), 404, "not-found")
    problem(await client.put("/v1/warmups/192.0.2/gmail", json=PLAN), 422, "invalid-request")
    reader = await make_client("acme", "campaigns:read")
    await done(await reader.get("/v1/warmups"), 200)
    problem(await reader.put(PATH, json=PLAN), 403, "missing-scope")
    problem(await reader.delete(PATH), 403, "missing-scope")
