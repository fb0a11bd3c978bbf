"""What a running sink counted so far, asked over its port.

Promises: ``counts`` is cheap enough to be asked a few times a second; ``whole`` has every time and may take a second.
Fails: a sink that is gone ends with ``ConnectionError`` or ``EOFError``.
"""

import asyncio
import json
from typing import Any, Self

_LONGEST_LINE = 256 * 1024 * 1024


class SinkWatch:
    """A connection to a sink's port for watching; use as an async context manager."""

    def __init__(self, port: int) -> None:
        """Ask at ``port`` of 127.0.0.1."""
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._one_at_a_time = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=_LONGEST_LINE)
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._writer is not None:
            self._writer.close()

    async def counts(self) -> dict[str, Any]:
        """Give totals: ``accepted``, ``accepted_at`` by listener, ``watched_accepted``, ``open_now``, ``most_open``."""
        return await self._ask(b"counts\n")

    async def whole(self) -> dict[str, Any]:
        """Give everything: also ``accepted_in`` (tenths of a second), who is watched, ``counts`` with every time."""
        return await self._ask(b"whole\n")

    async def pace(self, rate_per_s: float) -> dict[str, Any]:
        """Let the sink accept no more than so many mails a second from now on, 0: any number; gives the totals."""
        return await self._ask(f"pace {rate_per_s}\n".encode())

    async def _ask(self, question: bytes) -> dict[str, Any]:
        if self._reader is None or self._writer is None:
            raise ConnectionError("not connected")
        async with self._one_at_a_time:
            self._writer.write(question)
            line = await self._reader.readline()
        if not line:
            raise EOFError("the sink is gone")
        answer: dict[str, Any] = json.loads(line)
        return answer
