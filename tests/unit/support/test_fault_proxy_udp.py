"""The UDP proxy: datagrams pass unchanged and find their way back; each fault does what it says; healing ends it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from tests.support.fault_proxy_udp import CLIENTS, UdpFaultProxy, udp_fault_proxy

SHORTLY_S = 0.15


class Echo(asyncio.DatagramProtocol):
    """Answers with what came and a word of its own."""

    def __init__(self, word: bytes) -> None:
        self.word = word
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        """Keep the transport."""
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer."""
        assert self.transport is not None
        self.transport.sendto(data + self.word, addr)


class Client(asyncio.DatagramProtocol):
    """Asks, and keeps what comes back."""

    def __init__(self) -> None:
        self.answers: asyncio.Queue[bytes | Exception] = asyncio.Queue()

    def datagram_received(self, data: bytes, _addr: object) -> None:
        """Keep it."""
        self.answers.put_nowait(data)

    def error_received(self, exc: Exception) -> None:
        """Keep that too."""
        self.answers.put_nowait(exc)


@contextlib.asynccontextmanager
async def echo(word: bytes) -> AsyncIterator[int]:
    """The port of an echoing server."""
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Echo(word), local_addr=("127.0.0.1", 0)
    )
    yield transport.get_extra_info("sockname")[1]
    transport.close()


@contextlib.asynccontextmanager
async def client_of(proxy: UdpFaultProxy) -> AsyncIterator[tuple[asyncio.DatagramTransport, Client]]:
    """A client that asks through the proxy."""
    transport, client = await asyncio.get_running_loop().create_datagram_endpoint(
        Client, remote_addr=(proxy.host, proxy.port)
    )
    yield transport, client
    transport.close()


async def answer(client: Client, timeout_s: float = 5.0) -> bytes | Exception | None:
    """What comes next; None: nothing."""
    with contextlib.suppress(TimeoutError):
        return await asyncio.wait_for(client.answers.get(), timeout_s)
    return None


async def test_datagrams_pass_unchanged_and_each_client_gets_its_own() -> None:
    """More clients than the proxy keeps sockets for: each is answered with what it asked, small or large."""
    async with echo(b"!") as port, udp_fault_proxy("127.0.0.1", port) as proxy:
        for n in range(CLIENTS + 10):
            async with client_of(proxy) as (transport, client):
                asked = bytes([n % 256]) * (1 + n * 50)
                transport.sendto(asked)
                assert await answer(client) == asked + b"!"
        assert len(proxy._to_server) == CLIENTS


async def test_lost_late_and_refused_datagrams_and_healing() -> None:
    """Every second is lost; all are lost; an answer takes the latency twice; a closed port is told; then all is well."""
    async with echo(b"!") as port, udp_fault_proxy("127.0.0.1", port) as proxy, client_of(proxy) as (transport, client):
        proxy.lose(every=2)
        for asked in (b"1", b"2", b"3", b"4"):
            transport.sendto(asked)
        assert [await answer(client) for _ in range(2)] == [b"1!", b"3!"]
        proxy.lose()
        transport.sendto(b"5")
        assert await answer(client, SHORTLY_S) is None
        proxy.heal()
        proxy.slow(0.1)
        started = time.monotonic()
        transport.sendto(b"6")
        assert await answer(client) == b"6!"
        assert time.monotonic() - started >= 0.2
        proxy.refuse()
        transport.sendto(b"7")
        assert isinstance(await answer(client), ConnectionRefusedError)
        proxy.heal()
        transport.sendto(b"8")
        assert await answer(client) == b"8!"


async def test_retarget_leads_the_same_client_elsewhere() -> None:
    """The next datagram of an old client goes to the new server."""
    async with (
        echo(b"1") as port,
        echo(b"2") as other,
        udp_fault_proxy("127.0.0.1", port) as proxy,
        client_of(proxy) as (transport, client),
    ):
        transport.sendto(b"a")
        assert await answer(client) == b"a1"
        proxy.retarget("127.0.0.1", other)
        transport.sendto(b"a")
        assert await answer(client) == b"a2"
