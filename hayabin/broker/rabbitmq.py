"""RabbitMQ by aio-pika.

Promises: publisher confirms with a timeout, unroutable messages raise; per-consumer prefetch. Two connections, because
a broker in an alarm stops reading from those that publish, and acknowledgements must pass. What was declared is
declared again on each new connection, and a queue that is found deleted is declared again.
Fails: ``PublishFailed`` while the belt is away or blocked (after ``AWAY_WAIT_S``), when a confirm does not come in
``CONFIRM_TIMEOUT_S``, and for what no queue takes; ``OSError`` from the rest.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

import aio_pika
from aio_pika.abc import AbstractExchange
from aio_pika.exceptions import ChannelNotFoundEntity, PublishError

from hayabin.broker.interface import OnDelivery, Outgoing, Parked, PublishFailed, Trouble
from hayabin.broker.rabbitmq_declare import Declarations
from hayabin.broker.rabbitmq_link import ANSWER_TIMEOUT_S, AWAY_WAIT_S, Link, Standing, answered, being_cancelled
from hayabin.broker.rabbitmq_mark import look_at_mark
from hayabin.broker.rabbitmq_parked import drop_parked, look_at_parked, retry_parked
from hayabin.broker.rabbitmq_subscription import Consumption, RabbitSubscription
from hayabin.broker.topology import EXCHANGES, INSTALLATION, MARK_QUEUE, Queue
from hayabin.telemetry.metrics import PUBLISH_SECONDS

CONFIRM_TIMEOUT_S = 30.0
CONFIRM_WINDOW = 64
"""Messages on the wire without a confirm, for one ``publish``."""
DELETED_PAUSE_S = 2.0
PARKED_TIMEOUT_S = 120.0


class RabbitBroker:
    """See ``hayabin.broker.interface.Broker``."""

    def __init__(self, url: str, name: str) -> None:
        """Remember where; ``open`` connects."""
        self._declarations = Declarations()
        self._working = Link(url, name, self._declarations.make_again)
        self._publishing = Link(url, f"{name} publish", self._prepare_publishing)
        self._exchanges: dict[str, AbstractExchange] = {}
        self._subscriptions: list[RabbitSubscription] = []
        self._late_at_s: float | None = None
        """When a confirm did not come in time though the broker had said nothing, until one comes."""

    async def open(self) -> None:
        """Connect.

        Raises: OSError.
        """
        await self._working.open()
        await self._publishing.open()

    async def close(self) -> None:
        """End the subscriptions and the connections."""
        await asyncio.gather(*(subscription.end() for subscription in self._subscriptions))
        await asyncio.gather(self._publishing.close(), self._working.close())

    async def _prepare_publishing(self, standing: Standing) -> None:
        await self._declarations.make_again(standing)
        channel = standing.connection.channel(publisher_confirms=True, on_return_raises=True)
        await channel.initialize()
        channel.close_callbacks.add(lambda *_: standing.lost.set())  # such as for an exchange that was deleted
        self._exchanges = {name: await channel.get_exchange(name, ensure=False) for name in EXCHANGES}

    async def declare(self, queues: Sequence[Queue]) -> None:
        """Declare and bind, now and on each new connection."""
        standing = await self._working.standing()
        await answered(self._declarations.make(standing, queues), ANSWER_TIMEOUT_S)
        self._declarations.remember(queues)

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Publish in windows, each confirmed."""
        for start in range(0, len(messages), CONFIRM_WINDOW):
            for answer in await self.confirm(messages[start : start + CONFIRM_WINDOW]):
                if answer is not None:
                    raise answer

    async def confirm(self, window: Sequence[Outgoing]) -> list[PublishFailed | None]:
        """Publish a window of messages at once, and say of each how it failed or ``None``.

        Raises: PublishFailed if the belt is away or blocked: nothing was sent.
        """
        try:
            standing = await self._publishing.standing()
        except ConnectionError as error:
            raise PublishFailed("publish_failed", Trouble.AWAY) from error
        if not await standing.unblocked(AWAY_WAIT_S):
            raise PublishFailed("publish_failed", Trouble.BLOCKED)
        with PUBLISH_SECONDS.time():
            answers = await asyncio.gather(*map(self._publish_one, window), return_exceptions=True)
        if any(isinstance(answer, asyncio.CancelledError) for answer in answers) and being_cancelled():
            raise asyncio.CancelledError
        late = any(isinstance(answer, TimeoutError) for answer in answers) and await standing.unblocked(0)
        self._late_at_s = asyncio.get_running_loop().time() if late else None
        if late:
            standing.lost.set()  # one queue without a leader holds up the whole channel: the next publish has a new one
        failures = [_failure(*pair) for pair in zip(window, answers, strict=True)]
        await self._declare_deleted(window, failures)
        return failures

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

    async def _declare_deleted(self, window: Sequence[Outgoing], failures: Sequence[PublishFailed | None]) -> None:
        """Bring back the queues that were not found though they were declared, for the next attempt."""
        lost = [
            one for one, failure in zip(window, failures, strict=True) if failure and failure.reason == "unroutable"
        ]
        deleted = {queue for one in lost for queue in self._declarations.of_message(one.exchange, one.routing_key)}
        if not deleted:
            return
        # a queue that is there again too soon keeps RabbitMQ from telling its consumers that theirs was deleted
        await asyncio.sleep(DELETED_PAUSE_S)
        with contextlib.suppress(OSError):  # the next attempt fails as well then
            await self.declare(list(deleted))

    async def consume(self, queue: str, on_delivery: OnDelivery, *, prefetch: int) -> RabbitSubscription:
        """Consume on a channel of its own."""
        subscription = RabbitSubscription(
            Consumption(
                link=self._working,
                queue=queue,
                prefetch=prefetch,
                on_delivery=on_delivery,
                declare=self._declarations.make_known,
                publish=self.publish,
            )
        )
        await subscription.start()
        self._subscriptions.append(subscription)
        return subscription

    async def depth(self, queues: Sequence[str]) -> dict[str, int]:
        """Passive declarations."""
        standing = await self._working.standing()
        return await answered(_depth(standing, queues), ANSWER_TIMEOUT_S)

    async def healthy(self) -> bool:
        """Whether the connections are up."""
        return self._working.up and self._publishing.up

    async def problem(self) -> str:
        """See the interface; an alarm is known from the first publish on that met it."""
        now_s = asyncio.get_running_loop().time()
        if self._late_at_s is not None and now_s < self._late_at_s + CONFIRM_TIMEOUT_S:
            return Trouble.BLOCKED
        if not await self.healthy():
            return Trouble.AWAY
        standing = await self._publishing.standing()
        return Trouble.NONE if await standing.unblocked(0) else Trouble.BLOCKED

    async def remember(self, mark: bytes) -> None:
        """Publish it to a queue of length one."""
        await self.publish([Outgoing(INSTALLATION, MARK_QUEUE, mark)])

    async def recall(self) -> bytes | None:
        """Take the mark and give it back."""
        standing = await self._working.standing()
        return await answered(look_at_mark(standing), ANSWER_TIMEOUT_S)

    async def parked(self, limit: int) -> list[Parked]:
        """Take them all, then give them back."""
        standing = await self._working.standing()
        return await answered(look_at_parked(standing, limit), PARKED_TIMEOUT_S)

    async def retry_parked(self, ids: Collection[str]) -> int:
        """Publish, confirmed, then acknowledge."""
        standing = await self._working.standing()
        return await answered(retry_parked(standing, ids, self.confirm), PARKED_TIMEOUT_S)

    async def drop_parked(self, ids: Collection[str]) -> int:
        """Acknowledge."""
        standing = await self._working.standing()
        return await answered(drop_parked(standing, ids), PARKED_TIMEOUT_S)


def _failure(message: Outgoing, answer: BaseException | None) -> PublishFailed | None:
    match answer:
        case None:
            return None
        case PublishError():
            failure = PublishFailed("unroutable", f"{message.exchange} {message.routing_key}")
        case _:
            failure = PublishFailed("publish_failed", repr(answer))
    failure.__cause__ = answer
    return failure


async def _depth(standing: Standing, queues: Sequence[str]) -> dict[str, int]:
    answer = dict.fromkeys(queues, 0)
    waiting = list(queues)
    while waiting:
        try:
            async with standing.channel() as channel:
                while waiting:
                    name = waiting.pop()
                    queue = await channel.declare_queue(name, passive=True)
                    answer[name] = queue.declaration_result.message_count or 0
        except ChannelNotFoundEntity:
            continue  # which closed the channel
    return answer


@asynccontextmanager
async def open_rabbitmq(url: str, *, name: str) -> AsyncIterator[RabbitBroker]:
    """A broker on two connections that come back."""
    broker = RabbitBroker(url, name)
    try:
        await broker.open()
        yield broker
    finally:
        await broker.close()
