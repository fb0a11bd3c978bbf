"""A consumer of the embedded broker, and the deliveries it hands out.

Promises: rows are taken while there is room; a row in hand is held (``consumer``, ``held_until``) and the hold renewed,
so that the rows of a dead consumer come free by themselves. A database that is away is tried again after a pause.
Fails: settling that cannot reach the database does nothing, and says so in the log: the hold ends by itself.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Mapping
from typing import Any, Protocol

import asyncpg

from hayabin.broker.interface import Delivery, OnDelivery
from hayabin.broker.parking import parking_headers
from hayabin.broker.topology import DELIVERY_LIMIT, PARKED_QUEUE
from hayabin.database.engine import Pool
from hayabin.telemetry.logging import get_logger

DATABASE_AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
HOLD_S = 10.0
"""How long the deliveries of a dead consumer stay away."""
RETRY_S = 0.5
_RENEW_S = 3.0
_POLL_S = 1.0

_TAKE_SQL = """
UPDATE belt_messages b SET consumer = $3, held_until = now() + make_interval(secs => $4), deliveries = deliveries + 1
WHERE id IN (SELECT id FROM belt_messages WHERE queue = $1 AND (held_until IS NULL OR held_until < now())
             ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED)
RETURNING id, body, headers, deliveries"""


class Belt(Protocol):
    """What a subscription needs of its broker."""

    @property
    def pool(self) -> Pool:
        """Where the rows are."""

    async def notify(self, queue: str) -> None:
        """Wake the consumers of a queue."""


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
            "headers = $4 WHERE id = $1 AND consumer = $2",
            PARKED_QUEUE,
            parking_headers(self.headers, self.queue, reason, detail),
        )


class EmbeddedSubscription:
    """Takes rows while it has room, and renews its hold on those in hand."""

    def __init__(self, belt: Belt, queue: str, on_delivery: OnDelivery, prefetch: int) -> None:
        """Start taking."""
        self.queue = queue
        self._belt = belt
        self._on_delivery = on_delivery
        self._prefetch = prefetch
        self._name = secrets.token_hex(8)
        self._in_hand: dict[int, EmbeddedDelivery] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._take_under_way: asyncio.Task[int] | None = None
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
        if self._take_under_way is not None:  # or it would deliver afterwards
            await asyncio.gather(self._take_under_way, return_exceptions=True)

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
            await self._belt.pool.execute(sql, delivery.id, self._name, *arguments)
        except DATABASE_AWAY as error:
            get_logger().info("settle_lost", queue=self.queue, error=repr(error))
        finally:
            self._in_hand.pop(delivery.id, None)
            self._wake.set()
        if sql.startswith("UPDATE"):
            await self._belt.notify(self.queue)

    async def _take_for_ever(self) -> None:
        while True:
            self._wake.clear()
            room = self._prefetch - len(self._in_hand)
            taken = 0
            if room > 0:
                self._take_under_way = asyncio.create_task(self._take(room))
                taken = await asyncio.shield(self._take_under_way)
            if taken < room or room <= 0:
                with contextlib.suppress(TimeoutError):  # asyncio.wait_for of 3.11 can swallow a cancellation
                    async with asyncio.timeout(_POLL_S):
                        await self._wake.wait()

    async def _take(self, room: int) -> int:
        try:
            rows = await self._belt.pool.fetch(_TAKE_SQL, self.queue, room, self._name, HOLD_S)
        except DATABASE_AWAY as error:
            get_logger().warning("take_failed", queue=self.queue, error=repr(error))
            await asyncio.sleep(RETRY_S)
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
                await self._belt.pool.execute(
                    "UPDATE belt_messages SET held_until = now() + make_interval(secs => $1) "
                    "WHERE id = ANY($2) AND consumer = $3",
                    HOLD_S,
                    list(self._in_hand),
                    self._name,
                )
            except DATABASE_AWAY as error:
                get_logger().warning("renew_failed", queue=self.queue, error=repr(error))
