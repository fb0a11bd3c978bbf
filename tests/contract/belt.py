"""What the tests of the belt share: a queue of their own, and ways to fill, hold and empty it."""

import asyncio
import time

from hayabin.broker import Broker, Delivery, Outgoing, PublishFailed
from hayabin.broker.topology import EVENTS, Queue

QUEUE = Queue("events.contract", EVENTS, "contract")


async def drain(broker: Broker, queue: str) -> list[Delivery]:
    """Take and acknowledge everything that a queue holds."""
    taken: list[Delivery] = []

    async def on_delivery(delivery: Delivery) -> None:
        taken.append(delivery)
        await delivery.ack()

    subscription = await broker.consume(queue, on_delivery, prefetch=100)
    quiet_since = time.monotonic()
    seen = 0
    while time.monotonic() - quiet_since < 0.3:
        await asyncio.sleep(0.05)
        if len(taken) != seen:
            seen, quiet_since = len(taken), time.monotonic()
    await subscription.cancel()
    return taken


def outgoing(*bodies: bytes, queue: Queue = QUEUE, **headers: str) -> list[Outgoing]:
    """Messages for the queue of these tests, or another."""
    return [Outgoing(queue.exchange, queue.routing_key, body, headers) for body in bodies]


class Collector:
    """A consumer that keeps its deliveries, unsettled."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []

    async def __call__(self, delivery: Delivery) -> None:
        """Keep the delivery."""
        self.deliveries.append(delivery)

    async def wait_for(self, count: int, timeout_s: float = 20) -> list[Delivery]:
        """Wait until there are ``count`` deliveries."""
        deadline = time.monotonic() + timeout_s
        while len(self.deliveries) < count:
            assert time.monotonic() < deadline, f"{len(self.deliveries)} of {count} deliveries"
            await asyncio.sleep(0.02)
        return self.deliveries


async def publish_until_confirmed(broker: Broker, messages: list[Outgoing]) -> None:
    """Publish again and again, as the outbox relay does."""
    deadline = time.monotonic() + 30
    while True:
        try:
            await broker.publish(messages)
        except PublishFailed:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)
        else:
            return
