"""A tracker in this process on real sockets, RabbitMQ and PostgreSQL, and a campaign whose mails were accepted."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aio_pika
import asyncpg
import httpx
import pytest
from prometheus_client import REGISTRY

from hayabin.broker.topology import PARKED_QUEUE, events_queue
from hayabin.database import ledger
from hayabin.database.counters import read_counters
from hayabin.database.engine import Pool, open_pool
from hayabin.database.launch import launch
from hayabin.database.ledger import Outcome
from hayabin.domain.message import MessageState
from hayabin.domain.token import TokenKey, TokenRing, UnsubscribeClaim
from hayabin.lifecycle import Process
from hayabin.settings import TOKEN_KEY_ID
from services.tracker.main import serve
from services.tracker.settings import TrackerSettings
from tests.support.instances import free_port
from tests.support.seed import COMPILED, Seeded, seed_campaign

SECRET = base64.b64encode(b"s" * 32).decode()
RING = TokenRing((TokenKey(TOKEN_KEY_ID, b"s" * 32),), active=TOKEN_KEY_ID)
PEOPLE = ["taro@example.jp", '"a..b"@docomo.ne.jp', "hanako@example.com", "jiro@example.com"]
STATIC, JAPANESE = "https://shop.example/a?b=1&c=2", "https://日本語.jp/春"
LINKS = [
    {"number": 0, "url": STATIC, "dynamic": False},
    {"number": 1, "url": "{{ shop_url }}", "dynamic": True},
    {"number": 2, "url": JAPANESE, "dynamic": False},
    {"number": 3, "url": "javascript:alert(1)", "dynamic": False},
]


@dataclass(slots=True)
class Ledger:
    """The launched campaign and what to ask about it."""

    pool: Pool
    seeded: Seeded
    ids: list[int]

    async def accept(self, ids: Sequence[int]) -> None:
        """Let the ledger know that mails were accepted, by the way that a dispatcher goes."""
        async with self.pool.acquire() as connection, connection.transaction():
            await ledger.claim(connection, [(i, 0) for i in ids], "d1")
            await ledger.record(connection, [Outcome(i, 1, MessageState.ACCEPTED) for i in ids])

    async def states(self) -> list[str]:
        """The states of all rows, in the order of ``ids``."""
        return [row["state"] for row in await self.pool.fetch("SELECT state FROM messages ORDER BY id")]

    async def counters(self) -> dict[str, int]:
        """The counters that are not zero."""
        async with self.pool.acquire() as connection:
            found = await read_counters(connection, self.seeded.campaign_id)
        return {name: n for name, n in found.items() if n}

    async def events(self) -> list[tuple[int, str, int | None]]:
        """Message, kind and link of each event, in the order of their time; rows of one batch are written in any."""
        rows = await self.pool.fetch("SELECT message_id, kind, link FROM events ORDER BY message_id, kind, occurred_at")
        return [(row["message_id"], row["kind"], row["link"]) for row in rows]

    async def suppressions(self) -> list[tuple[str, int, str, str]]:
        """Key, list, reason and source of each suppression."""
        rows = await self.pool.fetch(
            "SELECT address_key, list_id, reason, source FROM suppressions ORDER BY address_key, list_id"
        )
        return [tuple(row) for row in rows]

    async def members(self) -> dict[str, str]:
        """State of each member of the list by address."""
        rows = await self.pool.fetch(
            "SELECT c.address_key, lm.state FROM list_members lm JOIN contacts c ON c.id = lm.contact_id "
            "WHERE lm.list_id = $1",
            self.seeded.list_id,
        )
        return {row["address_key"]: row["state"] for row in rows}

    async def unsubscribe_token(self, message_id: int, list_id: int | None = None) -> str:
        """The token in the mail of a message."""
        contact_id = await self.pool.fetchval("SELECT contact_id FROM recipients WHERE message_id = $1", message_id)
        scope = self.seeded.list_id if list_id is None else list_id
        return RING.issue_unsubscribe(UnsubscribeClaim(self.seeded.tenant_id, scope, contact_id, message_id))


@dataclass(slots=True)
class Tracker:
    """A running tracker."""

    client: httpx.AsyncClient
    process: Process
    task: asyncio.Task[None]
    url: str = ""
    variables: dict[str, Any] = field(default_factory=dict)

    async def stop(self) -> None:
        """As SIGTERM does."""
        self.process.stopping.set()
        await self.task


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """Connections of the test's own."""
    pool = await open_pool(database_url, name="test", size=4)
    yield pool
    await pool.close()


