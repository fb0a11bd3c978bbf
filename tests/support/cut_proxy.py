"""A TCP proxy on loopback that can cut all of its connections, as a network fault does.

Promises: bytes pass unchanged both ways; ``cut`` resets every connection at once; new ones are taken afterwards.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit


class CutProxy:
    """Forwards to ``host:port`` until cut."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Reset every connection."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection both ways."""
        there_reader, there_writer = await asyncio.open_connection(*self._target)
        await asyncio.gather(self._pump(reader, there_writer), self._pump(there_reader, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        self._writers.discard(writer)
        writer.close()


@contextlib.asynccontextmanager
async def cut_proxy(url: str) -> AsyncIterator[tuple[str, CutProxy]]:
    """The URL that leads through a proxy to the server of ``url``, and the proxy."""
    parts = urlsplit(url)
    proxy = CutProxy(parts.hostname or "127.0.0.1", parts.port or 0)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    user = parts.netloc.rpartition("@")[0]
    yield urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{port}")), proxy
    server.close()
    proxy.cut()
