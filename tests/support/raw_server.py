"""A server that sends exactly the bytes it is told to, for replies that no SMTP server should give."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

EHLO = b"250-mx.example.jp\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
GO = b"250 ok\r\n250 ok\r\n354 go\r\n"  # to MAIL, RCPT, DATA


@dataclass(slots=True)
class Wire:
    """One connection as the script sees it, and what came in on all of them."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    received: bytearray = field(default_factory=bytearray)

    async def hear(self, until: bytes) -> None:
        """Read until ``until`` came."""
        self.received += await self.reader.readuntil(until)

    async def say(self, data: bytes) -> None:
        """Send these bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def greet(self, ehlo: bytes = EHLO) -> None:
        """Do what comes before the first mail."""
        await self.say(b"220 mx.example.jp\r\n")
        await self.hear(b"\r\n")
        await self.say(ehlo)

    async def hear_commands(self, replies: bytes = GO, *, then_deaf: bool = False) -> None:
        """Read up to DATA and answer all of it; ``then_deaf``: take nothing of what follows."""
        await self.hear(b"DATA\r\n")
        if then_deaf:
            self.reader._transport.pause_reading()  # type: ignore[attr-defined]
        await self.say(replies)

    async def hear_content(self, reply: bytes = b"250 kept\r\n") -> None:
        """Read up to the final dot and answer it."""
        await self.hear(b"\r\n.\r\n")
        await self.say(reply)


Script = Callable[[Wire], Awaitable[None]]


@contextlib.asynccontextmanager
async def raw_server(script: Script, *, receive_bytes: int = 0) -> AsyncIterator[tuple[int, list[Wire]]]:
    """Run ``script`` for each connection; give the port and the connections so far.

    ``receive_bytes`` makes the kernel take little more than that from a peer that is not read.
    """
    wires: list[Wire] = []
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            tasks.add(task)
        wire = Wire(reader, writer)
        wires.append(wire)
        with contextlib.suppress(EOFError, ConnectionError, asyncio.CancelledError):
            await script(wire)
            while data := await reader.read(65536):
                wire.received += data
        writer.close()

    listening = socket.socket()
    if receive_bytes:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    listening.bind(("127.0.0.1", 0))
    server = await asyncio.start_server(serve, sock=listening)
    try:
        yield server.sockets[0].getsockname()[1], wires
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
