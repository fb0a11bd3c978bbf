"""What adds to the sending is taken on only while it can be sent; all else always is."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI

from hayabin.database import installation
from hayabin.database.engine import Database
from hayabin.database.installation import HoldReason, Mark
from services.api.admission import BELT_PATIENCE_S, FRESH_S, Admission
from services.api.app import make_app
from tests.integration.api.conftest import a_key, client_of, settings_of
from tests.integration.api.rest import OVERRIDE, Client, a_campaign, done, problem


class _Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
async def app(database: Database, database_url: str) -> FastAPI:
    """An application whose admission has a clock to move and has read once, a scheduler having just pulsed."""
    app = make_app(settings_of(database_url, backlog_limit=4, outbox_limit=3), database)
    app.state.admission.clock = _Clock()
    await _beat(database)
    await app.state.admission.read(database.pool)
    return app


@pytest.fixture
async def client(app: FastAPI, database: Database) -> AsyncIterator[Client]:
    """A client of that application."""
    async with client_of(app, await a_key(database, "acme")) as client:
        yield client


async def _beat(database: Database, belt_problem: str = "") -> None:
    async with database.pool.acquire() as connection, connection.transaction():
        await installation.beat(connection, belt_problem=belt_problem, known=None)


def _admission(app: FastAPI) -> Admission:
    found: Admission = app.state.admission
    return found


async def _refused(client: Client, campaign: dict[str, Any], status: int, slug: str) -> str:
    """Launch and test are refused so, with Retry-After, and nothing is done; the detail of the launch's problem."""
    path = f"/v1/campaigns/{campaign['id']}"
    before = await done(await client.get("/v1/campaigns"), 200)
    launch = await client.post(f"{path}/launch", json=OVERRIDE)
    test = await client.post(f"{path}/test", json={"to": ["a@b.example"]})
    for answer in (launch, test):
        problem(answer, status, slug)
        assert int(answer.headers["Retry-After"]) > 0
    assert await done(await client.get("/v1/campaigns"), 200) == before
    return str(launch.json()["detail"])


async def _all_else_passes(client: Client, campaign: dict[str, Any]) -> None:
    """Reads, a schedule, its end and a suppression."""
    path = f"/v1/campaigns/{campaign['id']}"
    await done(await client.get(f"{path}/stats"), 200)
    when = {"schedule_at": "2099-01-01T00:00:00Z", **OVERRIDE}
    await done(await client.post(f"{path}/schedule", json=when), 200)
    await done(await client.post(f"{path}/unschedule"), 200)
    await done(await client.post("/v1/suppressions", json={"emails": ["gone@x.example"]}), 201)


async def test_launch_while_the_belt_is_away_is_refused_with_its_words(
    app: FastAPI, client: Client, database: Database
) -> None:
    """A moment without the belt refuses nobody; a longer one does and quotes the belt; nothing outlives its end."""
    campaign = await a_campaign(client)
    await _beat(database, "blocked: low on disk")
    await _admission(app).read(database.pool)
    await done(await client.post(f"/v1/campaigns/{campaign['id']}/test", json={"to": ["a@b.example"]}), 202)

    _admission(app).clock.now_s += BELT_PATIENCE_S + 1  # type: ignore[attr-defined]
    assert "blocked: low on disk" in await _refused(client, campaign, 503, "belt-unavailable")
    health = await done(await client.get("/v1/health"), 200)
    assert (health["status"], health["belt_problem"]) == ("degraded", "blocked: low on disk")
    await _all_else_passes(client, campaign)

    await _beat(database)  # nothing is read by anybody but the request itself
    await done(await client.post(f"/v1/campaigns/{campaign['id']}/launch", json=OVERRIDE), 200)


async def test_launch_while_held_is_refused_with_what_ends_it(app: FastAPI, client: Client, database: Database) -> None:
    """A hold names its reason and the command; pause and cancel pass; a release is seen at once."""
    campaign = await a_campaign(client)
    async with database.pool.acquire() as connection, connection.transaction():
        await installation.beat(connection, belt_problem="", known=Mark(1, 10**6))  # the belt has seen a later pulse
    await _admission(app).read(database.pool)
    detail = await _refused(client, campaign, 503, "installation-held")
    assert "earlier state" in detail
    assert "hayabin admin release" in detail
    health = await done(await client.get("/v1/health"), 200)
    assert (health["status"], health["held_reason"]) == ("degraded", HoldReason.DATABASE_RESTORED)
    await _all_else_passes(client, campaign)

    async with database.pool.acquire() as connection, connection.transaction():
        await installation.release(connection)
    path = f"/v1/campaigns/{campaign['id']}"
    await done(await client.post(f"{path}/launch", json=OVERRIDE), 200)
    async with database.pool.acquire() as connection, connection.transaction():
        await installation.hold(connection, HoldReason.BY_OPERATOR)
    assert (await done(await client.get(path), 200))["state"] == "paused"
    await _admission(app).read(database.pool)
    assert (await client.post(f"{path}/resume")).json()["type"] == "/problems/installation-held"
    await done(await client.post(f"{path}/cancel"), 200)


