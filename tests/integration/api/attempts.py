"""Campaigns of the tests over REST whose messages went through the gate."""

from typing import Any

from hayabin.database import ledger
from hayabin.database.engine import Database
from hayabin.database.ledger import Outcome
from hayabin.domain.message import MessageState
from services.api.scheduler import reconciler
from tests.integration.api.rest import OVERRIDE, Client, a_campaign, done


async def another(client: Client, campaign_id: int, people: int) -> dict[str, Any]:
    """A campaign like an earlier one, to a list of its own."""
    like = await done(await client.get(f"/v1/campaigns/{campaign_id}"), 200)
    made = await done(await client.post("/v1/lists", json={"name": f"list of {people} after {campaign_id}"}), 201)
    ids = [
        (await client.post("/v1/contacts", json={"email": f"u{n}@x.example"})).raise_for_status().json()["id"]
        for n in range(people)
    ]
    await done(await client.post(f"/v1/lists/{made['id']}/members", json={"contact_ids": ids}), 200)
    names = ("name", "template_version_id", "from_name", "from_address")
    form = {**{name: like[name] for name in names}, "list_id": made["id"]}
    campaign: dict[str, Any] = await done(await client.post("/v1/campaigns", json=form), 201)
    return campaign


async def launched(client: Client, database: Database, people: int = 3) -> tuple[int, list[int]]:
    """A launched campaign, and the ids of its messages."""
    earlier = await database.pool.fetchval("SELECT max(id) FROM campaigns")
    campaign = await another(client, earlier, people) if earlier else await a_campaign(client, people)
    await done(await client.post(f"/v1/campaigns/{campaign['id']}/launch", json=OVERRIDE), 200)
    rows = await database.pool.fetch("SELECT id FROM messages WHERE campaign_id = $1 ORDER BY id", campaign["id"])
    return campaign["id"], [row["id"] for row in rows]


async def attempt(database: Database, ids: list[int], state: MessageState, begun: int = 0) -> None:
    """Attempts through the gate, with their outcome; ``begun`` counts those before them."""
    async with database.pool.acquire() as connection, connection.transaction():
        claimed = await ledger.claim(connection, [(i, begun) for i in ids], "d1")
        assert sorted(claimed) == sorted(ids)
        await ledger.record(connection, [Outcome(i, begun + 1, state, reason="network") for i in ids])


async def with_unknown(client: Client, database: Database, people: int = 3) -> tuple[int, list[int]]:
    """A completed campaign of whose messages all but the first are unknown."""
    campaign_id, ids = await launched(client, database, people)
    await attempt(database, ids[:1], MessageState.ACCEPTED)
    await attempt(database, ids[1:], MessageState.UNKNOWN)
    assert await reconciler.complete_campaigns(database.pool) == 1
    return campaign_id, ids
