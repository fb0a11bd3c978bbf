"""Sign-up forms over REST: made, changed by versions, embedded, closed."""

from typing import Any

import pytest

from hayabin.database.engine import Database
from services.api.sign_up_examples import SIGN_UP_REQUESTS
from tests.integration.api.conftest import MakeClient
from tests.integration.api.rest import Client, a_template, done, problem

FORM: dict[str, Any] = {**SIGN_UP_REQUESTS["createForm"], "allow_unverified_domain": True}


@pytest.fixture
async def list_id(client: Client) -> int:
    """A list, and a domain to send from."""
    await done(await client.post("/v1/domains", json={"name": "mail.example.jp"}), 201)
    made = await done(await client.post("/v1/lists", json={"name": "news"}), 201)
    return int(made["id"])


async def test_form_gets_a_version_with_each_change_that_people_see(client: Client, list_id: int) -> None:
    """Wording, fields and lists grow the version, all of which are kept; limits and sender do not; deleted is gone."""
    form = await done(await client.post("/v1/forms", json={**FORM, "list_ids": [list_id]}), 201)
    path = f"/v1/forms/{form['id']}"
    assert (form["version"], len(form["public_id"])) == (1, 22)
    assert (await done(await client.patch(path, json={"per_ip_per_hour": 5}), 200))["version"] == 1
    wording = {"en": {"title": "News", "consent": "You agree."}}
    changed = await done(await client.patch(path, json={"wording": wording}), 200)
    assert (changed["version"], list(changed["wording"])) == (2, ["en"])
    assert (await done(await client.patch(path, json={"wording": changed["wording"]}), 200))["version"] == 2
    versions = (await done(await client.get(f"{path}/versions"), 200))["items"]
    assert [(version["number"], list(version["wording"])) for version in versions] == [(1, ["ja"]), (2, ["en"])]
    problem(await client.post("/v1/forms", json={**FORM, "list_ids": [list_id]}), 409, "name-taken")
    assert (await client.delete(path)).status_code == 204
    for answer in (await client.get(path), await client.delete(path), await client.patch(path, json={"pool": "main"})):
        problem(answer, 404, "not-found")
    assert len((await done(await client.get(f"{path}/versions"), 200))["items"]) == 2
    assert (await done(await client.get("/v1/forms"), 200))["items"] == []
    await done(await client.post("/v1/forms", json={**FORM, "list_ids": [list_id]}), 201)


async def test_embedded_form_needs_no_script_and_escapes_every_word(client: Client, list_id: int) -> None:
    """Plain HTML: labels, the address completed by browsers, the robots' field out of everybody's way, the version."""
    wording = {"ja": {"title": "t", "consent": '<同意> & "x"', "button": "<b>"}}
    fields = [{"name": "name", "label": {"ja": "<お名前>"}, "required": True}]
    body = {**FORM, "list_ids": [list_id], "wording": wording, "fields": fields}
    form = await done(await client.post("/v1/forms", json=body), 201)
    got = await done(await client.get(f"/v1/forms/{form['id']}/embed"), 200)
    html = got["html"]
    assert got["url"] in html
    assert html.startswith('<form method="post"')
    for part in (
        'autocomplete="email"', 'name="version" value="1"', 'tabindex="-1"', 'autocomplete="off"', 'aria-hidden="true"',
        "&lt;同意&gt; &amp; &quot;x&quot;", "&lt;b&gt;</button>", "&lt;お名前&gt;", 'autocomplete="name" required',
    ):  # fmt: skip
        assert part in html, part
    assert "<script" not in html
    assert html.count("<label") == html.count("<input") - 1
    problem(await client.get(f"/v1/forms/{form['id']}/embed?language=en"), 422, "invalid-request")


async def test_form_that_names_what_is_not_there_is_refused_with_pointers(
    client: Client, make_client: MakeClient, database: Database, list_id: int
) -> None:
    """Lists of others, unknown pools, drafts, templates without the link, foreign senders, unverified domains."""
    other = await make_client("other")
    foreign = (await done(await other.post("/v1/lists", json={"name": "theirs"}), 201))["id"]
    template = await a_template(client)
    await client.post("/v1/attributes", json={"name": "age", "type": "number"})
    wrong = {
        **FORM,
        "list_ids": [list_id, foreign],
        "pool": "none",
        "template_version_ids": {"ja": template["version"]["id"], "en": 999_999},
        "fields": [{"name": "email", "label": {"ja": "x"}}],
    }
    found = problem(await client.post("/v1/forms", json=wrong), 422, "invalid-request")
    assert sorted(error["pointer"] for error in found["errors"]) == [
        "#/fields/0/name", "#/list_ids/1", "#/pool", "#/template_version_ids/en", "#/template_version_ids/ja",
    ]  # fmt: skip
    good = {**FORM, "list_ids": [list_id]}
    problem(await client.post("/v1/forms", json={**good, "from_address": "a@x.example"}), 422, "foreign-domain")
    problem(await client.post("/v1/forms", json={**good, "allow_unverified_domain": False}), 409, "unverified-domain")
    several: tuple[dict[str, Any], ...] = (
        {"allowed_origins": ["https://a.example/path"]},
        {"wording": {}},
        {"list_ids": []},
        {"wording": {"fr": {}}},
    )
    for bad in several:
        problem(await client.post("/v1/forms", json={**good, **bad}), 422, "invalid-request")
    form = await done(await client.post("/v1/forms", json=good), 201)
    for path in (f"/v1/forms/{form['id']}", f"/v1/forms/{form['id']}/versions", f"/v1/forms/{form['id']}/embed"):
        problem(await other.get(path), 404, "not-found")
    reader = await make_client("acme", "contacts:read")
    problem(await reader.post("/v1/forms", json=good), 403, "missing-scope")


async def test_template_of_the_tenant_with_the_link_is_taken_for_the_mail(client: Client, list_id: int) -> None:
    """A published version that writes `{{ confirm_url }}` is accepted, and its preview shows where the link goes."""
    source = '<html><body><a href="{{ confirm_url }}">確認</a></body></html>'
    template = await a_template(client, "confirm", source, "html")
    form = {**FORM, "list_ids": [list_id], "template_version_ids": {"ja": template["version"]["id"]}}
    made = await done(await client.post("/v1/forms", json=form), 201)
    assert made["template_version_ids"] == {"ja": template["version"]["id"]}
    path = f"/v1/templates/{template['id']}/versions/1/preview"
    shown = await done(await client.post(path, json={"variables": {"name": "n"}}), 200)
    assert 'href="https://links.example/s/preview"' in shown["html"]
