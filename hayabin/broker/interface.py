"""What both brokers promise; ``tests/contract/test_broker.py`` holds each of them to it.

Promises:
- ``publish`` returns after the broker has every message safely, or raises ``PublishFailed``; a message without a queue
  is a failure too, never dropped.
- A delivery stays the consumer's until ``ack``, ``requeue`` or ``park``; if the consumer dies it is delivered again,
  marked ``redelivered``.
- At most ``prefetch`` deliveries of a subscription are unsettled.
- ``park`` has the message, its reason and its origin safely in the parked queue before the original is gone.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hayabin.broker.topology import Queue
from hayabin.domain.errors import TemporaryFailure


class PublishFailed(TemporaryFailure):
    """The broker did not confirm, or has no queue for the message."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to publish."""

    exchange: str
    routing_key: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class Delivery(Protocol):
    """One message in the consumer's hands; settle it exactly once."""

    queue: str
    body: bytes
    headers: Mapping[str, str]
    redelivered: bool

    async def ack(self) -> None:
        """Done: the broker forgets it."""

    async def requeue(self) -> None:
        """Not now: the broker delivers it again."""

    async def park(self, reason: str, detail: str = "") -> None:
        """Never: keep it in the parked queue with the reason."""


OnDelivery = Callable[[Delivery], Awaitable[None]]


class Subscription(Protocol):
    """A running consumer."""

    async def cancel(self) -> None:
        """No new deliveries after this; those in hand may still be settled."""


class Broker(Protocol):
    """A connection to the belt."""

    async def declare(self, queues: Sequence[Queue]) -> None:
        """Make sure that exchanges, queues and bindings exist."""

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Publish and wait until every one is confirmed.

        Raises:
            PublishFailed: at least one is not safely with the broker; publish all of them again.
        """

    async def consume(self, queue: str, on_delivery: OnDelivery, *, prefetch: int) -> Subscription:
        """Call ``on_delivery`` in a task of its own for each delivery, at most ``prefetch`` at a time."""

    async def depth(self, queues: Sequence[str]) -> dict[str, int]:
        """Ready messages of each queue; 0 for one that does not exist."""

    async def healthy(self) -> bool:
        """Whether the connection stands."""
