"""The renderer's worker on a real PostgreSQL and the embedded broker: chunks in, batches and failures out."""

import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hayabin.broker import Broker, Delivery, Outgoing, connect
from hayabin.broker.consumer import handle
from hayabin.broker.topology import PARKED_QUEUE, RENDER, dispatch_queue, render_queue
from hayabin.content.compile import compile_template
from hayabin.content.compiled import TemplateKind
from hayabin.contracts.codec import decode, encode
from hayabin.contracts.dispatch_pb2 import MailBatch
from hayabin.contracts.render_pb2 import RenderChunk
from hayabin.database.engine import Pool, open_pool
from hayabin.database.launch import launch
from hayabin.domain.lane import lanes
from hayabin.domain.token import TokenKey, TokenRing
from hayabin.domain.verp import read_return_path
from services.renderer.campaigns import Campaigns
from services.renderer.providers import KnownProviders
from services.renderer.worker import Names, Worker
from tests.support.seed import Seeded, seed_campaign
from tests.support.waiting import eventually

RING = TokenRing([TokenKey(1, bytes(32))], 1)
TEMPLATE = compile_template(TemplateKind.TEXT, "Hi {{ name }}", "You are {{ rank }}", None).to_json()
PEOPLE = ["a@gmail.com", "b@gmail.com", "c@docomo.ne.jp", "d@one.example", "e@two.example"]


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """Connections to a fresh database."""
    pool = await open_pool(database_url, name="test", size=4)
    yield pool
    await pool.close()


@pytest.fixture
async def broker(database_url: str, pool: Pool) -> AsyncIterator[Broker]:
    """The embedded broker with a renderer's worker on its queue."""
    async with connect(database_url, name="render") as broker:
        worker = Worker(
            pool=pool,
            broker=broker,
            campaigns=Campaigns(pool, bytes(32), 200_000),
            providers=KnownProviders(pool),
            ring=RING,
            names=Names("https://t.example", "bounce.example", 50),
        )
        await broker.consume(render_queue("bulk"), handle(worker.handle), prefetch=2)
        yield broker


async def launched(pool: Pool, policy: str, ranks: dict[str, str]) -> tuple[Seeded, RenderChunk]:
    """A launched campaign where only some people have the field `rank`, and its chunk."""
    async with pool.acquire() as connection, connection.transaction():
        seeded = await seed_campaign(connection, PEOPLE, compiled=TEMPLATE)
        for address, rank in ranks.items():
            await connection.execute("UPDATE contacts SET attributes = $2 WHERE address = $1", address, {"rank": rank})
        await connection.execute("UPDATE campaigns SET merge_policy = $1", policy)
        await launch(connection, seeded.campaign_id, tenant_id=seeded.tenant_id)
    body = await pool.fetchval("DELETE FROM outbox RETURNING body")
    return seeded, decode(RenderChunk, body)


async def batches(broker: Broker, count: int) -> list[MailBatch]:
    """Take batches of every lane until there are ``count`` mails."""
    taken: list[MailBatch] = []

    async def take(delivery: Delivery) -> None:
        taken.append(decode(MailBatch, delivery.body))
        await delivery.ack()

    subscriptions = [await broker.consume(dispatch_queue("main", lane), take, prefetch=10) for lane in lanes()]

    async def mails() -> int:
        return sum(len(batch.mails) for batch in taken)

    await eventually(mails, lambda n: n >= count)
    for subscription in subscriptions:
        await subscription.cancel()
    return taken


async def publish(broker: Broker, chunk: RenderChunk) -> None:
    """Put a chunk on the belt."""
    await broker.publish([Outgoing(RENDER, "bulk", encode(chunk))])


async def states(pool: Pool) -> dict[str, Any]:
    """State and reason by address."""
    rows = await pool.fetch("SELECT wire, state, reason FROM messages JOIN recipients ON message_id = id")
    return {row["wire"]: (row["state"], row["reason"]) for row in rows}


async def test_chunk_becomes_batches_by_lane_with_signed_return_paths(pool: Pool, broker: Broker) -> None:
    """Each recipient is in one batch of the lane of the domain; the return path names message and attempt."""
    seeded, chunk = await launched(pool, "fallback", dict.fromkeys(PEOPLE, "gold"))
    await publish(broker, chunk)
    found = await batches(broker, 5)
    by_lane: Counter[str] = Counter()
    for batch in found:
        by_lane[batch.lane] += len(batch.mails)
        assert (batch.campaign_id, batch.attempt, batch.pool) == (seeded.campaign_id, 0, "main")
        for mail in batch.mails:
            assert read_return_path(mail.return_path, RING) == (mail.message_id, 1)
    assert (by_lane["gmail"], by_lane["docomo"]) == (2, 1)
    assert by_lane.total() == 5


