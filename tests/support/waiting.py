"""Waiting for what processes do, with an end."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(
    look: Callable[[], Awaitable[T]], holds: Callable[[T], bool], *, timeout_s: float = 30.0, every_s: float = 0.1
) -> T:
    """What ``look`` gives once ``holds`` says yes; an AssertionError with the last sight of it otherwise."""
    deadline = time.monotonic() + timeout_s
    while True:
        seen = await look()
        if holds(seen):
            return seen
        assert time.monotonic() < deadline, f"still {seen!r} after {timeout_s} s"
        await asyncio.sleep(every_s)
