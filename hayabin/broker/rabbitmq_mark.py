"""The mark at RabbitMQ: one message on a queue of length one, which is looked at and given back.

Promises: several processes may look at once: each waits as a consumer, so the broker hands the message round. "There is
none" is said only when nobody else had a consumer on the queue, who may have had the mark in hand. For a moment after
it was replaced the old one may still be seen, where somebody had it in hand: who compares takes the later one.
Fails: the driver's errors; does not return while somebody else holds the mark (the caller sets the bound).
"""

import asyncio
import contextlib
import random

from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from aio_pika.exceptions import ChannelNotFoundEntity

from hayabin.broker.rabbitmq_link import Standing
from hayabin.broker.topology import MARK_QUEUE

_WAIT_S = 1.0


async def look_at_mark(standing: Standing) -> bytes | None:
    """The mark, or ``None`` if there is none."""
    while True:
        try:
            async with standing.channel() as channel:
                mark, alone = await _look(channel)
        except ChannelNotFoundEntity:
            return None
        if mark is not None or alone:
            return mark
        await asyncio.sleep(random.uniform(0, _WAIT_S))  # noqa: S311 - so that two who wait see each other go


async def _look(channel: AbstractChannel) -> tuple[bytes | None, bool]:
    """The mark, and whether nobody else had a consumer after we had ours."""
    taken: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
    await channel.set_qos(prefetch_count=1)
    queue = await channel.get_queue(MARK_QUEUE, ensure=False)
    tag = await queue.consume(taken.put)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_WAIT_S):
            message = await taken.get()
            # the consumer stays until the channel closes, so that others see that somebody may have the mark in hand
            await message.nack(requeue=True)
            return message.body, False
    await queue.cancel(tag)
    seen = await channel.declare_queue(MARK_QUEUE, passive=True)  # also proves that the channel lived
    if not taken.empty():  # it came at the last moment
        return taken.get_nowait().body, False
    return None, not seen.declaration_result.consumer_count
