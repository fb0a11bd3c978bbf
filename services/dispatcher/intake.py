"""How much this process takes from the belt: what it sends in half a second; the rest waits where others see it.

Promises: mails wait here, unclaimed, for about ``AHEAD_S``, however many queues they come from and however slow the
process is; so only what a destination holds up waits for longer, and the destination tells by that (``destination``).
What was claimed or taken over counts no longer. Where nothing but slow destinations is served, no more is taken than
is sent, but for a little: it would only be given back, to be rendered again. Batches are let in in the order of their
arrival.
It cannot fail.
"""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Final

from services.dispatcher.rates import Meter

AHEAD_S: Final = 0.5
LEAST: Final = 100
"""So many mails may always wait: while nothing is known of the speed, and where little goes."""
SPAN_S: Final = 3.0
MORE: Final = 1.1
"""So many times what is sent may be taken where all that is served is slow,"""
LEAST_PER_S: Final = 200.0
"""or so many mails a second, so that others who wait behind them are soon come to."""
_PAUSE_S: Final = 0.05


@dataclass(slots=True, eq=False)
class Intake:
    """See the module. Units: mails, seconds."""

    mails: int = 0  # that wait, unclaimed
    all_slow: bool = False
    """Whether nothing but slow destinations is served."""
    _most: int = LEAST
    _entered: Meter = field(default_factory=lambda: Meter(time.monotonic()))
    _begun: Meter = field(default_factory=lambda: Meter(time.monotonic()))
    _next: asyncio.Lock = field(default_factory=asyncio.Lock)  # who waits for room; the others wait for it, in order
    _room: asyncio.Event = field(default_factory=asyncio.Event)
    _ended: bool = False

    async def enter(self, mails: int) -> None:
        """Take room for so many mails, when there is some."""
        async with self._next:
            while not self._ended and self.mails >= self._look():
                self._room.clear()
                await self._room.wait()
            while not self._ended and self.all_slow and self._would_be_given_back():  # noqa: ASYNC110 - time frees it
                await asyncio.sleep(_PAUSE_S)
        self.mails += mails
        self._entered.add(mails, time.monotonic())

    def left(self, *, begun: bool) -> None:
        """One mail waits no longer; the speed is told by those whose attempt has begun."""
        self.mails -= 1
        if begun:
            self._begun.add(1, time.monotonic())
        if self.mails < self._most:
            self._room.set()

    def end(self) -> None:
        """Let everybody in: the process stops and gives back all that comes."""
        self._ended = True
        self._room.set()

    def _would_be_given_back(self) -> bool:
        now_s = time.monotonic()
        return self._entered.per_s(now_s, SPAN_S) > max(LEAST_PER_S, self._begun.per_s(now_s, SPAN_S) * MORE)

    def _look(self) -> int:
        self._most = max(LEAST, int(self._begun.per_s(time.monotonic(), SPAN_S) * AHEAD_S))
        return self._most
