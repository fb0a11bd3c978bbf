"""Work that many wait for is done once at a time for each key.

Promises: while a key's work is under way, whoever asks for it waits for that work and gets its result or its failure;
one who is cancelled does not disturb the others. Fails as the work fails; after ``close`` who still waits is cancelled.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


class SingleFlight(Generic[Result]):
    """What is under way, by key."""

    def __init__(self) -> None:
        """Begin with nothing under way."""
        self._tasks: dict[str, asyncio.Task[Result]] = {}

    async def run(self, key: str, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Do the work, or wait with those who asked before."""
        task = self._tasks.get(key)
        if task is None:
            task = asyncio.create_task(work())
            self._tasks[key] = task
            task.add_done_callback(lambda done: self._ended(key, done))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Stop what is under way."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, key: str, task: asyncio.Task[Result]) -> None:
        self._tasks.pop(key, None)
        if not task.cancelled():
            task.exception()  # seen, also where all who waited have gone