@pytest.fixture
async def book(pool: Pool) -> Ledger:
    """A launched campaign whose mails were accepted."""
    async with pool.acquire() as connection, connection.transaction():
        seeded = await seed_campaign(connection, PEOPLE, compiled={**COMPILED, "links": LINKS})
        await launch(connection, seeded.campaign_id, tenant_id=seeded.tenant_id)
    ids = [row["id"] for row in await pool.fetch("SELECT id FROM messages ORDER BY id")]
    found = Ledger(pool, seeded, ids)
    await found.accept(ids)
    return found


@pytest.fixture
async def empty_belt(amqp_url: str) -> AsyncIterator[str]:
    """The URL of a broker without left-overs of other tests."""
    await purge(amqp_url)
    yield amqp_url
    await purge(amqp_url)


async def purge(amqp_url: str) -> None:
    """Empty the queues that these tests use."""
    async with await aio_pika.connect(amqp_url) as connection:
        for name in (events_queue("engagement"), PARKED_QUEUE):
            channel = await connection.channel()
            with contextlib.suppress(aio_pika.exceptions.ChannelNotFoundEntity):
                await (await channel.get_queue(name)).purge()


@contextlib.asynccontextmanager
async def running_tracker(database_url: str, broker_url: str, **variables: Any) -> AsyncIterator[Tracker]:
    """A tracker for the length of the block."""
    port = free_port()
    settings = TrackerSettings(
        database_url=database_url,
        broker_url=broker_url,
        token_secret=SECRET,
        http_host="127.0.0.1",
        http_port=port,
        drain_timeout_s=10,
        **variables,
    )
    process = Process("tracker", settings)
    task = asyncio.create_task(serve(process, settings))
    url = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as client:
        tracker = Tracker(client, process, task, url)
        await _until_it_answers(tracker)
        try:
            yield tracker
        finally:
            await tracker.stop()


async def _until_it_answers(tracker: Tracker) -> None:
    for _ in range(400):
        if tracker.task.done():
            tracker.task.result()
        try:
            await tracker.client.get("/robots.txt")
        except httpx.ConnectError:
            await asyncio.sleep(0.02)
        else:
            return
    raise AssertionError("the tracker does not answer")


@pytest.fixture
async def tracker(database_url: str, empty_belt: str) -> AsyncIterator[Tracker]:
    """A tracker with default bounds."""
    async with running_tracker(database_url, empty_belt) as running:
        yield running


class ServerProxy:
    """A TCP proxy that can take its server away and bring it back, as a network partition or a restart does."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()
        self.away = False

    def take_away(self) -> None:
        """Reset every connection, and each new one."""
        self.away = True
        for writer in list(self._writers):
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection."""
        if self.away:
            writer.transport.abort()
            return
        there_reader, there_writer = await asyncio.open_connection(*self._target)
        await asyncio.gather(self._pump(reader, there_writer), self._pump(there_reader, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        self._writers.discard(writer)
        writer.close()


@contextlib.asynccontextmanager
async def server_proxy(url: str) -> AsyncIterator[tuple[str, ServerProxy]]:
    """The URL that leads through a proxy to the server of ``url``, and the proxy."""
    parts = urlsplit(url)
    proxy = ServerProxy(parts.hostname or "127.0.0.1", parts.port or 0)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    user = parts.netloc.rpartition("@")[0]
    try:
        yield urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{port}")), proxy
    finally:
        server.close()
        proxy.take_away()


def metric(name: str, **labels: str) -> float:
    """The value of a metric now."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def fetch_one(pool: Pool, sql: str, *arguments: object) -> asyncpg.Record:
    """The one row of a query."""
    row = await pool.fetchrow(sql, *arguments)
    assert row is not None
    return row
