"""Whatever comes in, what goes out is a problem that says what is wrong, and nothing is stored by halves."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from hayabin.database.engine import Database
from services.api.app import make_app
from tests.integration.api.conftest import a_key, client_of, settings_of
from tests.integration.api.rest import Client, done, problem
from tests.support.fault_proxy import fault_proxy_before

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def cases() -> list[tuple[str, Any, str]]:
    """A path, a body, and the place in it that is wrong."""
    contact = {"email": "a@b.example"}
    return [
        ("/v1/contacts", {"email": "no-at-sign"}, "#/email"),
        ("/v1/contacts", {"email": "a..b@example.com"}, "#/email"),
        ("/v1/contacts", {"email": "a@evil.example(b@example.com)"}, "#/email"),
        ("/v1/contacts", {"email": "a@b.example\r\nRCPT TO:<x@y.example>"}, "#/email"),
        ("/v1/contacts", {**contact, "surprise": 1}, "#/surprise"),
        ("/v1/contacts", {**contact, "a/b~c": 1}, "#/a~1b~0c"),
        ("/v1/contacts", {"email": 7}, "#/email"),
        ("/v1/contacts", {}, "#/email"),
        ("/v1/contacts", [contact], "#"),
        ("/v1/contacts", {**contact, "name": "x\r\nBcc: y"}, "#/name"),
        ("/v1/contacts", {**contact, "name": "\ud800"}, "#/name"),
        ("/v1/contacts", {**contact, "locale": "ja_JP"}, "#/locale"),
        ("/v1/contacts", {**contact, "attributes": {"a": "\x00"}}, "#/attributes"),
        ("/v1/contacts", {**contact, "attributes": {"a": ["\udfff"]}}, "#/attributes"),
        ("/v1/contacts", {**contact, "attributes": {"a": float("nan")}}, "#/attributes"),
        ("/v1/contacts", {**contact, "attributes": {"a": 2**63}}, "#/attributes"),
        ("/v1/contacts", {**contact, "attributes": {"a": json.loads("[" * 9 + "]" * 9)}}, "#/attributes"),
        ("/v1/contacts", {**contact, "attributes": {"_hb_link": 1}}, "#/attributes"),
        ("/v1/contacts", {**contact, "attributes": {str(n): n for n in range(101)}}, "#/attributes"),
        ("/v1/contacts", {**contact, "attributes": {"a": "x" * 20_001}}, "#/attributes"),
        ("/v1/lists", {"name": "x" * 201}, "#/name"),
        ("/v1/lists/1/members", {"contact_ids": [True]}, "#/contact_ids/0"),
        ("/v1/lists/1/members", {"contact_ids": [1.0]}, "#/contact_ids/0"),
        ("/v1/lists/1/members", {"contact_ids": ["1"]}, "#/contact_ids/0"),
        ("/v1/lists/1/members", {"contact_ids": [2**63]}, "#/contact_ids/0"),
        ("/v1/suppressions", {"emails": []}, "#/emails"),
        ("/v1/suppressions", {"emails": ["a@b.example"], "list_id": False}, "#/list_id"),
        ("/v1/suppressions", {"emails": ["a@b.example"], "list_id": 2**63}, "#/list_id"),
        ("/v1/campaigns/1/launch", {"allow_unverified_domain": 1}, "#/allow_unverified_domain"),
        ("/v1/campaigns/1/launch", {"allow_unverified_domain": "true"}, "#/allow_unverified_domain"),
        ("/v1/templates", {"name": "t", "kind": "mjml", "subject": "\ud800", "source": "x"}, "#/subject"),
        ("/v1/templates", {"name": "t", "kind": "text", "subject": "x", "source": "\x00"}, "#/source"),
        ("/v1/templates", {"name": "t", "kind": "odt", "subject": "x", "source": "x"}, "#/kind"),
        ("/v1/ip-pools", {"name": "Main Pool"}, "#/name"),
    ]  # fmt: skip


async def test_bad_members_are_422_with_their_place(client: Client, cases: list[tuple[str, Any, str]]) -> None:
    """What is wrong is named by its place in the body, whatever the kind of wrong."""
    for path, body, pointer in cases:
        answer = await client.post(path, content=json.dumps(body), headers=JSON)
        assert answer.status_code == 422, (path, body, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        assert pointer in [error["pointer"] for error in answer.json().get("errors", ())], (body, answer.text)


async def test_broken_requests_are_problems_too(client: Client) -> None:
    """Unknown address, wrong method, no JSON, too large, a foreign cursor: never a bare error page."""
    problem(await client.get("/v1/nothing"), 404, "not-found")
    problem(await client.get("/nothing"), 404, "not-found")
    problem(await client.delete("/v1/lists"), 405, "method-not-allowed")
    for broken in (b"{", b"", b"\xff", b"nul"):
        answer = await client.post("/v1/lists", content=broken, headers=JSON)
        assert answer.status_code in (400, 422), answer.text
        assert answer.headers["content-type"] == "application/problem+json"
    problem(await client.post("/v1/lists", content=b"[" * 100_000, headers=JSON), 400, "bad-request")
    problem(
        await client.post("/v1/lists", content=b"<x/>", headers={"Content-Type": "text/xml"}), 422, "invalid-request"
    )
    form = {"email": "a@b.example", "name": "x" * 3_000_000}
    problem(await client.post("/v1/contacts", json=form), 413, "too-large")

    async def endless() -> Any:
        while True:
            yield b" " * 100_000

    problem(await client.post("/v1/contacts", content=endless(), headers=JSON), 413, "too-large")
    for path in (
        "contacts?cursor=%00%ff",
        "contacts?cursor=azpy",
        "contacts?cursor=azo5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk",
    ):
        answer = await client.get(f"/v1/{path}")
        assert answer.status_code in (200, 422), answer.text
    problem(await client.get("/v1/contacts?cursor=azpy"), 422, "invalid-cursor")
    for wrong in ("99999999999999999999", "0", "-1", "x", "1.5", "%00"):
        answer = await client.get(f"/v1/contacts/{wrong}")
        assert answer.status_code in (404, 422), (wrong, answer.text)
    problem(await client.get("/v1/suppressions/%00@x.example"), 422, "invalid-address")
    problem(await client.delete("/v1/suppressions/a@b.example?list_id=99999999999999999999"), 422, "invalid-request")


async def test_database_away_is_503_and_comes_back(database: Database, database_url: str) -> None:
    """A cut connection in the middle of a request is our trouble, said as such; the next request finds a new one."""
    async with fault_proxy_before(database_url) as (url, proxy), Database(url, name="cut", size=2) as through:
        app = make_app(settings_of(url), through)
        async with client_of(app, await a_key(database, "acme")) as client:
            await done(await client.get("/v1/lists"), 200)
            await database.pool.execute("BEGIN; LOCK lists")  # not kept: the pool resets the connection
            async with database.pool.acquire() as blocker, blocker.transaction():
                await blocker.execute("LOCK lists")
                waiting = asyncio.create_task(client.post("/v1/lists", json={"name": "l"}))
                await asyncio.sleep(0.3)
                proxy.cut()
                answer = await waiting
            problem(answer, 503, "unavailable")
            assert answer.headers["Retry-After"]
            await done(await client.post("/v1/lists", json={"name": "l"}), 201)


async def test_database_that_refuses_connections_is_503(database: Database, database_url: str) -> None:
    """Nobody listens any more: every operation, health too, says 503 and when to come again."""
    async with fault_proxy_before(database_url) as (url, proxy), Database(url, name="cut", size=2) as through:
        proxy.retarget("127.0.0.1", 1)  # where nothing listens
        proxy.cut()
        app = make_app(settings_of(url), through)
        async with client_of(app, await a_key(database, "acme")) as client:
            for path in ("/v1/lists", "/v1/health", "/v1/campaigns/1/stats"):
                answer: httpx.Response = await client.get(path)
                problem(answer, 503, "unavailable")
                assert answer.headers["Retry-After"]
