"""One timer for a deadline that moves with every command.

Promises: no timer is armed while one is armed for an earlier time; what is to happen happens once the last deadline set
has passed, and not after ``stop``. It cannot fail.
"""

import asyncio
from collections.abc import Callable


class MovingDeadline:
    """Calls ``on_passed`` when the deadline has passed."""

    __slots__ = ("_alarm", "_loop", "_on_passed", "_when_s")

    def __init__(self, loop: asyncio.AbstractEventLoop, on_passed: Callable[[], None]) -> None:
        """Set no deadline yet."""
        self._loop = loop
        self._on_passed = on_passed
        self._when_s = 0.0
        self._alarm: asyncio.TimerHandle | None = None

    def move(self, timeout_s: float) -> None:
        """Set the deadline to so many seconds from now."""
        self._when_s = when_s = self._loop.time() + timeout_s
        if self._alarm is None or when_s < self._alarm.when():
            self.stop()
            self._alarm = self._loop.call_at(when_s, self._look_at_clock)

    def stop(self) -> None:
        """Forget the deadline."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _look_at_clock(self) -> None:
        self._alarm = None
        if self._loop.time() < self._when_s:
            self._alarm = self._loop.call_at(self._when_s, self._look_at_clock)
        else:
            self._on_passed()
