"""Templates over REST: versions, publication, preview, and what cannot be compiled."""

from hayabin.database.engine import Database
from tests.integration.api.rest import MJML, Client, a_template, done, problem


async def test_unknown_tag_is_named_with_its_line(client: Client) -> None:
    """An unknown MJML tag is named with its line; nothing of the refused template is kept."""
    source = MJML.replace("<mj-text>", "\n<mj-txt>").replace("</mj-text>", "</mj-txt>")
    body = {"name": "broken", "kind": "mjml", "subject": "x", "source": source}
    found = problem(await client.post("/v1/templates", json=body), 422, "invalid-template")
    errors = [error for error in found["errors"] if "mj-txt" in error["message"]]
    assert [(error["pointer"], error["line"]) for error in errors] == [("#/source", 2)], found
    assert (await done(await client.get("/v1/templates"), 200))["items"] == []
    body = {"name": "broken", "kind": "text", "subject": "{{ name", "source": "x"}
    found = problem(await client.post("/v1/templates", json=body), 422, "invalid-template")
    assert found["errors"][0]["pointer"] == "#/subject"


async def test_preview_renders_or_names_the_missing_field(client: Client) -> None:
    """A preview shows subject, HTML and text; a missing value is named, or passed over where the policy says so."""
    template = await a_template(client)
    path = f"/v1/templates/{template['id']}/versions/1/preview"
    shown = await done(await client.post(path, json={"variables": {"name": "<田中>"}}), 200)
    assert shown["subject"] == "Hi <田中>"
    assert "&lt;田中&gt;" in shown["html"]
    assert "<田中> 様" in shown["text"]
    missing = problem(await client.post(path, json={"variables": {}}), 422, "merge-field-missing")
    assert missing["errors"][0]["pointer"] == "#/variables/name"
    await done(await client.post(path, json={"merge_policy": "fallback"}), 200)
    problem(await client.post(path, json={"merge_policy": "guess"}), 422, "invalid-request")


async def test_endless_and_monstrous_templates_are_stopped(client: Client) -> None:
    """A loop without an end and a text of 100 MB end in a problem, soon, and the API answers on."""
    sources = {
        "loop": "{% for a in range(10000) %}{% for b in range(10000) %}{{ a }}{% endfor %}{% endfor %}",
        "text": "{% for a in range(10000) %}" + "x" * 10_000 + "{% endfor %}",
    }
    for name, source in sources.items():
        template = await a_template(client, name, source, "text")
        answer = await client.post(
            f"/v1/templates/{template['id']}/versions/1/preview", json={"variables": {"name": "x"}}
        )
        problem(answer, 422, "render-limit-exceeded")
    await done(await client.get("/v1/templates"), 200)


async def test_line_end_in_a_value_never_reaches_a_header(client: Client) -> None:
    """CR and LF of a merge value do not come out of the subject."""
    template = await a_template(client)
    path = f"/v1/templates/{template['id']}/versions/1/preview"
    answer = await client.post(path, json={"variables": {"name": "x\r\nBcc: everybody@example.com"}})
    if answer.status_code == 200:
        assert not set("\r\n") & set(answer.json()["subject"])
    else:
        assert answer.status_code == 422


async def test_versions_are_numbered_and_published_ones_never_change(client: Client, database: Database) -> None:
    """A new version is a draft; publishing twice keeps the first time; the source can be read again."""
    template = await a_template(client)
    path = f"/v1/templates/{template['id']}"
    source = {"kind": "html", "subject": "二", "source": '<p>{{ company }} <a href="https://a.example/">x</a></p>'}
    second = await done(await client.post(f"{path}/versions", json=source), 201)
    assert (second["number"], second["published_at"]) == (2, None)
    assert (second["fields"], second["links"]) == (["company"], ["https://a.example/"])
    first = await done(await client.post(f"{path}/versions/2/publish"), 200)
    again = await done(await client.post(f"{path}/versions/2/publish"), 200)
    assert first["published_at"] == again["published_at"]
    shown = await done(await client.get(f"{path}/versions/2"), 200)
    assert {**second, **source, "text": None, "published_at": first["published_at"]} == shown
    assert [v["number"] for v in (await done(await client.get(path), 200))["versions"]] == [2, 1]
    problem(await client.post(f"{path}/versions/3/publish"), 404, "not-found")
    problem(await client.get(f"{path}/versions/3"), 404, "not-found")
    same = {"name": "t", **source}
    problem(await client.post("/v1/templates", json=same), 409, "name-taken")
    assert await database.pool.fetchval("SELECT count(*) FROM template_versions") == 2