async def test_missing_field_fallback_sends_with_nothing_in_its_place(pool: Pool, broker: Broker) -> None:
    """Everybody gets a mail."""
    _, chunk = await launched(pool, "fallback", {"a@gmail.com": "gold"})
    await publish(broker, chunk)
    assert sum(len(batch.mails) for batch in await batches(broker, 5)) == 5


async def test_missing_field_skip_fails_those_recipients_alone(pool: Pool, broker: Broker) -> None:
    """Who lacks the field is failed with its name; the campaign goes on."""
    _, chunk = await launched(pool, "skip", {"a@gmail.com": "gold", "d@one.example": "x"})
    await publish(broker, chunk)
    found = await batches(broker, 2)
    assert {mail.recipient for batch in found for mail in batch.mails} == {"a@gmail.com", "d@one.example"}
    seen = await states(pool)
    assert seen["b@gmail.com"] == ("failed", "merge_field_missing:rank")
    assert seen["a@gmail.com"] == ("due", None)
    assert await pool.fetchval("SELECT state FROM campaigns") == "sending"


async def test_missing_field_block_pauses_the_campaign_and_names_the_field(pool: Pool, broker: Broker) -> None:
    """A person has to look: paused, with the reason."""
    _, chunk = await launched(pool, "block", {"a@gmail.com": "gold"})
    await publish(broker, chunk)
    await eventually(lambda: pool.fetchval("SELECT state FROM campaigns"), lambda state: state == "paused")
    assert await pool.fetchval("SELECT state_reason FROM campaigns") == "merge_field_missing:rank"


async def test_person_erased_while_the_chunk_waited_pauses_nothing(pool: Pool, broker: Broker) -> None:
    """Nothing is left of them to fill in: that is no field that somebody has to look for."""
    _, chunk = await launched(pool, "block", dict.fromkeys(PEOPLE, "gold"))
    erased = await pool.fetchval("UPDATE messages SET state = 'suppressed' WHERE id = ANY($1) AND address_key = $2 "
                                 "RETURNING id", list(chunk.message_ids), PEOPLE[0])  # fmt: skip
    await pool.execute("UPDATE recipients SET wire = '', name = '', variables = '{}' WHERE message_id = $1", erased)
    await pool.execute("UPDATE lists SET public_name = 'Spring'")
    await publish(broker, chunk)
    mails = [mail for batch in await batches(broker, 4) for mail in batch.mails]
    assert sorted(mail.recipient for mail in mails) == sorted(PEOPLE[1:])
    assert all(b"List-Id: Spring\r\n" in mail.content for mail in mails)  # what recipients read, not our own name
    assert await pool.fetchval("SELECT state FROM campaigns") == "sending"
    assert (await states(pool))[""] == ("suppressed", None)


async def test_chunk_of_an_unknown_campaign_or_version_is_parked(pool: Pool, broker: Broker) -> None:
    """Neither is retried for ever: both stand in the parked queue with their reasons."""
    _, chunk = await launched(pool, "fallback", {})
    unknown = RenderChunk()
    unknown.CopyFrom(chunk)
    unknown.campaign_id = 999_999
    await publish(broker, unknown)
    chunk.version = 2
    await broker.publish([Outgoing(RENDER, "bulk", chunk.SerializeToString())])
    await broker.publish([Outgoing(RENDER, "bulk", b"\xff\xff\xff")])
    await eventually(lambda: broker.depth([PARKED_QUEUE]), lambda depth: depth[PARKED_QUEUE] == 3)
    rows = await pool.fetch("SELECT headers FROM belt_messages WHERE queue = $1", PARKED_QUEUE)
    reasons = {row["headers"]["hayabin-reason"] for row in rows}
    assert reasons == {"unknown_campaign", "unknown_version", "undecodable"}


async def test_chunk_past_its_lease_is_dropped(pool: Pool, broker: Broker) -> None:
    """Its rows were fed again: rendering it would only make doubles for the gate to refuse."""
    _, chunk = await launched(pool, "fallback", {})
    chunk.lease_expires_ms = int(time.time() * 1000) - 1
    await publish(broker, chunk)
    await eventually(lambda: pool.fetchval("SELECT count(*) FROM belt_messages"), lambda n: n == 0)
