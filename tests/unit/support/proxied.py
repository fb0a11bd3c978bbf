"""A server with a fault proxy before it, and clients of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.waiting import eventually

SHORTLY_S = 0.15

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Server:
    """Keeps what comes and answers as told; ``echo`` sends it back."""

    answer: bytes = b""
    echo: bool = False
    port: int = 0
    got: bytearray = field(default_factory=bytearray)
    ends: list[str] = field(default_factory=list)  # how connections ended

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        writer.write(self.answer)
        try:
            while part := await reader.read(65536):
                self.got += part
                if self.echo:
                    writer.write(part)
                    await writer.drain()
            self.ends.append("end")
        except ConnectionError:
            self.ends.append("reset")
        writer.close()


@contextlib.asynccontextmanager
async def proxied(server: Server) -> AsyncIterator[FaultProxy]:
    """The server, and a proxy before it."""
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    async with listening, fault_proxy("127.0.0.1", server.port) as proxy:
        yield proxy


@contextlib.asynccontextmanager
async def client_of(proxy: FaultProxy) -> AsyncIterator[Streams]:
    """A connection through the proxy."""
    reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def nothing_comes(reader: asyncio.StreamReader) -> bool:
    """Whether no byte and no end comes for a while."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(reader.read(1), SHORTLY_S)
        return False
    return True


async def in_full(server: Server, n_bytes: int) -> None:
    """Wait until the server has so many bytes."""

    async def look() -> int:
        return len(server.got)

    await eventually(look, lambda got: got == n_bytes, timeout_s=10, every_s=0.01)


async def until(holds: Callable[[], bool]) -> None:
    """Wait until it holds."""

    async def look() -> bool:
        return holds()

    await eventually(look, bool, timeout_s=10, every_s=0.01)
