"""A UDP proxy on loopback that loses, delays and refuses datagrams; made for DNS.

Promises: without a fault, each datagram passes unchanged, and each client has a socket of its own to the server, so
answers find their way. Faults hold until ``heal``. At most ``CLIENTS`` sockets are open: the oldest goes first.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from functools import partial

from tests.support.instances import free_port

HOST = "127.0.0.1"
CLIENTS = 256
DATAGRAM_BYTES = 65_535

Address = tuple[str, int]


class UdpFaultProxy:
    """Forwards to ``host:port``, as well as it is told to."""

    def __init__(self, host: str, port: int, *, listen_port: int = 0) -> None:
        """Take a port (one of our own choice where ``listen_port`` is 0); a TCP proxy may have the same."""
        self.host = HOST
        self.port = listen_port or free_port()
        self.came = 0  # datagrams of clients since the start
        self._target = (host, port)
        self._latency_s = 0.0
        self._lose_every = 0
        self._listener: socket.socket | None = None
        self._to_server: dict[Address, socket.socket] = {}

    def lose(self, every: int = 1) -> None:
        """Lose every n-th datagram of the clients: 1 loses all."""
        self._lose_every = every

    def slow(self, latency_s: float) -> None:
        """Pass each datagram so much later than it came."""
        self._latency_s = latency_s

    def refuse(self) -> None:
        """Let the port be closed: who asks is told so (ICMP)."""
        loop = asyncio.get_running_loop()
        sockets = [*self._to_server.values(), *([self._listener] if self._listener else [])]
        for each in sockets:
            loop.remove_reader(each)
            each.close()
        self._to_server.clear()
        self._listener = None

    def heal(self) -> None:
        """End every fault; the target stays."""
        self._latency_s, self._lose_every = 0.0, 0
        self.listen()

    def retarget(self, host: str, port: int) -> None:
        """Lead what comes from now on elsewhere."""
        self._target = (host, port)
        for client in list(self._to_server):
            self._forget(client)

    def listen(self) -> None:
        """Take datagrams."""
        if self._listener is None:
            self._listener = socket.socket(type=socket.SOCK_DGRAM)
            self._listener.setblocking(False)
            self._listener.bind((HOST, self.port))
            asyncio.get_running_loop().add_reader(self._listener, self._from_clients, self._listener)

    def _from_clients(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            datagram, client = listener.recvfrom(DATAGRAM_BYTES)
            self.came += 1
            if not (self._lose_every and self.came % self._lose_every == 0):
                self._later(partial(self._towards(client).send, datagram))

    def _from_server(self, client: Address, to_server: socket.socket) -> None:
        try:
            datagram = to_server.recv(DATAGRAM_BYTES)
        except (BlockingIOError, ConnectionError):  # the server's port is closed: the client waits in vain
            return
        if self._listener is not None:
            self._later(partial(self._listener.sendto, datagram, client))

    def _towards(self, client: Address) -> socket.socket:
        """The client's socket to the server."""
        if client not in self._to_server:
            if len(self._to_server) == CLIENTS:
                self._forget(next(iter(self._to_server)))
            to_server = socket.socket(type=socket.SOCK_DGRAM)
            to_server.setblocking(False)
            to_server.connect(self._target)
            asyncio.get_running_loop().add_reader(to_server, self._from_server, client, to_server)
            self._to_server[client] = to_server
        return self._to_server[client]

    def _forget(self, client: Address) -> None:
        to_server = self._to_server.pop(client)
        asyncio.get_running_loop().remove_reader(to_server)
        to_server.close()

    def _later(self, send: Callable[[], object]) -> None:
        asyncio.get_running_loop().call_later(self._latency_s, self._send, send)

    @staticmethod
    def _send(send: Callable[[], object]) -> None:
        with contextlib.suppress(
            OSError
        ):  # UDP: what cannot be sent is lost, as with a socket that was closed meanwhile
            send()


@contextlib.asynccontextmanager
async def udp_fault_proxy(host: str, port: int, *, listen_port: int = 0) -> AsyncIterator[UdpFaultProxy]:
    """A proxy before ``host:port``, for the length of the block."""
    proxy = UdpFaultProxy(host, port, listen_port=listen_port)
    proxy.listen()
    try:
        yield proxy
    finally:
        proxy.refuse()
