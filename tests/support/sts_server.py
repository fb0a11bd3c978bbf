"""An HTTPS server that answers as a test says, for MTA-STS policies: any bytes, any certificate, any delay.

Promises: one answer for each connection; what was asked is kept. Ends without a word when the peer breaks off.
"""

import asyncio
import contextlib
import ssl
from typing import Self

from tests.support.self_signed import Identity


def response(body: str | bytes, *, status: str = "200 OK", kind: str = "text/plain", headers: str = "") -> bytes:
    """Build a whole HTTP response; ``headers`` are further lines, each with its CRLF."""
    raw = body.encode() if isinstance(body, str) else body
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(raw)}\r\n{headers}Connection: close\r\n\r\n"
    )
    return head.encode() + raw


class StsServer:
    """The server; use as an async context manager. ``answer``, ``delay_s`` and ``endless`` may change while it runs."""

    def __init__(self, identity: Identity, answer: bytes, *, address: str = "127.0.0.1") -> None:
        """Prepare; nothing listens yet."""
        self.answer = answer
        self.delay_s = 0.0
        self.endless = False  # never stop sending after the answer
        self.address = address
        self.port = 0
        self.requests: list[bytes] = []
        self.names: list[str | None] = []  # of SNI
        self._context = identity.context
        self._context.sni_callback = self._named
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def _named(self, _socket: object, name: str | None, _context: ssl.SSLContext) -> None:
        self.names.append(name)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self.address, 0, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(EOFError, ConnectionError, ssl.SSLError, asyncio.CancelledError):
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            await asyncio.sleep(self.delay_s)
            writer.write(self.answer)
            await writer.drain()
            while self.endless:
                writer.write(b"x" * 65536)
                await writer.drain()
        writer.close()
