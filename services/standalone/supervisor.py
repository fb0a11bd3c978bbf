"""The supervised process group: starts children, restarts the ones that die, stops them in order.

Promises: ``start`` returns when each of the given children is ready; a child that dies later is started again with a
growing pause; ``stop`` ends the children wave by wave and finally kills what is left of the group, so that no process
stays.
Fails: ``ChildFailed`` out of ``start``.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from services.standalone.child import Child, ChildFailed, ChildSpec

BACK_OFF_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
STEADY_AFTER_S = 60.0
"""A child that ran this long is no longer one that keeps dying."""

Report = Callable[[str], None]


class Supervisor:
    """Use as ``async with Supervisor(print) as supervisor``: the end of the block stops everything."""

    def __init__(self, report: Report, hurry: asyncio.Event | None = None) -> None:
        """Tell ``report`` about children that die, in sentences; ``hurry`` is set to kill instead of waiting."""
        self._hurry = hurry or asyncio.Event()
        self._report = report
        self._children: dict[str, Child] = {}
        self._watchers: dict[str, asyncio.Task[None]] = {}
        self._group = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.shield(asyncio.ensure_future(self.stop()))

    def pids(self) -> dict[str, int]:
        """The process id of each child, 0 for one that is down."""
        return {name: child.pid for name, child in self._children.items()}

    async def start(self, specs: Sequence[ChildSpec]) -> None:
        """Start children side by side.

        Raises:
            ChildFailed: one of them did not get ready; the message has the end of its log.
        """
        children = [Child(spec) for spec in specs]
        for child in children:
            self._children[child.spec.name] = child
            await self._start_in_group(child)
        waits = [asyncio.create_task(child.wait_until_ready()) for child in children]
        try:
            for wait in asyncio.as_completed(waits):
                await wait
        finally:
            for pending in waits:
                pending.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        for child in children:
            self._watchers[child.spec.name] = asyncio.create_task(self._watch(child))

    async def stop(self) -> None:
        """Stop every child, lower waves first; then kill what is left of the group."""
        for watcher in self._watchers.values():
            watcher.cancel()
        await asyncio.gather(*self._watchers.values(), return_exceptions=True)
        self._watchers.clear()
        for wave in sorted({child.spec.wave for child in self._children.values()}):
            members = [child for child in self._children.values() if child.spec.wave == wave]
            in_time = await asyncio.gather(*(child.stop(self._hurry) for child in members))
            for child, orderly in zip(members, in_time, strict=True):
                if not orderly:
                    self._report(f"{child.spec.name} did not stop in time and was killed")
        if self._group:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._group, signal.SIGKILL)
        self._children.clear()

    async def _start_in_group(self, child: Child) -> None:
        """Put the child beside the others; where all of those are gone, it founds a new group."""
        try:
            await child.start(self._group)
        except ChildFailed as error:
            if not self._group or not isinstance(error.__cause__, PermissionError | ProcessLookupError):
                raise
            await child.start(0)
            self._group = child.pid
        self._group = self._group or child.pid

    async def _watch(self, child: Child) -> None:
        """Start the child again whenever it ends."""
        failures = 0
        while True:
            status = await child.wait()
            failures = 0 if time.monotonic() - child.started_at > STEADY_AFTER_S else failures
            pause_s = BACK_OFF_S[min(failures, len(BACK_OFF_S) - 1)]
            failures += 1
            self._report(f"{child.spec.name} ended with status {status}; it is started again in {pause_s:g} s")
            await asyncio.sleep(pause_s)
            try:
                await self._start_in_group(child)
            except ChildFailed as error:
                self._report(str(error))
