"""The OpenAPI document and the reference page: complete, true, and without the internet."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import serialization  # noqa: F401 - loaded before the clock runs

from hayabin.database import ledger
from hayabin.database.engine import Database
from hayabin.domain.message import MessageState
from services.api.app import make_app
from services.api.examples import ANSWERS, REQUESTS
from services.api.imports.runner import run_next_import
from services.api.openapi import document_of
from services.api.problem_kinds import KINDS
from tests.integration.api.conftest import settings_of
from tests.integration.api.example_walks import (
    access,
    consent,
    contacts,
    erasure,
    governance,
    segments,
    sign_up,
    transfers,
)
from tests.integration.api.example_walks.walk import Walk
from tests.integration.api.rest import CSV, Client

PARTS = (contacts, transfers, consent, sign_up, segments, access, governance, erasure)
OPTIONAL = {"trace_id"}
FREE = ("attributes", "_reason", "overrides", "settings", "/detail")


async def reported_lane(database: Database) -> None:
    """A lane as a dispatcher reports it."""
    await database.pool.execute(
        "INSERT INTO lane_reports (pool, source_ip, lane, dispatcher, state, reason, waiting, connections, "
        "connection_limit, begun_per_s, limit_per_s, begun_today) "
        "VALUES ('main', '192.0.2.10', 'gmail', 'd', 'slowed', 'rule', 1, 2, 3, 4.5, 5.5, 6)"
    )


async def unknown_message(database: Database, message_id: int) -> None:
    """A message of whose only attempt nobody knows what came of it."""
    async with database.pool.acquire() as connection, connection.transaction():
        await ledger.claim(connection, [(message_id, 0)], "d")
        await ledger.move(connection, [message_id], MessageState.UNKNOWN, "dispatcher_lost")


def shape(value: Any) -> Any:
    """The members of an answer, without their values; of an array the first one's."""
    match value:
        case dict():
            return {name: shape(member) for name, member in sorted(value.items())}
        case list():
            return [shape(value[0])] if value else []
        case _:
            return None


def assert_same_shape(found: Any, wanted: Any, where: str) -> None:
    """Objects have the same members; free ones (attributes, reasons, settings) and empty arrays may differ."""
    match wanted:
        case dict() if found is not None and not where.endswith(FREE):
            assert sorted(found) == sorted(wanted), where
            for name, member in wanted.items():
                assert_same_shape(found[name], member, f"{where}/{name}")
        case list() if found and not where.endswith("timeline"):
            assert_same_shape(found[0], wanted[0], f"{where}[]")
        case str() if found is not None:
            assert isinstance(found, str), where
        case bool() | int() if found is not None:
            assert isinstance(found, type(wanted)), where


@dataclass(frozen=True, slots=True)
class Call:
    """An operation that is about to be asked for, with what fills its path."""

    name: str
    method: str
    path: str
    query: str
    ids: dict[str, Any]
    arguments: dict[str, Any]


async def test_every_example_is_true(client: Client, database: Database) -> None:
    """Every operation, done in an order that works with the documented requests, answers as documented."""
    await walk_all(client, database)


