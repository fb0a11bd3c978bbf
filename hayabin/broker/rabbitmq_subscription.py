"""A consumer of RabbitMQ that goes on, and the deliveries it hands out.

Promises: when its channel or connection is gone, or the broker cancelled it because its queue was deleted, it declares
its queue again and consumes again, with pauses between the attempts, until it is cancelled.
Fails: settling a delivery of a lost connection does nothing, and says so in the log (the broker delivers it again).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

from hayabin.broker.interface import Delivery, OnDelivery, Outgoing
from hayabin.broker.parking import parking_headers
from hayabin.broker.rabbitmq_link import ANSWER_TIMEOUT_S, Link, Standing, answered, leave, pauses
from hayabin.broker.topology import DEAD, PARKED_QUEUE
from hayabin.crash_points import CrashPoint, reach
from hayabin.telemetry.logging import get_logger

SETTLE_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Consumption:
    """What a subscription needs of its broker: ``declare`` brings a queue back that the broker knows of."""

    link: Link
    queue: str
    prefetch: int
    on_delivery: OnDelivery
    declare: Callable[[Standing, str], Awaitable[None]]
    publish: Callable[[Sequence[Outgoing]], Awaitable[None]]


class RabbitDelivery:
    """A delivery of RabbitMQ."""

    def __init__(self, of: Consumption, message: AbstractIncomingMessage) -> None:
        """Wrap ``message``."""
        self._publish = of.publish
        self._message = message
        self.queue = of.queue
        self.body: bytes = message.body
        self.headers: Mapping[str, str] = {k: str(v) for k, v in message.headers.items()}
        self.redelivered = bool(message.redelivered)

    async def ack(self) -> None:
        """Acknowledge; nothing if the connection is gone."""
        await self._settle(self._message.ack())

    async def requeue(self) -> None:
        """Give back; nothing if the connection is gone."""
        await self._settle(self._message.nack(requeue=True))

    async def park(self, reason: str, detail: str = "") -> None:
        """Copy to the parked queue, confirmed, then acknowledge."""
        headers = parking_headers(self.headers, self.queue, reason, detail)
        await self._publish([Outgoing(DEAD, PARKED_QUEUE, self.body, headers)])
        reach(CrashPoint.PARK_PUBLISHED)
        await self.ack()

    async def _settle(self, action: Awaitable[None]) -> None:
        try:
            await answered(action, SETTLE_TIMEOUT_S)
        except OSError as error:
            get_logger().info("settle_lost", queue=self.queue, error=repr(error))


@dataclass(frozen=True, slots=True)
class _Consumer:
    """One life of the subscription: a consumer on a channel of its own."""

    standing: Standing
    channel: AbstractChannel
    source: AbstractQueue
    tag: str
    lost: asyncio.Event

    async def ended(self) -> None:
        """Wait until it consumes no more, for whatever reason."""
        waits = {asyncio.create_task(event.wait()) for event in (self.lost, self.standing.lost)}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()


class RabbitSubscription:
    """A supervised consumer."""

    def __init__(self, consumption: Consumption) -> None:
        """Remember what to consume; ``start`` begins."""
        self._of = consumption
        self._tasks: set[asyncio.Task[None]] = set()
        self._consumer: _Consumer | None = None
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Consume once, and keep on from then.

        Raises: OSError, also for a queue that does not exist.
        """
        await self._consume()
        self._keeping = asyncio.create_task(self._keep())

    async def cancel(self) -> None:
        """Stop deliveries; the channel stays open so that those in hand can be settled."""
        await self.end()
        if self._consumer is None:
            return
        try:
            await answered(self._consumer.source.cancel(self._consumer.tag), ANSWER_TIMEOUT_S)
        except OSError as error:
            get_logger().info("cancel_lost", queue=self._of.queue, error=repr(error))

    async def end(self) -> None:
        """Keep on no longer."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)

    async def _keep(self) -> None:
        while self._consumer is not None:
            await self._consumer.ended()
            get_logger().warning("subscription_lost", queue=self._of.queue)
            await leave(self._consumer.channel)
            pause_s = pauses()
            while True:
                await asyncio.sleep(pause_s())
                try:
                    await self._consume()
                except Exception as error:  # noqa: BLE001 - logged; there is nobody else to consume again
                    get_logger().warning("subscribe_failed", queue=self._of.queue, error=repr(error))
                else:
                    break
            get_logger().info("subscription_back", queue=self._of.queue)

    async def _consume(self) -> None:
        standing = await self._of.link.standing()
        self._consumer = await answered(self._consumer_on(standing), ANSWER_TIMEOUT_S)

    async def _consumer_on(self, standing: Standing) -> _Consumer:
        await self._of.declare(standing, self._of.queue)
        lost = asyncio.Event()
        channel = standing.connection.channel(publisher_confirms=False)
        await channel.initialize()
        try:
            channel.close_callbacks.add(lambda *_: lost.set())
            wire = await channel.get_underlay_channel()
            wire.on_consumer_cancel_callbacks.add(lambda _: lost.set())  # the queue was deleted
            await channel.set_qos(prefetch_count=self._of.prefetch)
            source = await channel.get_queue(self._of.queue, ensure=False)
            tag = await source.consume(self._on_message, no_ack=False)
        except BaseException:
            await leave(channel)
            raise
        return _Consumer(standing, channel, source, tag, lost)

    async def _on_message(self, message: AbstractIncomingMessage) -> None:
        task = asyncio.create_task(_deliver(self._of.on_delivery, RabbitDelivery(self._of, message)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _deliver(on_delivery: OnDelivery, delivery: Delivery) -> None:
    try:
        await on_delivery(delivery)
    except Exception:  # noqa: BLE001 - logged
        get_logger().exception("delivery_unsettled", queue=delivery.queue)  # the broker delivers it again
