"""What both brokers promise; ``tests/contract/test_broker.py`` holds each of them to it.

Promises:
- ``publish`` returns after the broker has every message safely, or raises ``PublishFailed``; a message without a queue
  is a failure too, never dropped.
- A delivery stays the consumer's until ``ack``, ``requeue`` or ``park``; if the consumer dies it is delivered again,
  marked ``redelivered``.
- At most ``prefetch`` deliveries of a subscription are unsettled.
- ``park`` has the message, its reason and its origin safely in the parked queue before the original is gone.
- A subscription consumes again by itself after any fault of the belt, and what was declared is declared again first.
- Nothing waits for ever: each call has its bound, after which it raises.

Fails: ``OSError`` (``ConnectionError``, ``TimeoutError``) or the driver's error while the belt is away.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from hayabin.broker.topology import Queue
from hayabin.domain.errors import TemporaryFailure


class PublishFailed(TemporaryFailure):
    """The broker did not confirm, or has no queue for the message."""


class Trouble(StrEnum):
    """Why the belt takes no messages."""

    NONE = ""
    AWAY = "away"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to publish."""

    exchange: str
    routing_key: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


PARKED_LIMIT = 1000
"""Parked messages that one call looks at, from the oldest on."""


@dataclass(frozen=True, slots=True)
class Parked:
    """A message that was set aside. ``id`` stays the same between calls; ``headers`` are those it came with."""

    id: str
    queue: str
    reason: str
    detail: str
    parked_at: datetime | None
    size_bytes: int
    headers: Mapping[str, str]
    body: bytes


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
        """Call ``on_delivery`` in a task of its own for each delivery, at most ``prefetch`` at a time.

        Raises: OSError if it cannot begin; once begun, it goes on until it is cancelled.
        """

    async def depth(self, queues: Sequence[str]) -> dict[str, int]:
        """Ready messages of each queue; 0 for one that does not exist."""

    async def healthy(self) -> bool:
        """Whether the connection stands."""

    async def problem(self) -> str:
        """A ``Trouble``: empty while the belt takes messages.

        ``blocked``: the belt said so (memory or disk alarm), or did not confirm in time of late. RabbitMQ tells only
        those that publish.
        """

    async def remember(self, mark: bytes) -> None:
        """Keep ``mark`` on the belt in place of the one before it; who empties the belt takes it away.

        Raises: PublishFailed.
        """

    async def recall(self) -> bytes | None:
        """The mark, or ``None`` if there is none."""

    async def parked(self, limit: int) -> list[Parked]:
        """The oldest parked messages, which stay parked.

        Shape: at most ``limit``, ``PARKED_LIMIT`` and (about) 64 MiB. Other calls for them find them gone meanwhile.
        """

    async def retry_parked(self, ids: Collection[str]) -> int:
        """Put the oldest parked messages of these ids back on their queues, and say how many.

        Each is on its queue, confirmed, before it leaves the parked queue: a crash may leave it on both. One whose
        queue is unknown, or is no longer there, stays parked.

        Raises: PublishFailed if the belt does not take them; some may be back already.
        """

    async def drop_parked(self, ids: Collection[str]) -> int:
        """Throw away the oldest parked messages of these ids, and say how many."""
