"""A SOCKS5 proxy on loopback that leaves by an address of its own, and misbehaves as told.

Promises: CONNECT to IPv4 and IPv6 addresses, with user and password where it has one; bytes pass unchanged; every
connection that it takes is closed when it ends.
"""

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from services.dispatcher.egress import Proxy

NO_AUTHENTICATION, PASSWORD, NO_WAY = 0, 2, 0xFF


@dataclass(slots=True)
class Socks5Proxy:
    """How it behaves, and what it saw.

    ``instead`` maps the number of an answer of the proxy (0: choice of the way to sign in; 1: CONNECT, or 1: sign-in and
    2: CONNECT where it has a user) to the bytes that it sends instead and then hangs up; None: it falls silent.
    """

    source_ip: str = ""  # it leaves by this one; empty: as the system chooses
    says: str = ""  # it claims to have left by this one; empty: the truth
    user: str = ""
    password: str = ""
    instead: dict[int, bytes | None] = field(default_factory=dict)
    asked_for: list[tuple[str, int]] = field(default_factory=list)
    signed_in: list[tuple[str, str]] = field(default_factory=list)
    port: int = 0
    answers: int = 0
    writers: set[asyncio.StreamWriter] = field(default_factory=set)
    ended: int = 0  # connections that are over

    @property
    def proxy(self) -> Proxy:
        """How to reach it."""
        return Proxy("127.0.0.1", self.port, self.user, self.password)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.answers = 0
        self.writers.add(writer)
        try:
            with contextlib.suppress(EOFError, ConnectionError):
                if await self._sign_in(reader, writer):
                    await self._connect(reader, writer)
        finally:
            self.ended += 1
            self.writers.discard(writer)
            writer.close()

    async def _sign_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        _, count = await reader.readexactly(2)
        wanted = PASSWORD if self.user else NO_AUTHENTICATION
        way = wanted if wanted in await reader.readexactly(count) else NO_WAY
        await self._answer(reader, writer, bytes((5, way)))
        if way != PASSWORD:
            return way != NO_WAY
        await reader.readexactly(1)
        user = await reader.readexactly((await reader.readexactly(1))[0])
        password = await reader.readexactly((await reader.readexactly(1))[0])
        self.signed_in.append((user.decode(), password.decode()))
        known = self.signed_in[-1] == (self.user, self.password)
        await self._answer(reader, writer, bytes((1, 0 if known else 1)))
        return known

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, _, _, kind = await reader.readexactly(4)
        address = str(ipaddress.ip_address(await reader.readexactly(4 if kind == 1 else 16)))
        port = int.from_bytes(await reader.readexactly(2), "big")
        self.asked_for.append((address, port))
        local = (self.source_ip, 0) if self.source_ip else None
        try:
            there_reader, there_writer = await asyncio.open_connection(address, port, local_addr=local)
        except ConnectionRefusedError:
            await self._answer(reader, writer, bytes((5, 5, 0, 1)) + bytes(6))
            return
        self.writers.add(there_writer)
        left_by = ipaddress.ip_address(self.says or there_writer.get_extra_info("sockname")[0])
        head = bytes((5, 0, 0, 1 if left_by.version == 4 else 4))
        try:
            await self._answer(reader, writer, head + left_by.packed + bytes(2))
            await asyncio.gather(_pump(reader, there_writer), _pump(there_reader, writer))
        finally:
            self.writers.discard(there_writer)
            there_writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, usual: bytes) -> None:
        number, self.answers = self.answers, self.answers + 1
        if number not in self.instead:
            writer.write(usual)
            return
        data = self.instead[number]
        if data is None:
            await reader.read()  # until the client gives up
        else:
            writer.write(data)
        raise EOFError


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def running(proxy: Socks5Proxy) -> AsyncIterator[Socks5Proxy]:
    """Run a proxy; give it with its port."""
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for writer in list(proxy.writers):
            writer.transport.abort()
