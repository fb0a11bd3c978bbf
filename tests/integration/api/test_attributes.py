"""Typed attributes over REST: definitions, values held against them, and changes of a type."""

from typing import Any

from hayabin.database.engine import Database
from tests.integration.api.conftest import MakeClient
from tests.integration.api.rest import Client, done, problem


async def defined(client: Client, name: str, kind: str, **more: Any) -> dict[str, Any]:
    """An attribute."""
    form = {"name": name, "type": kind, **more}
    made: dict[str, Any] = await done(await client.post("/v1/attributes", json=form), 201)
    return made


async def attributes_of(client: Client, email: str, **attributes: Any) -> dict[str, Any]:
    """Enter a contact; its attributes as stored."""
    answer = await client.post("/v1/contacts", json={"email": email, "attributes": attributes})
    assert answer.status_code in (200, 201), answer.text
    stored: dict[str, Any] = answer.json()["attributes"]
    return stored


async def test_values_are_stored_in_the_form_of_their_definition(client: Client) -> None:
    """Text becomes what it stands for; what nobody defined stays as it came; null removes."""
    for name, kind in (
        ("age", "number"),
        ("member", "boolean"),
        ("born", "date"),
        ("seen", "datetime"),
        ("likes", "list"),
    ):
        await defined(client, name, kind)
    stored = await attributes_of(
        client, "a@x.example", age="１，２３４", member="はい", born="2026年11月24日", seen="2026-11-24T09:00:00+09:00",
        likes="a、b", free={"any": [1, "thing"]},
    )  # fmt: skip
    assert stored == {
        "age": 1234, "member": True, "born": "2026-11-24", "seen": "2026-11-24T00:00:00Z", "likes": ["a", "b"],
        "free": {"any": [1, "thing"]},
    }  # fmt: skip
    assert "age" not in await attributes_of(client, "a@x.example", age=None)


async def test_values_that_do_not_fit_are_named_each_with_its_place(client: Client) -> None:
    """422 with a pointer for every one of them, on upsert and on change; nothing is written."""
    await defined(client, "age", "number", minimum=0, maximum=150)
    await defined(client, "a~b", "string", max_chars=3)
    wrong = {"email": "a@x.example", "attributes": {"age": 151, "a~b": "four", "free": "x"}}
    found = problem(await client.post("/v1/contacts", json=wrong), 422, "invalid-attribute")
    assert [(error["pointer"], error["message"].split(":")[0]) for error in found["errors"]] == [
        ("#/attributes/age", "above_maximum"),
        ("#/attributes/a~0b", "too_long"),
    ]
    contact = await done(await client.post("/v1/contacts", json={"email": "a@x.example"}), 201)
    path = f"/v1/contacts/{contact['id']}"
    problem(await client.patch(path, json={"attributes": {"age": "abc"}}), 422, "invalid-attribute")
    assert (await done(await client.get(path), 200))["attributes"] == {}


async def test_type_changes_only_where_all_values_fit(client: Client, database: Database) -> None:
    """409 counts what does not fit, by reason; what fits takes the new form; a new definition is held to the same."""
    values = ["30", "４０", "abc", "x", {"deep": 1}]
    for number, value in enumerate(values):
        await attributes_of(client, f"u{number}@x.example", age=value)
    found = problem(
        await client.post("/v1/attributes", json={"name": "age", "type": "number"}), 409, "values-do-not-fit"
    )
    assert "3 of 5 contacts" in found["detail"]
    assert found["errors"] == [{"pointer": "#", "message": "not_a_number: 3 contacts"}]
    for number in (2, 3, 4):
        await attributes_of(client, f"u{number}@x.example", age="50")
    await defined(client, "age", "number")
    stored = "SELECT jsonb_agg(attributes -> 'age' ORDER BY address) FROM contacts"
    assert await database.pool.fetchval(stored) == [30, 40, 50, 50, 50]
    refused = problem(await client.patch("/v1/attributes/age", json={"maximum": 45}), 409, "values-do-not-fit")
    assert refused["errors"][0]["message"] == "above_maximum: 3 contacts"
    problem(await client.patch("/v1/attributes/age", json={"type": "string"}), 409, "values-do-not-fit")
    changed = await done(await client.patch("/v1/attributes/age", json={"minimum": 30, "label_ja": "年齢"}), 200)
    assert (changed["minimum"], changed["label_ja"], changed["type"]) == (30, "年齢", "number")
    assert (await done(await client.patch("/v1/attributes/age", json={"minimum": None}), 200))["minimum"] is None


