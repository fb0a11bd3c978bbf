"""Ctrl-C and SIGTERM for a run: the first one stops everything in order, the second one at once.

Promises: ``run_until_signal`` returns only when what it ran has cleaned up after itself.
"""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable


def run_until_signal(main: Callable[[asyncio.Event], Awaitable[int]], *, when_interrupted: int) -> int:
    """Run ``main``, whose argument is set by the second signal; returns its exit code, or the given one."""
    return asyncio.run(_run(main, when_interrupted))


async def _run(main: Callable[[asyncio.Event], Awaitable[int]], when_interrupted: int) -> int:
    hurry = asyncio.Event()
    work = asyncio.ensure_future(main(hurry))
    seen = 0

    def on_signal() -> None:
        nonlocal seen
        seen += 1
        if seen == 1:
            work.cancel()
        else:
            hurry.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal)
    with contextlib.suppress(asyncio.CancelledError):
        return await work
    return when_interrupted
