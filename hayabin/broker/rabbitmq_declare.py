"""The declarations of exchanges, queues and bindings at RabbitMQ, remembered so that they can be made again.

Promises: declaring again changes nothing; quorum queues only.
Fails: the driver's errors, such as for a queue that exists with other arguments; of those the parked queue alone is
taken as it is (it may be older than its limit), and that is logged.
"""

from collections.abc import Iterable

import aio_pika
from aio_pika.exceptions import ChannelPreconditionFailed
from pamqp.common import FieldTable

from hayabin.broker.rabbitmq_link import Standing
from hayabin.broker.topology import (
    DEAD,
    DELIVERY_LIMIT,
    EXCHANGES,
    LOOKED_AT_LIMIT,
    MARK_QUEUE,
    PARKED_QUEUE,
    Queue,
    queue_of,
)
from hayabin.telemetry.logging import get_logger


class Declarations:
    """What a broker object declared so far."""

    def __init__(self) -> None:
        """Begin with the exchanges alone."""
        self._queues: dict[str, Queue] = {}

    def remember(self, queues: Iterable[Queue]) -> None:
        """Have these made again from now on."""
        self._queues |= {queue.name: queue for queue in queues}

    def of_message(self, exchange: str, routing_key: str) -> list[Queue]:
        """The remembered queue that such a message goes to, if there is one."""
        queue = queue_of(exchange, routing_key, list(self._queues.values()))
        return [] if queue is None else [queue]

    async def make_again(self, standing: Standing) -> None:
        """Declare everything that is remembered."""
        await self.make(standing, list(self._queues.values()))

    async def make_known(self, standing: Standing, name: str) -> None:
        """Declare the queue of that name, if it is remembered."""
        if name in self._queues:
            await self.make(standing, [self._queues[name]])

    async def make(self, standing: Standing, queues: Iterable[Queue]) -> None:
        """Declare the exchanges, and these queues with their bindings."""
        async with standing.channel() as channel:
            for name in EXCHANGES:
                await channel.declare_exchange(name, aio_pika.ExchangeType.DIRECT, durable=True)
            for queue in queues:
                if queue.name == PARKED_QUEUE:
                    await _make_parked(standing, queue)
                    continue
                declared = await channel.declare_queue(queue.name, durable=True, arguments=_arguments(queue))
                await declared.bind(queue.exchange, queue.routing_key)


async def _make_parked(standing: Standing, queue: Queue) -> None:
    try:
        async with standing.channel() as channel:  # of its own, because a refusal closes it
            declared = await channel.declare_queue(queue.name, durable=True, arguments=_arguments(queue))
            await declared.bind(queue.exchange, queue.routing_key)
    except ChannelPreconditionFailed:
        get_logger().warning("parked_queue_without_limit", queue=queue.name)


def _arguments(queue: Queue) -> FieldTable:
    arguments: FieldTable = {"x-queue-type": "quorum"}
    if queue.name in (PARKED_QUEUE, MARK_QUEUE):
        arguments |= {"x-delivery-limit": LOOKED_AT_LIMIT}
        return arguments | ({"x-max-length": 1, "x-overflow": "drop-head"} if queue.name == MARK_QUEUE else {})
    return {
        **arguments,
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": DEAD,
        "x-dead-letter-routing-key": PARKED_QUEUE,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
