"""Every operation of the OpenAPI document, with requests that schemathesis makes up from it, to a real server.

Proves: no request is answered with an error of ours (5xx), and every answer has a status, a media type and a form that
the document has. Ids in paths are those of things that are there every other time, so that not everything ends at 404;
the key may do everything, and things are destroyed on the way. ``HAYABIN_SCHEMATHESIS_EXAMPLES`` says how many requests
each operation gets (``make schemathesis``: many).
"""

import asyncio
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
import requests
import uvicorn
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from schemathesis import Case, GenerationMode, openapi
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from hayabin.database.engine import Database
from services.api.app import make_app
from tests.integration.api.conftest import a_key, client_of, settings_of
from tests.integration.api.rest import CSV, Client, a_campaign, done
from tests.support.instances import free_port

EXAMPLES: Final = int(os.environ.get("HAYABIN_SCHEMATHESIS_EXAMPLES", "3"))
CHECKS: Final = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
NEEDS_THE_WORLD: Final = {"verifyDomain"}
"""Asks the DNS, which may be away: 503 is right then."""

NO_HTTP: Final = "Invalid HTTP request received."
"""What uvicorn says to bytes that are no HTTP; they do not reach us."""


async def _things(client: Client, database: Database) -> dict[str, Any]:
    """One of everything that a path may name."""
    campaign = await a_campaign(client)
    await done(await client.post("/v1/imports", content=b"email,name\na@b.example,A\n", headers=CSV), 202)
    await done(await client.post("/v1/people/erase", json={"email": "gone@x.example"}), 202)
    await done(await client.post("/v1/attributes", json={"name": "plan", "type": "string"}), 201)
    rules = {"field": "locale", "is": "equals", "value": "ja"}
    segment = await done(await client.post("/v1/segments", json={"name": "s", "rules": rules}), 201)
    await done(await client.post("/v1/exports", json={"what": "contacts"}), 202)
    await client.post("/v1/suppressions", json={"emails": ["s@x.example"]})
    await client.post(f"/v1/campaigns/{campaign['id']}/test", json={"to": ["t@x.example"]})
    return {
        "contact_id": 1, "list_id": 1, "template_id": 1, "domain_id": 1, "campaign_id": campaign["id"], "import_id": 1,
        "export_id": 1, "person_job_id": 1, "segment_id": segment["id"], "number": 1, "email": "s@x.example",
        "name": "plan", "pool": "main", "provider": "gmail", "message_id": 1, "form_id": 1, "user_id": 1, "key_id": 1,
    }  # fmt: skip


@contextmanager
def _served(database_url: str) -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """A server with a tenant that has one of everything: its address, a key, the document, the ids."""
    port, ready = free_port(), threading.Event()
    found: dict[str, Any] = {}
    server: list[uvicorn.Server] = []

    async def run() -> None:
        async with Database(database_url, name="test", size=10) as database:
            await database.pool.execute("INSERT INTO ip_pools (name) VALUES ('main')")
            app = make_app(settings_of(database_url, rate_per_s=0), database)
            found["key"] = await a_key(database, "acme")
            async with client_of(app, found["key"]) as client:
                found["ids"] = await _things(client, database)
                found["document"] = (await client.get("/openapi.json")).json()
            server.append(uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning", lifespan="off")))
            ready.set()
            await server[0].serve()

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="served")
    thread.start()
    try:
        assert ready.wait(60)
        yield f"http://127.0.0.1:{port}", found["key"], found["document"], found["ids"]
    finally:
        if server:
            server[0].should_exit = True
        thread.join(30)


def _attempt(operation: Any, mode: GenerationMode, once: Callable[[Case[Any]], None]) -> None:
    """Let one operation have its examples; the first that fails ends it."""

    @seed(20261129)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def attempt(case: Case[Any]) -> None:
        once(case)

    attempt()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_operation_answers_as_documented_whatever_is_sent(database_url: str) -> None:
    """No server error, no undocumented status, media type or form of an answer."""
    wrong: dict[str, str] = {}
    asked = 0
    with _served(database_url) as (url, key, document, ids), requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {key}"
        document["paths"] = {path: _without_uploads(methods) for path, methods in document["paths"].items()}
        schema = openapi.from_dict(document, config=SchemathesisConfig.from_dict({"base-url": url}))
        for result in schema.get_all_operations():
            operation = result.ok()  # type: ignore[union-attr] # raises for the other
            name = operation.definition.raw["operationId"]
            turn = 0

            def once(case: Case[Any]) -> None:
                nonlocal turn, asked
                turn, asked = turn + 1, asked + 1
                if turn % 2:
                    case.path_parameters.update({n: str(ids[n]) for n in case.path_parameters if n in ids})
                answer = case.call(session=session, timeout=60)
                if answer.status_code == 503 and name in NEEDS_THE_WORLD:  # noqa: B023 - used within the turn
                    return
                if answer.status_code == 400 and answer.text == NO_HTTP:
                    return
                case.validate_response(answer, checks=CHECKS)

            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                try:
                    _attempt(operation, mode, once)
                except FailureGroup as failures:
                    wrong[f"{name} ({mode.value})"] = "\n".join(str(failure) for failure in failures.exceptions)
                except BaseException as error:
                    if isinstance(error, (KeyboardInterrupt, pytest.fail.Exception)):
                        raise
                    if "Unsatisfiable" not in type(error).__name__ and "negative" not in str(error).lower():
                        wrong[f"{name} ({mode.value})"] = repr(error)
    assert asked > 100
    assert not wrong, json.dumps(wrong, indent=1, ensure_ascii=False)


def _without_uploads(methods: dict[str, Any]) -> dict[str, Any]:
    """Files are tested elsewhere: of an upload's kinds of body the plain text stays."""
    for operation in methods.values():
        content = operation.get("requestBody", {}).get("content", {})
        content.pop("multipart/form-data", None)
        if "text/csv" in content:
            content["text/plain"] = content.pop("text/csv")
    return methods