async def test_launch_without_a_scheduler_is_refused_until_one_pulses(
    app: FastAPI, client: Client, database: Database
) -> None:
    """Silence for a minute is a reason; the next pulse is the end of it."""
    campaign = await a_campaign(client)
    await database.pool.execute("UPDATE installation SET pulsed_at = now() - interval '61 seconds'")
    await _admission(app).read(database.pool)
    await _refused(client, campaign, 503, "scheduler-silent")
    assert (await done(await client.get("/v1/health"), 200))["pulse_age_s"] > 60
    await _all_else_passes(client, campaign)
    await _beat(database)
    await done(await client.post(f"/v1/campaigns/{campaign['id']}/launch", json=OVERRIDE), 200)


async def test_launch_over_a_bound_is_429_until_the_backlog_shrinks(
    app: FastAPI, client: Client, database: Database
) -> None:
    """The tenant's own backlog refuses its launches, not its tests and not another tenant's; the outbox refuses both."""
    big = await a_campaign(client, 5)
    form = {name: big[name] for name in ("template_version_id", "list_id", "from_name", "from_address")}
    small = await done(await client.post("/v1/campaigns", json={"name": "small", **form}), 201)
    path = f"/v1/campaigns/{small['id']}"
    await done(await client.post(f"/v1/campaigns/{big['id']}/launch", json=OVERRIDE), 200)
    await _admission(app).read(database.pool)
    answer = await client.post(f"{path}/launch", json=OVERRIDE)
    assert "5 mails" in problem(answer, 429, "backlog-full")["detail"]
    assert int(answer.headers["Retry-After"]) > 0
    await done(await client.post(f"{path}/test", json={"to": ["a@b.example"]}), 202)
    async with client_of(app, await a_key(database, "other")) as other:
        campaign = await a_campaign(other, 3)
        await done(await other.post(f"/v1/campaigns/{campaign['id']}/launch", json=OVERRIDE), 200)

    await database.pool.execute("INSERT INTO counters VALUES ($1, 'accepted', 3)", big["id"])
    await database.pool.execute("INSERT INTO outbox (exchange, routing_key, body) SELECT 'x', 'y', '' FROM "
                                "generate_series(1, 4)")  # fmt: skip
    await _admission(app).read(database.pool)
    problem(await client.post(f"{path}/launch", json=OVERRIDE), 429, "backlog-full")
    problem(await client.post(f"{path}/test", json={"to": ["a@b.example"]}), 429, "backlog-full")
    await database.pool.execute("DELETE FROM outbox")
    await done(await client.post(f"{path}/launch", json=OVERRIDE), 200)


async def test_replay_of_a_launch_is_answered_while_held(app: FastAPI, client: Client, database: Database) -> None:
    """What was done under a key is told again whatever holds now: the caller must be able to learn it."""
    campaign = await a_campaign(client)
    path, key = f"/v1/campaigns/{campaign['id']}/launch", {"Idempotency-Key": "k"}
    await done(await client.post(path, json=OVERRIDE, headers=key), 200)
    async with database.pool.acquire() as connection, connection.transaction():
        await installation.hold(connection, HoldReason.BY_OPERATOR)
    await _admission(app).read(database.pool)
    answer = await client.post(path, json=OVERRIDE, headers=key)
    assert (await done(answer, 200))["state"] == "sending"
    assert answer.headers["Idempotency-Replayed"] == "true"


async def test_health_is_read_again_when_it_is_old(app: FastAPI, client: Client, database: Database) -> None:
    """Fresh facts are shown from memory; older ones are asked for."""
    assert (await done(await client.get("/v1/health"), 200))["status"] == "ok"
    await database.pool.execute("INSERT INTO outbox (exchange, routing_key, body, created_at) VALUES "
                                "('x', 'y', '', now() - interval '100 seconds')")  # fmt: skip
    assert (await done(await client.get("/v1/health"), 200))["outbox_age_s"] == 0
    _admission(app).clock.now_s += FRESH_S + 0.1  # type: ignore[attr-defined]
    assert (await done(await client.get("/v1/health"), 200))["outbox_age_s"] >= 100
