"""A bounce service in this process on real sockets, RabbitMQ and PostgreSQL, and a campaign whose mails were accepted."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import aio_pika
import aiosmtplib
import pytest

from hayabin.broker.topology import PARKED_QUEUE, events_queue
from hayabin.database import ledger
from hayabin.database.counters import read_counters
from hayabin.database.engine import Pool, open_pool
from hayabin.database.launch import launch
from hayabin.database.ledger import Outcome
from hayabin.domain.message import MessageState
from hayabin.domain.token import TokenKey, TokenRing
from hayabin.domain.verp import issue_return_path
from hayabin.lifecycle import Process
from hayabin.settings import TOKEN_KEY_ID
from services.bounce.main import serve
from services.bounce.settings import BounceSettings
from tests.support.instances import free_port
from tests.support.returned_mail import complaint, dsn
from tests.support.seed import Seeded, seed_campaign

__all__ = ["complaint", "dsn"]
SECRET = base64.b64encode(b"b" * 32).decode()
RING = TokenRing((TokenKey(TOKEN_KEY_ID, b"b" * 32),), active=TOKEN_KEY_ID)
FORGER = TokenRing((TokenKey(TOKEN_KEY_ID, b"f" * 32),), active=TOKEN_KEY_ID)
DOMAIN = "bounce.hayabin.example"
PEOPLE = ["taro@example.jp", "hanako@example.jp", "jiro@example.jp"]
QUEUES = (events_queue("bounce"), events_queue("delivery"))


@dataclass(slots=True)
class Ledger:
    """The launched campaign and what to ask about it."""

    pool: Pool
    seeded: Seeded
    ids: list[int]

    async def claim(self, ids: Sequence[int], attempt: int = 0) -> None:
        """Let a dispatcher begin an attempt."""
        async with self.pool.acquire() as connection:
            assert len(await ledger.claim(connection, [(i, attempt) for i in ids], "d1")) == len(ids)

    async def accept(self, ids: Sequence[int], attempt: int = 1) -> None:
        """Let the ledger know that mails were accepted."""
        async with self.pool.acquire() as connection, connection.transaction():
            await ledger.record(connection, [Outcome(i, attempt, MessageState.ACCEPTED) for i in ids])

    async def states(self) -> list[str]:
        """The states of all rows, in the order of ``ids``."""
        return [row["state"] for row in await self.pool.fetch("SELECT state FROM messages ORDER BY id")]

    async def counters(self) -> dict[str, int]:
        """The counters that are not zero."""
        async with self.pool.acquire() as connection:
            found = await read_counters(connection, self.seeded.campaign_id)
        return {name: n for name, n in found.items() if n}

    async def events(self) -> list[tuple[int, str, str]]:
        """Message, kind and detail of each event."""
        rows = await self.pool.fetch("SELECT message_id, kind, detail FROM events ORDER BY id")
        return [tuple(row) for row in rows]

    async def suppressions(self) -> list[tuple[str, int, str, str]]:
        """Key, list, reason and source of each suppression."""
        rows = await self.pool.fetch(
            "SELECT address_key, list_id, reason, source FROM suppressions ORDER BY address_key, list_id"
        )
        return [tuple(row) for row in rows]

    async def quarantine(self) -> list[str]:
        """The reason of each mail that is kept."""
        return [row["reason"] for row in await self.pool.fetch("SELECT reason FROM quarantine ORDER BY id")]

    async def untouched(self) -> bool:
        """Nothing has changed since the mails were accepted."""
        return (
            set(await self.states()) == {"accepted"}
            and await self.counters() == {"accepted": len(self.ids)}
            and await self.suppressions() == []
            and await self.events() == []
        )


@dataclass(slots=True)
class Bounce:
    """A running bounce service."""

    port: int
    process: Process
    task: asyncio.Task[None]

    async def send(self, rcpt_to: str, content: str | bytes, mail_from: str = "") -> int:
        """Deliver a mail over SMTP; the code of the reply that decided."""
        raw = content.encode() if isinstance(content, str) else content
        client = aiosmtplib.SMTP(hostname="127.0.0.1", port=self.port, start_tls=False, timeout=60)
        async with client:
            await client.ehlo()
            await client.mail(mail_from)
            try:
                await client.rcpt(rcpt_to)
                return (await client.data(raw)).code
            except aiosmtplib.SMTPResponseException as error:
                return error.code

    async def stop(self) -> None:
        """As SIGTERM does."""
        self.process.stopping.set()
        await self.task


def return_path(message_id: int, attempt: int = 1, ring: TokenRing = RING) -> str:
    """The return path of an attempt."""
    return issue_return_path(message_id, attempt, ring, DOMAIN)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """Connections of the test's own."""
    pool = await open_pool(database_url, name="test", size=4)
    yield pool
    await pool.close()


@pytest.fixture
async def launched(pool: Pool) -> Ledger:
    """A launched campaign, nothing attempted."""
    async with pool.acquire() as connection, connection.transaction():
        seeded = await seed_campaign(connection, PEOPLE)
        await launch(connection, seeded.campaign_id, tenant_id=seeded.tenant_id)
    ids = [row["id"] for row in await pool.fetch("SELECT id FROM messages ORDER BY id")]
    return Ledger(pool, seeded, ids)


@pytest.fixture
async def book(launched: Ledger) -> Ledger:
    """A launched campaign whose mails were accepted at the first attempt."""
    await launched.claim(launched.ids)
    await launched.accept(launched.ids)
    return launched


@pytest.fixture
async def empty_belt(amqp_url: str) -> AsyncIterator[str]:
    """The URL of a broker without left-overs of other tests."""
    await purge(amqp_url)
    yield amqp_url
    await purge(amqp_url)


async def purge(amqp_url: str) -> None:
    """Empty the queues that these tests use."""
    async with await aio_pika.connect(amqp_url) as connection:
        for name in (*QUEUES, PARKED_QUEUE):
            channel = await connection.channel()
            with contextlib.suppress(aio_pika.exceptions.ChannelNotFoundEntity):
                await (await channel.get_queue(name)).purge()


@contextlib.asynccontextmanager
async def running_bounce(database_url: str, broker_url: str, **variables: Any) -> AsyncIterator[Bounce]:
    """A bounce service for the length of the block."""
    port = free_port()
    settings = BounceSettings(
        database_url=database_url,
        broker_url=broker_url,
        token_secret=SECRET,
        return_path_domain=DOMAIN,
        bounce_host="127.0.0.1",
        bounce_port=port,
        drain_timeout_s=10,
        **variables,
    )
    process = Process("bounce", settings)
    task = asyncio.create_task(serve(process, settings))
    bounce = Bounce(port, process, task)
    for _ in range(400):
        if task.done():
            task.result()
        checks = await process.readiness()
        if len(checks) == 5 and all(checks.values()):
            break
        await asyncio.sleep(0.02)
    else:
        raise AssertionError("the bounce service does not get ready")
    try:
        yield bounce
    finally:
        await bounce.stop()


@pytest.fixture
async def bounce(database_url: str, empty_belt: str) -> AsyncIterator[Bounce]:
    """A bounce service."""
    async with running_bounce(database_url, empty_belt) as running:
        yield running
