"""What tests of the API say again and again: expect a status, expect a problem, make a campaign."""

from typing import Any

import httpx

from hayabin.database.engine import Database
from services.api.imports.runner import run_next_import

Client = httpx.AsyncClient
MJML = (
    "<mjml><mj-body><mj-section><mj-column><mj-text>{{ name }} 様</mj-text></mj-column></mj-section></mj-body></mjml>"
)
OVERRIDE = {"allow_unverified_domain": True}
CSV = {"Content-Type": "text/csv"}


async def done(answer: httpx.Response, status: int) -> Any:
    """The JSON of an answer that must have a status."""
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


def problem(answer: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    """The problem of an answer; every one has the members of RFC 9457 and a trace."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["type"] == f"/problems/{slug}", body
    assert body["status"] == status
    assert {"title", "detail", "instance"} <= body.keys()
    assert len(body["trace_id"]) == 32
    return body


async def a_template(client: Client, name: str = "t", source: str = MJML, kind: str = "mjml") -> dict[str, Any]:
    """A published template, with its version."""
    form = {"name": name, "kind": kind, "subject": "Hi {{ name }}", "source": source}
    template: dict[str, Any] = await done(await client.post("/v1/templates", json=form), 201)
    await done(await client.post(f"/v1/templates/{template['id']}/versions/1/publish"), 200)
    return template


async def a_campaign(client: Client, people: int = 3, **more: Any) -> dict[str, Any]:
    """A draft campaign with its list, template and domain, made over REST."""
    made = await done(await client.post("/v1/lists", json={"name": f"list{people}"}), 201)
    ids = [
        (await done(await client.post("/v1/contacts", json={"email": f"u{n}@x.example"}), 201))["id"]
        for n in range(people)
    ]
    if ids:
        await done(await client.post(f"/v1/lists/{made['id']}/members", json={"contact_ids": ids}), 200)
    template = await a_template(client, f"t{people}")
    domain = await client.post("/v1/domains", json={"name": "mail.example.jp"})
    assert domain.status_code in (201, 409)
    form = {
        "name": "c",
        "template_version_id": template["version"]["id"],
        "list_id": made["id"],
        "from_name": "早便",
        "from_address": "news@mail.example.jp",
        **more,
    }
    campaign: dict[str, Any] = await done(await client.post("/v1/campaigns", json=form), 201)
    return campaign


async def import_csv(client: Client, database: Database, content: bytes, list_id: int | None = None) -> dict[str, Any]:
    """Upload a file, run the job, return it."""
    target = f"?list_id={list_id}" if list_id else ""
    job = await done(await client.post(f"/v1/imports{target}", content=content, headers=CSV), 202)
    assert await run_next_import(database, "test")
    answer: dict[str, Any] = await done(await client.get(f"/v1/imports/{job['id']}"), 200)
    return answer
