"""Messages over REST: listed by state and campaign, in pages."""

from typing import Any

import pytest

from hayabin.database import counters
from hayabin.database.engine import Database
from hayabin.domain.message import MessageState
from services.api.routes import message_rows
from tests.integration.api.attempts import attempt, launched, with_unknown
from tests.integration.api.rest import Client, done, problem


async def all_pages(client: Client, path: str) -> tuple[list[Any], int]:
    """Every item, in the order of the pages, and how many pages there were."""
    items, pages, cursor = [], 0, ""
    while True:
        page = await done(await client.get(f"{path}{cursor}"), 200)
        items += page["items"]
        pages += 1
        if page["next_cursor"] is None:
            return items, pages
        cursor = f"&cursor={page['next_cursor']}"


@pytest.mark.parametrize("folded", [False, True])
async def test_unknown_messages_of_all_campaigns_come_in_pages(
    client: Client, database: Database, *, folded: bool
) -> None:
    """Each once, in order of campaign and id, with the documented members; counters count folded or not."""
    first, first_ids = await with_unknown(client, database, 4)
    second, second_ids = await with_unknown(client, database, 3)
    await launched(client, database, 2)
    if folded:
        async with database.pool.acquire() as connection:
            await counters.fold(connection)
    wanted = [*((first, i) for i in first_ids[1:]), *((second, i) for i in second_ids[1:])]
    for limit, pages in ((1, 5), (2, 3), (3, 2), (5, 1), (100, 1)):
        items, seen = await all_pages(client, f"/v1/messages?state=unknown&limit={limit}")
        assert [(item["campaign_id"], item["id"]) for item in items] == wanted
        assert seen == pages
    assert items[0] == {
        "id": first_ids[1], "campaign_id": first, "recipient": "u1@x.example", "state": "unknown", "attempts": 1,
        "reason": "network", "changed_at": items[0]["changed_at"],
    }  # fmt: skip
    items, _ = await all_pages(client, f"/v1/messages?state=unknown&campaign_id={second}&limit=1")
    assert [item["id"] for item in items] == second_ids[1:]
    items, _ = await all_pages(client, f"/v1/messages?campaign_id={second}&limit=2")
    assert [item["id"] for item in items] == second_ids


async def test_messages_that_are_open_are_found_without_counters_of_their_own(
    client: Client, database: Database
) -> None:
    """Open states have no counter: campaigns whose rows are open in another state are passed over, page by page."""
    for people in (1, 2):
        _, ids = await launched(client, database, people)
        await attempt(database, ids, MessageState.DEFERRED)
    _, due_ids = await launched(client, database, 3)
    items, _ = await all_pages(client, "/v1/messages?state=due&limit=1")
    assert [item["id"] for item in items] == due_ids
    items, _ = await all_pages(client, "/v1/messages?state=deferred&limit=1")
    assert len(items) == 3
    assert await all_pages(client, "/v1/messages?state=bounced&limit=1") == ([], 1)


async def test_page_that_took_long_ends_early_and_the_next_one_goes_on(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no time at all each page reads one campaign, and still everything comes once."""
    monkeypatch.setattr(message_rows, "READ_S", -1.0)
    wanted = [i for people in (2, 3) for i in (await with_unknown(client, database, people))[1][1:]]
    items, pages = await all_pages(client, "/v1/messages?state=unknown&limit=100")
    assert [item["id"] for item in items] == wanted
    assert pages == 2


async def test_list_without_state_or_campaign_and_bad_cursors_are_refused(client: Client) -> None:
    """A list of everything there is not; a cursor is ours or refused; a state is one of the ledger's."""
    body = problem(await client.get("/v1/messages"), 422, "invalid-request")
    assert body["errors"][0]["pointer"] == "query:state"
    problem(await client.get("/v1/messages?state=lost"), 422, "invalid-request")
    problem(await client.get("/v1/messages?campaign_id=0"), 422, "invalid-request")
    for cursor in ("nonsense", "azphIGI", "azotMSAy", "azoxIMK5"):  # k:a b, k:-1 2, k:1 ¹
        problem(await client.get(f"/v1/messages?state=unknown&cursor={cursor}"), 422, "invalid-cursor")
