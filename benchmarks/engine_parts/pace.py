"""How many mails a second a sink accepts: ``Pace`` lets replies leave one after the other, no faster than it was told.

Promises: in the order of arrival; never faster than the rate over any span that begins with a reply (lateness of the
event loop is caught up, idleness is not saved up); once it is told 0, all that wait leave at once.
Units: seconds of the monotonic clock.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable


class Pace:
    """See the module; 0 is no limit."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin without a limit."""
        self._loop = loop
        self._interval_s = 0.0
        self._next_s = 0.0
        self._waiting: deque[Callable[[], None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def set(self, rate_per_s: float) -> None:
        """Hold to this rate from now on."""
        self._interval_s = 1 / rate_per_s if rate_per_s > 0 else 0.0
        self._next_s = time.monotonic() + self._interval_s
        if self._timer is not None:
            self._timer.cancel()
        self._leave()

    def put(self, leave: Callable[[], None]) -> None:
        """Call ``leave`` when it is its turn."""
        if not self._interval_s:
            leave()
            return
        if not self._waiting:
            self._next_s = max(self._next_s, time.monotonic())
        self._waiting.append(leave)
        if self._timer is None:
            self._leave()

    def _leave(self) -> None:
        self._timer = None
        now_s = time.monotonic()
        while self._waiting and (not self._interval_s or self._next_s <= now_s):
            self._waiting.popleft()()
            self._next_s += self._interval_s
        if self._waiting:
            self._timer = self._loop.call_later(max(0.001, self._next_s - now_s), self._leave)
