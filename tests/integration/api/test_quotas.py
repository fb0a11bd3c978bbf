"""Quotas: what a launch takes, what is left, and when it begins anew."""

import asyncio
import time
from typing import Any

import httpx

from hayabin.database.audience import fill_next
from hayabin.database.engine import Database
from services.api.app import make_app
from services.api.quotas import settle
from services.api.scheduler.schedules import launch_scheduled
from tests.integration.api.conftest import MakeClient, settings_of
from tests.integration.api.rest import OVERRIDE, Client, a_campaign, done, import_csv, problem
from tests.integration.api.test_approvals import LATER, a_smaller, settings


async def _launch(client: Client, campaign: dict[str, Any], **form: Any) -> Any:
    return await client.post(f"/v1/campaigns/{campaign['id']}/launch", json={**OVERRIDE, **form})


async def _used(client: Client) -> tuple[int, int]:
    found = await done(await client.get("/v1/quotas"), 200)
    return found["day"]["used"], found["month"]["used"]


async def test_launch_over_a_quota_is_refused_with_its_reset(client: Client, database: Database) -> None:
    """429 with what is left, Retry-After and the moment; nothing was taken, and what fits still goes."""
    first = await a_campaign(client, people=3)
    second, third = [await a_smaller(client, first, n) for n in (2, 1)]
    await settings(client, quota_per_day=4)
    await done(await _launch(client, first), 200)
    answer = await _launch(client, second)
    body = problem(answer, 429, "quota-exceeded")
    assert (body["quota"], body["limit"], body["remaining"], body["wanted"]) == ("day", 4, 1, 2)
    assert body["reset_at"].endswith("T00:00:00+00:00")
    assert 0 < int(answer.headers["Retry-After"]) <= 86_400
    assert answer.headers["RateLimit-Limit"] == "4"
    assert answer.headers["RateLimit-Remaining"] == "1"
    problem(await _launch(client, second, undo_s=30), 429, "quota-exceeded")
    assert await _used(client) == (3, 3)
    await done(await _launch(client, third), 200)
    test = await client.post(f"/v1/campaigns/{second['id']}/test", json={"to": ["a@b.example"]})
    problem(test, 429, "quota-exceeded")
    shown = await done(await client.get("/v1/quotas"), 200)
    assert (shown["day"]["limit"], shown["day"]["remaining"], shown["month"]["limit"]) == (4, 0, None)
    await database.pool.execute("UPDATE quota_uses SET day = day - 1")
    assert (await _used(client))[0] == 0
    await done(await _launch(client, second), 200)


async def test_month_begins_anew_on_its_first_day(client: Client, database: Database) -> None:
    """What was sent on an earlier day counts for the month, what was sent in an earlier month does not."""
    await settings(client, quota_per_month=3)
    first = await a_campaign(client, people=3)
    second = await a_smaller(client, first, 2)
    await done(await _launch(client, first), 200)
    body = problem(await _launch(client, second), 429, "quota-exceeded")
    assert (body["quota"], body["reset_at"][7:]) == ("month", "-01T00:00:00+00:00")
    await database.pool.execute("UPDATE quota_uses SET day = date_trunc('month', now() AT TIME ZONE 'UTC')::date - 1")
    await done(await _launch(client, second), 200)
    assert await _used(client) == (2, 2)


async def test_launches_at_once_do_not_take_the_same_mails(client: Client, database: Database) -> None:
    """Of four campaigns of three people one fits into a quota of five."""
    campaigns = [await a_campaign(client, people=3)]
    form = {name: campaigns[0][name] for name in ("template_version_id", "list_id", "from_name", "from_address")}
    forms = [{"name": f"c{number}", **form} for number in range(3)]
    campaigns += [await done(await client.post("/v1/campaigns", json=one), 201) for one in forms]
    await settings(client, quota_per_day=5)
    answers = await asyncio.gather(*(_launch(client, campaign) for campaign in campaigns))
    assert sorted(answer.status_code for answer in answers) == [200, 429, 429, 429]
    assert await database.pool.fetchval("SELECT count(*) FROM messages") == 3


