"""A TCP proxy on loopback that breaks connections as networks do, and heals them.

Promises: without a fault, bytes and ends pass unchanged both ways. Faults are switched while it runs, and hold for the
connections that are open and for new ones until ``heal``; several hold at once. What it keeps in memory is bounded: it
stops reading from the side whose other side does not take more.
Fails: where the target is not reached, the client's connection is reset. Linux alone keeps the port while it refuses.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from functools import partial
from urllib.parse import urlsplit, urlunsplit

from tests.support.fault_flow import Budget, Connection, Faults, Way
from tests.support.instances import free_port

__all__ = ["FaultProxy", "Way", "fault_proxy", "fault_proxy_before"]

HOST = "127.0.0.1"
BACKLOG = 512
PORTS = {"postgresql": 5432, "amqp": 5672, "http": 80}


class FaultProxy:
    """Forwards to ``host:port``, as well as it is told to."""

    def __init__(self, host: str, port: int, *, listen_port: int = 0) -> None:
        """Take a port (one of our own choice where ``listen_port`` is 0) without listening on it yet."""
        self.host = HOST
        self.port = listen_port or free_port()
        self.accepted = 0  # connections since the start
        self._target = (host, port)
        self._faults = Faults()
        self._budget: Budget | None = None
        self._connections: dict[Connection, asyncio.Task[None]] = {}
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._listening = False
        # Bound once: a shutdown ends the listening but not the binding, so nobody else gets the port meanwhile.
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.setblocking(False)
        self._listener.bind((HOST, self.port))

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    def url(self, url: str) -> str:
        """The same URL, leading through this proxy."""
        parts = urlsplit(url)
        user, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{user}{at}{self.host}:{self.port}"))

    def cut(self) -> None:
        """Reset every connection now; new ones are taken."""
        for connection, opening in list(self._connections.items()):
            opening.cancel()
            connection.reset()

    def cut_after(self, n_bytes: int, way: Way = Way.BOTH) -> None:
        """Let ``n_bytes`` more pass on each connection; the byte after them resets it instead of passing.

        ``cut_after(0, Way.TO_CLIENT)``: the server does what it is asked, and its answer is lost.
        """
        self._budget = Budget(n_bytes, way)
        for connection in self._connections:
            connection.give(self._budget)

    def refuse(self) -> None:
        """Refuse new connections (ECONNREFUSED); those that are open go on."""
        if self._listening:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listening = False

    def stall(self, way: Way = Way.BOTH) -> None:
        """Pass nothing and end nothing, as where packets vanish; the bytes wait for ``heal``.

        Where both ways are stalled, a new connection is accepted, and reaches the target after ``heal``.
        """
        self._faults.stalled = way
        if way is Way.BOTH:
            self._flowing.clear()
        self._changed()

    def slow(self, bytes_per_s: float | None = None, *, latency_s: float = 0.0) -> None:
        """Pass at most so much per connection and way, and each byte so much later than it came."""
        self._faults.bytes_per_s, self._faults.latency_s = bytes_per_s, latency_s
        self._changed()

    def dribble(self, pause_s: float = 0.001) -> None:
        """Pass byte by byte, each in a packet of its own."""
        self._faults.dribble_pause_s = pause_s
        self._changed()

    def heal(self) -> None:
        """End every fault; what was held passes, and new connections are taken. The target stays."""
        self._faults.clear()
        self._budget = None
        for connection in self._connections:
            connection.give(None)
        self._flowing.set()
        self.listen()
        self._changed()

    def retarget(self, host: str, port: int) -> None:
        """Lead new connections elsewhere; those that are open stay (``cut`` ends them)."""
        self._target = (host, port)

    def listen(self) -> None:
        """Take new connections."""
        if not self._listening:
            self._listener.listen(BACKLOG)
            asyncio.get_running_loop().add_reader(self._listener, self._accept)
            self._listening = True

    async def close(self) -> None:
        """End everything."""
        self.refuse()
        self._listener.close()
        opening = list(self._connections.values())
        self.cut()
        await asyncio.gather(*opening, return_exceptions=True)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):  # nobody waits any more
            while True:
                accepted, _ = self._listener.accept()
                self.accepted += 1
                connection = Connection(accepted, self._faults)
                connection.give(self._budget)
                opening = asyncio.get_running_loop().create_task(self._open(connection))
                self._connections[connection] = opening
                connection.whenever_over(partial(self._connections.pop, connection, None))

    async def _open(self, connection: Connection) -> None:
        await self._flowing.wait()
        await connection.open(*self._target)

    def _changed(self) -> None:
        for connection in list(self._connections):
            connection.move()


@contextlib.asynccontextmanager
async def fault_proxy(host: str, port: int, *, listen_port: int = 0) -> AsyncIterator[FaultProxy]:
    """A proxy before ``host:port``, for the length of the block."""
    proxy = FaultProxy(host, port, listen_port=listen_port)
    proxy.listen()
    try:
        yield proxy
    finally:
        await proxy.close()


@contextlib.asynccontextmanager
async def fault_proxy_before(url: str) -> AsyncIterator[tuple[str, FaultProxy]]:
    """The URL that leads through a proxy to the server of ``url``, and the proxy."""
    parts = urlsplit(url)
    async with fault_proxy(parts.hostname or HOST, parts.port or PORTS[parts.scheme]) as proxy:
        yield proxy.url(url), proxy