async def test_another_type_takes_the_values_that_read_as_it(client: Client, database: Database) -> None:
    """A text of dates becomes dates; limits of the old type go."""
    await defined(client, "since", "string", allowed=["2026/1/4", "2026年1月5日"])
    await attributes_of(client, "a@x.example", since="2026/1/4")
    await attributes_of(client, "b@x.example", since="2026年1月5日")
    changed = await done(
        await client.patch("/v1/attributes/since", json={"type": "date", "minimum": "2026/01/01"}), 200
    )
    assert (changed["type"], changed["allowed"], changed["minimum"]) == ("date", [], "2026-01-01")
    stored = "SELECT jsonb_agg(attributes -> 'since' ORDER BY address) FROM contacts"
    assert await database.pool.fetchval(stored) == ["2026-01-04", "2026-01-05"]


async def test_definitions_are_listed_deleted_and_limited(client: Client, make_client: MakeClient) -> None:
    """A hundred at most; a name once; after deletion values stay as free ones; another tenant sees none of it."""
    for number in range(100):
        await defined(client, f"a{number:02}", "string")
    problem(await client.post("/v1/attributes", json={"name": "more", "type": "string"}), 409, "limit-reached")
    problem(await client.post("/v1/attributes", json={"name": "a00", "type": "string"}), 409, "name-taken")
    listed = await done(await client.get("/v1/attributes"), 200)
    assert [item["name"] for item in listed["items"]] == [f"a{number:02}" for number in range(100)]
    await attributes_of(client, "a@x.example", a00="x")
    await done(await client.delete("/v1/attributes/a00"), 204)
    problem(await client.get("/v1/attributes/a00"), 404, "not-found")
    problem(await client.delete("/v1/attributes/a00"), 404, "not-found")
    assert await attributes_of(client, "a@x.example", b=1) == {"a00": "x", "b": 1}
    other = await make_client("other")
    assert (await done(await other.get("/v1/attributes"), 200))["items"] == []
    for answer in (
        await other.get("/v1/attributes/a01"),
        await other.patch("/v1/attributes/a01", json={}),
        await other.delete("/v1/attributes/a01"),
    ):
        problem(answer, 404, "not-found")
    assert (await attributes_of(other, "a@x.example", a01=5)) == {"a01": 5}


SENSELESS: list[tuple[dict[str, Any], str]] = [
    ({"name": "email", "type": "string"}, "#/name"),
    ({"name": "a/b", "type": "string"}, "#/name"),
    ({"name": "_hbx", "type": "string"}, "#/name"),
    ({"name": " a", "type": "string"}, "#/name"),
    ({"name": "a", "type": "text"}, "#/type"),
    ({"name": "a", "type": "string", "minimum": 1}, "#/minimum"),
    ({"name": "a", "type": "number", "minimum": "x"}, "#/minimum"),
    ({"name": "a", "type": "number", "minimum": 2, "maximum": 1}, "#/maximum"),
    ({"name": "a", "type": "date", "maximum": "2026-02-30"}, "#/maximum"),
    ({"name": "a", "type": "number", "allowed": ["1"]}, "#/allowed"),
    ({"name": "a", "type": "string", "allowed": ["abc"], "max_chars": 2}, "#/allowed"),
    ({"name": "a", "type": "string", "max_chars": 10001}, "#/max_chars"),
    ({"name": "a", "type": "list", "max_items": 0}, "#/max_items"),
]


async def test_definition_that_makes_no_sense_is_refused_at_its_place(client: Client) -> None:
    """Names that something else has, and limits that the type does not know."""
    for form, pointer in SENSELESS:
        found = problem(await client.post("/v1/attributes", json=form), 422, "invalid-request")
        assert found["errors"][0]["pointer"] == pointer, form


async def test_japanese_names_work_in_paths(client: Client) -> None:
    """The name is in the address of the attribute, percent-encoded."""
    await defined(client, "会社 名", "string", label_ja="会社名", label_en="Company")
    found = await done(await client.get("/v1/attributes/会社 名"), 200)
    assert (found["name"], found["label_en"]) == ("会社 名", "Company")
    for wrong in ("%00", "x" * 101):
        assert (await client.get(f"/v1/attributes/{wrong}")).status_code in (404, 422)


async def test_any_number_is_the_same_after_it_was_stored(client: Client, database: Database) -> None:
    """The database writes numbers its own way: what comes back fits the definition, and is equal."""
    await defined(client, "n", "number")
    for number, value in enumerate((9.2e18, -9.2e18, 1e-300, 2**53 + 1, 0.1, -0.0, 123456.789, 1e15 + 0.5)):
        assert (await attributes_of(client, f"u{number}@x.example", n=value))["n"] == value
    assert await done(await client.patch("/v1/attributes/n", json={"maximum": 9.21e18}), 200)
