"""Suppressions over REST: by address, domain and list, with an end, and for the whole platform."""

from typing import Any

from hayabin.database.engine import Database
from services.api.access import Scope
from tests.integration.api.conftest import MakeClient
from tests.integration.api.rest import Client, done, problem
from tests.integration.api.test_lists import a_list, contacts

PATH = "/v1/suppressions"
PLATFORM = "/v1/platform/suppressions"


async def emails(client: Client, query: str, path: str = PATH) -> list[str]:
    """What a filter finds."""
    return [row["email"] for row in (await done(await client.get(f"{path}?{query}"), 200))["items"]]


async def test_domains_are_suppressed_whole_and_found_by_their_addresses(client: Client) -> None:
    """A domain is kept in its one form; an address of it is found suppressed; each filter finds its own."""
    form = {"emails": ["a@b.example"], "domains": ["Ex.example", "@日本語.jp"], "reason": "imported"}
    assert await done(await client.post(PATH, json=form), 201) == {"added": 3, "known": 0}
    await done(await client.post(PATH, json={"emails": ["z@ex.example"]}), 201)
    found = await done(await client.get(f"{PATH}/x@ex.example"), 200)
    assert [(row["email"], row["scope"], row["reason"]) for row in found["suppressions"]] == [
        ("@ex.example", "tenant", "imported")
    ]
    assert len((await done(await client.get(f"{PATH}/z@ex.example"), 200))["suppressions"]) == 2
    problem(await client.get(f"{PATH}/x@sub.ex.example"), 404, "not-found")
    assert await emails(client, "reason=imported") == ["@ex.example", "@xn--wgv71a119e.jp", "a@b.example"]
    assert await emails(client, "domain=ex.example") == ["@ex.example", "z@ex.example"]
    assert await emails(client, "source=api&list_id=0&reason=manual") == ["z@ex.example"]
    await done(await client.delete(f"{PATH}/@ex.example"), 204)
    problem(await client.get(f"{PATH}/x@ex.example"), 404, "not-found")
    for wrong in ({}, {"domains": ["no domain"]}, {"domains": ["a@b.example"]}, {"emails": ["@ex.example"]}):
        assert (await client.post(PATH, json=wrong)).status_code == 422


async def test_end_of_a_suppression_is_set_moved_and_taken_away(client: Client) -> None:
    """An end lies ahead; null is for ever; a row that is not there is 404."""
    await done(await client.post(PATH, json={"emails": ["a@b.example"]}), 201)
    later = {"expires_at": "2099-01-01T00:00:00+09:00"}
    changed = await done(await client.patch(f"{PATH}/A@b.example", json=later), 200)
    assert changed["expires_at"].startswith("2098-12-31T15:00:00")
    assert await emails(client, "expires_before=2100-01-01T00:00:00Z") == ["a@b.example"]
    assert (await done(await client.patch(f"{PATH}/a@b.example", json={"expires_at": None}), 200))["expires_at"] is None
    assert await emails(client, "expires_before=2100-01-01T00:00:00Z") == []
    past = {"expires_at": "2020-01-01T00:00:00Z"}
    problem(await client.patch(f"{PATH}/a@b.example", json=past), 422, "invalid-request")
    problem(await client.patch(f"{PATH}/a@b.example?list_id=3", json=later), 404, "not-found")
    problem(await client.patch(f"{PATH}/b@b.example", json=later), 404, "not-found")


async def test_suppressing_again_never_makes_a_suppression_shorter(client: Client, database: Database) -> None:
    """A wish that stands for ever stays so; a pause that would end gives way, with its reason, to what lasts longer."""
    soon, later = "2098-01-01T00:00:00Z", "2099-01-01T00:00:00Z"
    await done(await client.post(PATH, json={"emails": ["a@b.example", "b@b.example"], "expires_at": soon}), 201)
    await database.pool.execute(
        "UPDATE suppressions SET reason = 'unsubscribe', expires_at = NULL WHERE address_key ^@ 'a'"
    )
    await database.pool.execute("UPDATE suppressions SET reason = 'paused' WHERE address_key ^@ 'b'")
    form = {"emails": ["a@b.example", "b@b.example"], "reason": "imported"}
    for end, kept in ((later, "2099-01-01"), (soon, "2099-01-01"), (None, "None")):
        assert await done(await client.post(PATH, json={**form, "expires_at": end}), 201) == {"added": 0, "known": 2}
        rows = (await done(await client.get(PATH), 200))["items"]
        assert [(row["reason"], str(row["expires_at"])[:10]) for row in rows] == [
            ("unsubscribe", "None"), ("imported", kept),
        ]  # fmt: skip


