"""A broker on Postgres, for ``hayabin demo`` and ``hayabin up``: the same promises, without anything to install.

Promises: see ``hayabin.broker.interface``. A message is a row; a delivery holds it (``consumer``, ``held_until``) and
the holder renews its hold, so the messages of a dead consumer come free by themselves; NOTIFY wakes waiting consumers.
Fails: a database error in ``publish`` raises ``PublishFailed``; consumers try again after a pause.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from hayabin.broker.interface import Delivery, OnDelivery, Outgoing, PublishFailed
from hayabin.broker.topology import DELIVERY_LIMIT, PARKED_QUEUE, Queue, queue_of
from hayabin.database.engine import Pool, asyncpg_url, open_pool
from hayabin.telemetry.logging import get_logger

HOLD_S = 10.0
"""How long the deliveries of a dead consumer stay away."""
_RENEW_S = 3.0
_POLL_S = 1.0
_RETRY_S = 0.5
_CHANNEL = "hayabin_belt"

_TAKE_SQL = """
UPDATE belt_messages b SET consumer = $3, held_until = now() + make_interval(secs => $4), deliveries = deliveries + 1
WHERE id IN (SELECT id FROM belt_messages WHERE queue = $1 AND (held_until IS NULL OR held_until < now())
             ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED)
RETURNING id, body, headers, deliveries"""


class EmbeddedDelivery:
    """A row in the consumer's hands."""

    def __init__(self, subscription: "EmbeddedSubscription", row: Any) -> None:
        """Wrap ``row``."""
        self._subscription = subscription
        self.id: int = row["id"]
        self.queue = subscription.queue
        self.body: bytes = row["body"]
        self.headers: Mapping[str, str] = row["headers"]
        self.redelivered: bool = row["deliveries"] > 1

    async def ack(self) -> None:
        """Delete the row if it is still ours."""
        await self._subscription.settle(self, "DELETE FROM belt_messages WHERE id = $1 AND consumer = $2")

    async def requeue(self) -> None:
        """Let go of the row."""
        await self._subscription.settle(
            self, "UPDATE belt_messages SET consumer = NULL, held_until = NULL WHERE id = $1 AND consumer = $2"
        )

    async def park(self, reason: str, detail: str = "") -> None:
        """Move the row to the parked queue in one statement."""
        await self._subscription.settle(
            self,
            "UPDATE belt_messages SET queue = $3, consumer = NULL, held_until = NULL, deliveries = 0, "
            "headers = headers || $4 WHERE id = $1 AND consumer = $2",
            PARKED_QUEUE,
            {"hayabin-queue": self.queue, "hayabin-reason": reason, "hayabin-detail": detail},
        )


class EmbeddedSubscription:
    """Takes rows while it has room, and renews its hold on those in hand."""

    def __init__(self, broker: "EmbeddedBroker", queue: str, on_delivery: OnDelivery, prefetch: int) -> None:
        """Start taking."""
        self.queue = queue
        self._broker = broker
        self._on_delivery = on_delivery
        self._prefetch = prefetch
        self._name = secrets.token_hex(8)
        self._in_hand: dict[int, EmbeddedDelivery] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._taking = asyncio.create_task(self._take_for_ever())
        self._renewing = asyncio.create_task(self._renew_for_ever())

    def wake(self) -> None:
        """Look again now."""
        self._wake.set()

    async def cancel(self) -> None:
        """Stop taking; what is in hand stays held until it is settled."""
        self._taking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._taking

    async def close(self) -> None:
        """Stop everything; what is in hand comes free when its hold ends."""
        await self.cancel()
        self._renewing.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(self._renewing, *self._tasks, return_exceptions=True)

    async def settle(self, delivery: EmbeddedDelivery, sql: str, *arguments: object) -> None:
        """Run a settling statement; the row is not ours any more either way."""
        try:
            await self._broker.pool.execute(sql, delivery.id, self._name, *arguments)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            get_logger().info("settle_lost", queue=self.queue, error=repr(error))
        finally:
            self._in_hand.pop(delivery.id, None)
            self._wake.set()
        if sql.startswith("UPDATE"):
            await self._broker.notify(self.queue)

    async def _take_for_ever(self) -> None:
        while True:
            self._wake.clear()
            room = self._prefetch - len(self._in_hand)
            taken = 0
            if room > 0:
                taken = await asyncio.shield(self._take(room))
            if taken < room or room <= 0:
                with contextlib.suppress(TimeoutError):  # asyncio.wait_for of 3.11 can swallow a cancellation
                    async with asyncio.timeout(_POLL_S):
                        await self._wake.wait()

    async def _take(self, room: int) -> int:
        try:
            rows = await self._broker.pool.fetch(_TAKE_SQL, self.queue, room, self._name, HOLD_S)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            get_logger().warning("take_failed", queue=self.queue, error=repr(error))
            await asyncio.sleep(_RETRY_S)
            return 0
        for row in sorted(rows, key=lambda r: r["id"]):
            delivery = EmbeddedDelivery(self, row)
            self._in_hand[delivery.id] = delivery
            if row["deliveries"] > DELIVERY_LIMIT:
                await delivery.park("delivery_limit")
                continue
            task = asyncio.create_task(self._deliver(delivery))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return len(rows)

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            await self._on_delivery(delivery)
        except Exception:  # noqa: BLE001 - logged; the hold ends and the row is delivered again
            get_logger().exception("delivery_unsettled", queue=self.queue)

    async def _renew_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_RENEW_S)
            if not self._in_hand:
                continue
            try:
                await self._broker.pool.execute(
                    "UPDATE belt_messages SET held_until = now() + make_interval(secs => $1) "
                    "WHERE id = ANY($2) AND consumer = $3",
                    HOLD_S,
                    list(self._in_hand),
                    self._name,
                )
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                get_logger().warning("renew_failed", queue=self.queue, error=repr(error))


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
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
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

    async def notify(self, queue: str) -> None:
        """Wake the consumers of a queue, in every process."""
        with contextlib.suppress(
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError
        ):  # they look again by themselves
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
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                get_logger().warning("listen_failed", error=repr(error))
            await asyncio.sleep(_RETRY_S)

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
