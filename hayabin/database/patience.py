"""Waiting for what a process needs and does not have yet, at its start.

Promises: it is tried again after pauses that grow from ``FIRST_PAUSE_S`` to ``LONGEST_PAUSE_S``, each said in the log;
while somebody waits, ``is_waiting`` holds, so that a process which is told to stop need not drain.
Fails: what is not worth waiting for comes out at once.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from hayabin.telemetry.logging import get_logger

T = TypeVar("T")
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 5.0
_waiting: set[object] = set()


class StartRefused(Exception):
    """The process cannot start as it is configured, however long it waits; the message says what to change."""


async def patiently(attempt: Callable[[], Awaitable[T]], event: str, waits_for: tuple[type[Exception], ...]) -> T:
    """The result of the first attempt that succeeds; ``event`` is logged for each that fails with ``waits_for``."""
    pause_s = FIRST_PAUSE_S
    mark = object()
    _waiting.add(mark)
    try:
        while True:
            try:
                return await attempt()
            except waits_for as error:
                get_logger().warning(event, error=repr(error), pause_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
    finally:
        _waiting.discard(mark)


def is_waiting() -> bool:
    """Whether this process waits for something that it cannot start without."""
    return bool(_waiting)
