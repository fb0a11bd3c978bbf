"""RabbitMQ by aio-pika.

Promises: publisher confirms with a timeout, unroutable messages raise, one channel for publishing and one for each
subscription (per-consumer prefetch), reconnection with consumers restored.
Fails: ``PublishFailed`` when a confirm does not come in ``CONFIRM_TIMEOUT_S``; settling a delivery of a lost connection
does nothing (the broker delivers it again).
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

import aio_pika
from aio_pika.abc import (
    AbstractIncomingMessage,
    AbstractRobustChannel,
    AbstractRobustConnection,
    AbstractRobustExchange,
    AbstractRobustQueue,
)
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError, ChannelNotFoundEntity

from hayabin.broker.interface import Delivery, OnDelivery, Outgoing, PublishFailed
from hayabin.broker.topology import DEAD, DELIVERY_LIMIT, EXCHANGES, PARKED_QUEUE, Queue
from hayabin.telemetry.logging import get_logger
from hayabin.telemetry.metrics import PUBLISH_SECONDS

CONNECT_TIMEOUT_S = 15
CONFIRM_TIMEOUT_S = 30
CONFIRM_WINDOW = 64
"""Messages on the wire without a confirm, for one ``publish``."""


class RabbitDelivery:
    """A delivery of RabbitMQ."""

    def __init__(self, broker: "RabbitBroker", queue: str, message: AbstractIncomingMessage) -> None:
        """Wrap ``message``."""
        self._broker = broker
        self._message = message
        self.queue = queue
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
        headers = {**self.headers, "hayabin-queue": self.queue, "hayabin-reason": reason, "hayabin-detail": detail}
        await self._broker.publish([Outgoing(DEAD, PARKED_QUEUE, self.body, headers)])
        await self.ack()

    async def _settle(self, action: object) -> None:
        try:
            await action  # type: ignore[misc]
        except (AMQPError, ChannelInvalidStateError, ConnectionError) as error:
            get_logger().info("settle_lost", queue=self.queue, error=repr(error))


class RabbitSubscription:
    """A consumer on a channel of its own."""

    def __init__(self, channel: AbstractRobustChannel, queue: AbstractRobustQueue, tag: str) -> None:
        """Keep what is needed to end it."""
        self._channel = channel
        self._queue = queue
        self._tag = tag

    async def cancel(self) -> None:
        """Stop deliveries; the channel stays open so that those in hand can be settled."""
        try:
            await self._queue.cancel(self._tag)
        except (AMQPError, ChannelInvalidStateError, ConnectionError) as error:
            get_logger().info("cancel_lost", error=repr(error))


class RabbitBroker:
    """See ``hayabin.broker.interface.Broker``."""

    def __init__(self, connection: AbstractRobustConnection, channel: AbstractRobustChannel) -> None:
        """Use ``channel`` for publishing and declaring."""
        self._connection = connection
        self._channel = channel
        self._exchanges: dict[str, AbstractRobustExchange] = {}
        self._looking: AbstractRobustChannel | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open_exchanges(self) -> None:
        """Declare the exchanges."""
        for name in EXCHANGES:
            self._exchanges[name] = await self._channel.declare_exchange(
                name, aio_pika.ExchangeType.DIRECT, durable=True
            )

    async def declare(self, queues: Sequence[Queue]) -> None:
        """Declare and bind."""
        for queue in queues:
            declared = await self._channel.declare_queue(queue.name, durable=True, arguments=_arguments(queue))
            await declared.bind(self._exchanges[queue.exchange], queue.routing_key)

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Publish in windows, each confirmed."""
        for start in range(0, len(messages), CONFIRM_WINDOW):
            window = messages[start : start + CONFIRM_WINDOW]
            with PUBLISH_SECONDS.time():
                answers = await asyncio.gather(*map(self._publish_one, window), return_exceptions=True)
            for answer in answers:
                if isinstance(answer, BaseException):
                    if isinstance(answer, asyncio.CancelledError) and _being_cancelled():
                        raise answer
                    raise PublishFailed("publish_failed", repr(answer)) from answer

    async def _publish_one(self, message: Outgoing) -> None:
        await self._exchanges[message.exchange].publish(
            aio_pika.Message(
                message.body,
                headers=dict(message.headers),
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            ),
            message.routing_key,
            mandatory=True,
            timeout=CONFIRM_TIMEOUT_S,
        )

    async def consume(self, queue: str, on_delivery: OnDelivery, *, prefetch: int) -> RabbitSubscription:
        """Consume on a channel of its own."""
        channel = await self._connection.channel()
        await channel.set_qos(prefetch_count=prefetch)
        source = await channel.declare_queue(queue, passive=True)  # get_queue's would not be restored
        tag = await source.consume(partial(self._on_message, queue, on_delivery), no_ack=False)
        return RabbitSubscription(channel, source, tag)

    async def _on_message(self, queue: str, on_delivery: OnDelivery, message: AbstractIncomingMessage) -> None:
        task = asyncio.create_task(_deliver(on_delivery, RabbitDelivery(self, queue, message)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def depth(self, queues: Sequence[str]) -> dict[str, int]:
        """Passive declarations, on a channel of their own because a missing queue closes it."""
        answer: dict[str, int] = {}
        for name in queues:
            if self._looking is None or self._looking.is_closed:
                self._looking = await self._connection.channel()
            try:
                # robust=False: a robust channel answers from its memory the second time
                queue = await self._looking.declare_queue(name, passive=True, robust=False)
                answer[name] = queue.declaration_result.message_count or 0
            except ChannelNotFoundEntity:
                answer[name] = 0
                self._looking = None
        return answer

    async def healthy(self) -> bool:
        """Whether the connection is up."""
        return self._connection.connected.is_set()


async def _deliver(on_delivery: OnDelivery, delivery: Delivery) -> None:
    try:
        await on_delivery(delivery)
    except Exception:  # noqa: BLE001 - logged
        get_logger().exception("delivery_unsettled", queue=delivery.queue)  # the broker delivers it again


def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _arguments(queue: Queue) -> dict[str, str | int]:
    arguments: dict[str, str | int] = {"x-queue-type": "quorum"}
    if queue.name != PARKED_QUEUE:
        arguments |= {
            "x-delivery-limit": DELIVERY_LIMIT,
            "x-dead-letter-exchange": DEAD,
            "x-dead-letter-routing-key": PARKED_QUEUE,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }
    return arguments


@asynccontextmanager
async def open_rabbitmq(url: str, *, name: str) -> AsyncIterator[RabbitBroker]:
    """A broker on a robust connection."""
    connection = await aio_pika.connect_robust(
        url, timeout=CONNECT_TIMEOUT_S, client_properties={"connection_name": name}, reconnect_interval=1
    )
    try:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        broker = RabbitBroker(connection, channel)
        await broker.open_exchanges()
        yield broker
    finally:
        await connection.close()
