"""A broker on Postgres, for ``hayabin demo`` and ``hayabin up``: the same promises, without anything to install.

Promises: see ``hayabin.broker.interface``. A message is a row; NOTIFY wakes waiting consumers, who look by themselves
too.
Fails: a database error in ``publish`` raises ``PublishFailed``; the driver's errors come out of the rest.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

import asyncpg

from hayabin.broker.embedded_parked import drop_parked, look_at_parked, retry_parked
from hayabin.broker.embedded_subscription import DATABASE_AWAY, RETRY_S, EmbeddedSubscription
from hayabin.broker.interface import OnDelivery, Outgoing, Parked, PublishFailed, Trouble
from hayabin.broker.topology import MARK_QUEUE, Queue, queue_of
from hayabin.database.engine import Pool, asyncpg_url, open_pool
from hayabin.telemetry.logging import get_logger

PROBLEM_TIMEOUT_S = 2.0
_CHANNEL = "hayabin_belt"


class EmbeddedBroker:
    """See ``hayabin.broker.interface.Broker``."""

    def __init__(self, pool: Pool, url: str) -> None:
        """Use ``pool`` for statements and a connection of its own to listen."""
        self.pool = pool
        self._url = url
        self._queues: dict[str, Queue] = {}
        self._subscriptions: dict[str, list[EmbeddedSubscription]] = {}
        self._listening = asyncio.create_task(self._listen_for_ever())

    async def declare(self, queues: Sequence[Queue]) -> None:
        """Remember the bindings: a queue needs nothing in the database."""
        for queue in queues:
            self._queues[queue.name] = queue

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Insert in one transaction: all or none."""
        queues = [self._route(message) for message in messages]
        try:
            async with self.pool.acquire() as connection, connection.transaction():
                await connection.execute(
                    "INSERT INTO belt_messages (queue, headers, body) "
                    "SELECT * FROM unnest($1::text[], $2::jsonb[], $3::bytea[])",
                    queues,
                    [dict(message.headers) for message in messages],
                    [message.body for message in messages],
                )
                for queue in set(queues):
                    await connection.execute("SELECT pg_notify($1, $2)", _CHANNEL, queue)
        except DATABASE_AWAY as error:
            raise PublishFailed("publish_failed", repr(error)) from error

    def _route(self, message: Outgoing) -> str:
        queue = queue_of(message.exchange, message.routing_key, list(self._queues.values()))
        if queue is None:
            raise PublishFailed("unroutable", f"{message.exchange} {message.routing_key}")
        return queue.name

    async def consume(self, queue: str, on_delivery: OnDelivery, *, prefetch: int) -> EmbeddedSubscription:
        """Start a subscription."""
        subscription = EmbeddedSubscription(self, queue, on_delivery, prefetch)
        self._subscriptions.setdefault(queue, []).append(subscription)
        return subscription

    async def depth(self, queues: Sequence[str]) -> dict[str, int]:
        """Rows that nobody holds."""
        rows = await self.pool.fetch(
            "SELECT queue, count(*) AS n FROM belt_messages WHERE queue = ANY($1) "
            "AND (held_until IS NULL OR held_until < now()) GROUP BY queue",
            list(queues),
        )
        found = {row["queue"]: row["n"] for row in rows}
        return {queue: found.get(queue, 0) for queue in queues}

    async def healthy(self) -> bool:
        """Whether Postgres answers."""
        return bool(await self.pool.fetchval("SELECT true"))

    async def problem(self) -> str:
        """Away, or nothing."""
        try:
            async with asyncio.timeout(PROBLEM_TIMEOUT_S):
                await self.pool.fetchval("SELECT true")
        except DATABASE_AWAY:
            return Trouble.AWAY
        return Trouble.NONE

    async def remember(self, mark: bytes) -> None:
        """Replace the row."""
        try:
            async with self.pool.acquire() as connection, connection.transaction():
                await connection.execute("DELETE FROM belt_messages WHERE queue = $1", MARK_QUEUE)
                await connection.execute(
                    "INSERT INTO belt_messages (queue, headers, body) VALUES ($1, '{}', $2)", MARK_QUEUE, mark
                )
        except DATABASE_AWAY as error:
            raise PublishFailed("publish_failed", repr(error)) from error

    async def recall(self) -> bytes | None:
        """Read the row; the newest, if two processes replaced it at once."""
        mark: bytes | None = await self.pool.fetchval(
            "SELECT body FROM belt_messages WHERE queue = $1 ORDER BY id DESC LIMIT 1", MARK_QUEUE
        )
        return mark

    async def parked(self, limit: int) -> list[Parked]:
        """Read rows."""
        return [parked for _, parked in await look_at_parked(self.pool, limit)]

    async def retry_parked(self, ids: Collection[str]) -> int:
        """Move rows to their queues, each in one statement."""
        queues = await retry_parked(self.pool, ids)
        for queue in set(queues):
            await self.notify(queue)
        return len(queues)

    async def drop_parked(self, ids: Collection[str]) -> int:
        """Delete rows."""
        return await drop_parked(self.pool, ids)

    async def notify(self, queue: str) -> None:
        """Wake the consumers of a queue, in every process."""
        with contextlib.suppress(*DATABASE_AWAY):  # they look again by themselves
            await self.pool.execute("SELECT pg_notify($1, $2)", _CHANNEL, queue)

    async def _listen_for_ever(self) -> None:
        while True:
            lost = asyncio.Event()
            try:
                connection = await asyncpg.connect(asyncpg_url(self._url))
                try:
                    connection.add_termination_listener(lambda _, lost=lost: lost.set())
                    await connection.add_listener(_CHANNEL, self._on_notify)
                    await lost.wait()
                finally:
                    await connection.close(timeout=2)
            except DATABASE_AWAY as error:
                get_logger().warning("listen_failed", error=repr(error))
            await asyncio.sleep(RETRY_S)

    def _on_notify(self, _connection: object, _pid: int, _channel: str, queue: object) -> None:
        for subscription in self._subscriptions.get(str(queue), []):
            subscription.wake()

    async def close(self) -> None:
        """End the subscriptions."""
        for subscriptions in self._subscriptions.values():
            for subscription in subscriptions:
                await subscription.close()
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)


@asynccontextmanager
async def open_embedded(url: str, *, name: str) -> AsyncIterator[EmbeddedBroker]:
    """A broker on the Postgres at ``url``, whose schema is migrated."""
    pool = await open_pool(url, name=f"{name}-belt", size=4)
    broker = EmbeddedBroker(pool, url)
    try:
        yield broker
    finally:
        await broker.close()
        await pool.close()
