"""The parked queue of RabbitMQ, looked at and emptied one message at a time.

Promises: messages are taken without acknowledgement, so whatever happens to us they go back; one that is tried again is
confirmed on its queue before it is acknowledged here. At most ``PARKED_LIMIT`` messages and about 64 MiB of those that
are wanted are in hand.
Fails: the driver's errors; ``PublishFailed`` from a retry while the belt takes nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from hayabin.broker.interface import PARKED_LIMIT, Outgoing, Parked, PublishFailed
from hayabin.broker.parking import read_parked
from hayabin.broker.rabbitmq_link import Standing
from hayabin.broker.topology import PARKED_QUEUE, way_to
from hayabin.telemetry.logging import get_logger

MAX_HELD_BYTES = 64 * 1024 * 1024
_WINDOW = 64
_BACK_LOOKS = 20
_BACK_PAUSE_S = 0.05

Confirm = Callable[[Sequence[Outgoing]], Awaitable[list[PublishFailed | None]]]
_Taken = tuple[Parked, AbstractIncomingMessage]


@dataclass(slots=True)
class _Left:
    """The messages in hand that go back."""

    last: AbstractIncomingMessage | None = None
    count: int = 0
    not_taken: int = 0
    """Messages that stood behind the last one that was taken."""

    def add(self, message: AbstractIncomingMessage) -> None:
        """One more."""
        self.count += 1
        if self.last is None or (message.delivery_tag or 0) > (self.last.delivery_tag or 0):
            self.last = message

    async def give_back(self, channel: AbstractChannel) -> None:
        """Give them back, and wait a little until they are there for the next who looks."""
        if self.last is None:
            return
        await self.last.nack(multiple=True, requeue=True)
        for _ in range(_BACK_LOOKS):
            seen = await channel.declare_queue(PARKED_QUEUE, passive=True)
            if (seen.declaration_result.message_count or 0) >= self.count + self.not_taken:
                return
            await asyncio.sleep(_BACK_PAUSE_S)


async def look_at_parked(standing: Standing, limit: int) -> list[Parked]:
    """The oldest parked messages."""
    found: list[Parked] = []
    held_bytes = 0
    left = _Left()
    async with standing.channel() as channel:
        async for parked, message in _take(channel, min(limit, PARKED_LIMIT), left):
            found.append(parked)
            left.add(message)
            held_bytes += parked.size_bytes
            if held_bytes > MAX_HELD_BYTES:
                break
        await left.give_back(channel)
    return found


async def retry_parked(standing: Standing, ids: Collection[str], confirm: Confirm) -> int:
    """Put those of ``ids`` back on their queues."""
    retried = 0
    window: list[_Taken] = []
    held_bytes = 0
    left = _Left()
    async with standing.channel() as channel:
        async for parked, message in _take(channel, PARKED_LIMIT, left):
            if parked.id not in ids:
                left.add(message)
                continue
            window.append((parked, message))
            held_bytes += parked.size_bytes
            if len(window) >= _WINDOW or held_bytes > MAX_HELD_BYTES:
                retried += await _retry(window, confirm, left)
                window, held_bytes = [], 0
        retried += await _retry(window, confirm, left)
        await left.give_back(channel)
    return retried


async def drop_parked(standing: Standing, ids: Collection[str]) -> int:
    """Acknowledge those of ``ids``."""
    dropped = 0
    left = _Left()
    async with standing.channel() as channel:
        async for parked, message in _take(channel, PARKED_LIMIT, left):
            if parked.id in ids:
                await message.ack()
                dropped += 1
            else:
                left.add(message)
        await left.give_back(channel)
    return dropped


async def _take(channel: AbstractChannel, limit: int, left: _Left) -> AsyncIterator[_Taken]:
    queue = await channel.get_queue(PARKED_QUEUE, ensure=False)
    for _ in range(limit):
        message = await queue.get(fail=False, no_ack=False)
        left.not_taken = 0 if message is None else message.message_count or 0
        if message is None:
            return
        yield read_parked(message.headers, message.body), message


async def _retry(window: Sequence[_Taken], confirm: Confirm, left: _Left) -> int:
    """Put a window back; what cannot go back is left, and a belt that takes nothing ends it all."""
    sendable: list[tuple[Outgoing, _Taken]] = []
    for parked, message in window:
        way = way_to(parked.queue)
        if way is None:
            get_logger().warning("parked_of_unknown_queue", parked_id=parked.id, queue=parked.queue)
            left.add(message)
        else:
            sendable.append((Outgoing(*way, parked.body, parked.headers), (parked, message)))
    if not sendable:
        return 0
    retried = 0
    failed: PublishFailed | None = None
    answers = await confirm([outgoing for outgoing, _ in sendable])
    for (_, (parked, message)), answer in zip(sendable, answers, strict=True):
        if answer is None:
            await message.ack()
            retried += 1
            continue
        get_logger().warning("parked_not_retried", parked_id=parked.id, queue=parked.queue, reason=answer.reason)
        left.add(message)
        failed = answer if answer.reason != "unroutable" else failed
    if failed is not None:
        raise failed
    return retried