async def test_use_is_what_is_really_sent_once_the_audience_is_in_the_ledger(
    client: Client, database: Database
) -> None:
    """Without a quota nothing is counted at the launch; the scheduler puts the number in, suppressed ones left out."""
    made = await a_campaign(client, people=1)
    rows = "".join(f"p{n}@x.example\n" for n in range(1499)).encode()
    await import_csv(client, database, b"email\n" + rows, made["list_id"])
    await done(await client.post("/v1/suppressions", json={"emails": ["p7@x.example", "p1400@x.example"]}), 201)
    launched = await done(await _launch(client, made), 200)
    assert launched["filling"]
    assert await settle(database.pool) == 0
    assert 900 < (await _used(client))[0] <= 1000
    while await fill_next(database.pool):
        pass
    assert [await settle(database.pool), await settle(database.pool)] == [1, 0]
    assert await _used(client) == (1498, 1498)
    await done(await client.post(f"/v1/campaigns/{made['id']}/test", json={"to": ["a@b.example", "c@d.example"]}), 202)
    assert await _used(client) == (1500, 1500)


async def test_schedule_over_a_quota_is_held(client: Client, database: Database) -> None:
    """Nobody knows the day's quota when it is scheduled; when it is due it counts."""
    campaign = await a_campaign(client, people=3)
    await settings(client, quota_per_day=2)
    await done(await client.post(f"/v1/campaigns/{campaign['id']}/schedule", json=LATER), 200)
    await database.pool.execute("UPDATE campaigns SET schedule_at = now()")
    assert await launch_scheduled(database.pool) == 1
    found = await done(await client.get(f"/v1/campaigns/{campaign['id']}"), 200)
    assert (found["state"], found["state_reason"]) == ("failed", "quota_exceeded")
    assert await _used(client) == (0, 0)


async def test_requests_that_send_have_a_rate_of_the_tenant(client: Client, make_client: MakeClient) -> None:
    """It is the tenant's, over all its keys; reads and another tenant are free of it."""
    campaign = await a_campaign(client, people=1)
    await settings(client, quota_per_s=2)
    form = {"to": ["a@b.example"]}
    path = f"/v1/campaigns/{campaign['id']}"
    colleague = await make_client("acme")
    answers = [await who.post(f"{path}/test", json=form) for who in (client, colleague, client, colleague, client)]
    refused = [answer for answer in answers if answer.status_code != 202]
    assert len(refused) >= 2
    for answer in refused:
        assert problem(answer, 429, "quota-exceeded")["quota"] == "second"
        assert answer.headers["Retry-After"] == "1"
    await done(await client.get("/v1/quotas"), 200)


async def test_rate_is_one_for_all_api_processes(client: Client, database: Database, database_url: str) -> None:
    """Two processes let as many through as one; what is refused has no effect, and takes nothing of the rate."""
    campaign = await a_campaign(client, people=1)
    await settings(client, quota_per_s=1)
    path = f"/v1/campaigns/{campaign['id']}/test"
    async with Client(
        transport=httpx.ASGITransport(make_app(settings_of(database_url), database)),
        base_url="http://other.test",
        headers=client.headers,
    ) as other:
        started = time.monotonic()
        answers = await asyncio.gather(
            *(who.post(path, json={"to": ["a@b.example"]}) for who in (client, other, client, other))
        )
        within_s = time.monotonic() - started
        passed = sum(answer.status_code == 202 for answer in answers)
        assert 1 <= passed <= 1 + within_s
        for answer in answers:
            if answer.status_code != 202:
                assert problem(answer, 429, "quota-exceeded")["quota"] == "second"
                assert answer.headers["Retry-After"] == "1"
    assert await database.pool.fetchval("SELECT count(*) FROM campaigns WHERE kind = 'test'") == passed
    assert await database.pool.fetchval("SELECT used_until < clock_timestamp() + interval '1 s' FROM sending_rates")


async def test_quotas_are_the_own_tenants(client: Client, make_client: MakeClient) -> None:
    """What one sends takes nothing of another's."""
    campaign = await a_campaign(client, people=2)
    await done(await _launch(client, campaign), 200)
    assert await _used(client) == (2, 2)
    assert await _used(await make_client("stranger")) == (0, 0)
