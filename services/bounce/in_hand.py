"""Deliveries under way, so that a stop can wait until each is settled.

Promises: ``drained`` returns when no delivery is in hand; the subscription must be cancelled before.
"""

import asyncio
from collections.abc import Awaitable, Callable

from hayabin.broker import Delivery
from hayabin.broker.consumer import handle


class InHand:
    """Counts what the handlers that it wraps are busy with."""

    def __init__(self) -> None:
        """Begin with nothing in hand."""
        self._count = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def consumer(self, handler: Callable[[Delivery], Awaitable[None]]) -> Callable[[Delivery], Awaitable[None]]:
        """``handler`` with the failure policy of ``hayabin.broker.consumer``, counted."""
        settle = handle(handler)

        async def on_delivery(delivery: Delivery) -> None:
            self._count += 1
            self._idle.clear()
            try:
                await settle(delivery)
            finally:
                self._count -= 1
                if not self._count:
                    self._idle.set()

        return on_delivery

    async def drained(self) -> None:
        """Wait until everything is settled."""
        await self._idle.wait()