async def walk_all(
    client: Client,
    database: Database,
    also: Callable[[str, str, Any], Awaitable[None]] | None = None,
    before: Callable[[Call], Awaitable[None]] | None = None,
    compares: bool = True,
) -> None:
    """Do every operation once; after each call ``also`` with its method, its path and query, and its answer.

    ``before`` is called with what is about to be asked; ``compares``: hold the answers against the documented ones.
    """
    seen: set[str] = set()
    ids: dict[str, Any] = {"number": 1}
    document = document_of(make_app(settings_of("postgresql://x"), database))
    operations = {
        operation["operationId"]: (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }

    async def does(name: str, query: str = "", /, **more: Any) -> Any:
        method, path, operation = operations[name]
        body = REQUESTS.get(name)
        arguments: dict[str, Any] = {"json": {**body, **more} if isinstance(body, dict) else body} if body else {}
        if isinstance(body, str):
            arguments = {"content": body.encode(), "headers": CSV}
        if before is not None:
            await before(Call(name, method, path, query, dict(ids), arguments))
        answer = await client.request(method, path.format(**ids) + query, **arguments)
        success = sorted(int(status) for status in operation["responses"] if status != "default")
        assert answer.status_code in success or (name, answer.status_code) == ("upsertContact", 200), answer.text
        seen.add(name)
        if also is not None:
            await also(method, path.format(**ids) + query, answer)
        if ANSWERS[name] is None:
            assert answer.content == b""
            return None
        if isinstance(ANSWERS[name], str):
            assert answer.text.removeprefix("\ufeff").splitlines()[0] == ANSWERS[name].splitlines()[0]
            return None
        found = answer.json()
        if compares:
            assert_same_shape(found, ANSWERS[name], name)
        return found

    await does("getHealth")
    ids["contact_id"] = (await does("upsertContact"))["id"]
    ids["list_id"] = (await does("createList"))["id"]
    await does("addMembers", contact_ids=[ids["contact_id"]])
    for name in ("getContact", "listContacts", "changeContact", "getList", "listLists", "listMembers"):
        await does(name)
    ids["import_id"] = (await does("startImport", f"?list_id={ids['list_id']}"))["id"]
    await run_next_import(database, "test")
    for name in ("getImport", "listImports", "listImportErrors", "downloadImportErrors"):
        await does(name)
    template = await does("createTemplate")
    ids["template_id"] = template["id"]
    await does("addTemplateVersion")
    for name in ("getTemplate", "listTemplates", "getTemplateVersion"):
        await does(name)
    await does("publishTemplateVersion")
    await does("previewTemplateVersion")
    ids["domain_id"] = (await does("addDomain"))["id"]
    await does("getDomain")
    await does("listDomains")
    await does("verifyDomain", "?override=true")
    references = {"template_version_id": template["version"]["id"], "list_id": ids["list_id"]}
    ids["campaign_id"] = (await does("createCampaign", **references))["id"]
    for part in PARTS:
        await part.take(Walk(does, ids, database))
    for name in ("changeCampaign", "countAudience", "testCampaign", "scheduleCampaign", "unscheduleCampaign",
                 "launchCampaign", "getCampaign", "listCampaigns", "getCampaignStats", "pauseCampaign",
                 "resumeCampaign"):  # fmt: skip
        await does(name)
    ids["message_id"] = (await does("listCampaignMessages"))["items"][0]["id"]
    await does("getMessage")
    await unknown_message(database, ids["message_id"])
    for name, query in (("listMessages", "?state=unknown"), ("resolveMessage", ""), ("resolveUnknown", "")):
        await does(name, query)
    await does("cancelCampaign")
    await does("suppress")
    ids["email"] = REQUESTS["suppress"]["emails"][0]
    for name in ("getSuppression", "listSuppressions", "unsuppress", "removeMember", "deleteContact"):
        await does(name)
    await reported_lane(database)
    await does("listLanes")
    for name in ("suspendLanes", "listSuspensions", "resumeLanes"):
        await does(name)
    ids["suspension_id"] = (await does("suspendLanes"))["id"]
    await does("liftSuspension")
    ids["provider"] = "gmail"
    for name in ("overridePolicy", "getPolicy", "listPolicies", "resetPolicy", "createIpPool"):
        await does(name)
    ids |= {"pool": "second", "address": REQUESTS["addSourceIp"]["address"], "source_ip": "192.0.2.11"}
    for name in ("addSourceIp", "listIpPools", "removeSourceIp", "planWarmup", "listWarmups", "endWarmup"):
        await does(name)
    await does("removeIpPool", "?move_to=main")
    assert seen == set(operations) == set(ANSWERS)


async def test_document_and_pages_need_no_key_and_no_internet(client: Client) -> None:
    """Every operation has an id, a tag, a description and an example; the pages load nothing from elsewhere."""
    nobody = {"Authorization": ""}
    document = (await client.get("/openapi.json", headers=nobody)).json()
    operations = [o for path in document["paths"].values() for o in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations) > 40
    for operation in operations:
        assert operation["tags"]
        assert operation["description"]
        for content in operation.get("requestBody", {}).get("content", {}).values():
            assert "example" in content or "binary" in str(content), operation["operationId"]
        for status, response in operation["responses"].items():
            assert status in ("204", "default") or "example" in str(response), operation["operationId"]
        assert "application/problem+json" in operation["responses"]["default"]["content"]
    for path in ("/docs", "/problems/empty-audience"):
        page = await client.get(path, headers=nobody)
        assert page.status_code == 200
        assert "<script" not in page.text
        assert not re.search(r"(?:src|href)=['\"](?!/|#)", page.text)
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    page = await client.get("/docs", headers=nobody)
    assert all(operation["operationId"] in ANSWERS for operation in operations)
    assert all(path in page.text for path in document["paths"])
    assert all(kind in page.text for kind in KINDS)
    assert (await client.get("/problems/nothing")).status_code == 404