async def test_lifting_a_bounce_puts_subscriptions_back_and_lifting_a_complaint_does_not(
    client: Client, database: Database
) -> None:
    """A mailbox that works again gets its lists again; a complaint was a wish."""
    list_id, ids = await a_list(client), await contacts(client, 2)
    await done(await client.post(f"/v1/lists/{list_id}/members", json={"contact_ids": ids}), 200)
    for contact_id, state, reason in ((ids[0], "bounced", "hard_bounce"), (ids[1], "complained", "complaint")):
        await database.pool.execute("UPDATE list_members SET state = $2 WHERE contact_id = $1", contact_id, state)
        await database.pool.execute(
            "INSERT INTO suppressions (tenant_id, address_key, list_id, reason) "
            "SELECT tenant_id, address_key, 0, $2 FROM contacts WHERE id = $1",
            contact_id,
            reason,
        )
    for n in (0, 1):
        await done(await client.delete(f"{PATH}/u{n}@x.example"), 204)
    members = (await done(await client.get(f"/v1/lists/{list_id}/members"), 200))["items"]
    assert [member["state"] for member in members] == ["subscribed", "complained"]


async def test_platform_stops_an_address_for_every_tenant_who_see_that_and_cannot_change_it(
    client: Client, make_client: MakeClient
) -> None:
    """With platform:admin alone; tenants find it by address and domain, list only their own, and may not lift it."""
    form: dict[str, Any] = {"emails": ["spamtrap@t.example"], "domains": ["gone.example"], "reason": "complaint"}
    assert await done(await client.post(PLATFORM, json=form), 201) == {"added": 2, "known": 0}
    assert await emails(client, "", PLATFORM) == ["@gone.example", "spamtrap@t.example"]
    tenant = await make_client("other", *(scope for scope in Scope if scope is not Scope.PLATFORM_ADMIN))
    for address in ("spamtrap@t.example", "a@gone.example"):
        (row,) = (await done(await tenant.get(f"{PATH}/{address}"), 200))["suppressions"]
        assert (row["scope"], row["reason"], row["source"]) == ("platform", "complaint", "")
        problem(await tenant.delete(f"{PATH}/{address}"), 404, "not-found")
    assert await emails(tenant, "") == []
    problem(await tenant.get(PLATFORM), 403, "missing-scope")
    problem(await tenant.post(PLATFORM, json=form), 403, "missing-scope")
    soon = {"expires_at": "2099-01-01T00:00:00Z"}
    assert (await done(await client.patch(f"{PLATFORM}/@gone.example", json=soon), 200))["expires_at"]
    await done(await client.delete(f"{PLATFORM}/@gone.example"), 204)
    problem(await tenant.get(f"{PATH}/a@gone.example"), 404, "not-found")
    problem(await client.delete(f"{PLATFORM}/@gone.example"), 404, "not-found")


async def test_masked_pages_meet_and_their_cursor_tells_no_address(client: Client, make_client: MakeClient) -> None:
    """Who may not read addresses pages through all of them, and can read none out of the cursor."""
    await done(await client.post(PATH, json={"emails": [f"secret{n}@b.example" for n in range(5)]}), 201)
    masked = await make_client("acme", Scope.SUPPRESSIONS_READ.value)
    seen = 0
    cursor: str | None = ""
    while cursor is not None:
        answer = await done(await masked.get(f"{PATH}?limit=2{cursor}"), 200)
        assert {row["email"] for row in answer["items"]} == {"s•••@b.example"}
        seen += len(answer["items"])
        cursor = f"&cursor={answer['next_cursor']}" if answer["next_cursor"] else None
    assert seen == 5
    plain = (await done(await client.get(f"{PATH}?limit=2"), 200))["next_cursor"]
    problem(await masked.get(f"{PATH}?limit=2&cursor={plain}"), 422, "invalid-cursor")
    problem(
        await (await make_client("other", Scope.SUPPRESSIONS_READ.value)).get(f"{PATH}?cursor=abc"),
        422,
        "invalid-cursor",
    )
