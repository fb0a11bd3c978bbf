"""How a connection leaves: bound to one of our source IPs, or through a SOCKS5 proxy that owns it.

Promises: the socket given is connected, does not block, and leaves by the source IP asked for, or there is none; a
proxy that says that it left by another address is a failure. None of the peer's own bytes are read here.
Fails with ``EgressFailed``, which says who refused what in words, or ``TimeoutError``; the socket is closed then, and
also when the task is cancelled. A proxy's password stands in no message.
"""

import asyncio
import errno
import ipaddress
import os
import socket
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

# The port is chosen at connect, so that many connections from one IP to different servers may share it (ip(7)).
_IP_BIND_ADDRESS_NO_PORT: Final[int] = getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24)
_CREDENTIAL_BYTES: Final = 255

_VERSION: Final = 5
_NO_AUTHENTICATION: Final = 0
_PASSWORD: Final = 2
_IPV4: Final = 1
_NAME: Final = 3
_IPV6: Final = 4
# RFC 1928 §6.
_REPLIES: Final = {
    1: "general failure of the proxy",
    2: "the proxy's rules do not allow it",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "TTL expired",
    7: "the proxy cannot connect",
    8: "the proxy does not know this kind of address",
}


_GONE: Final = frozenset({errno.ENOTCONN, errno.EBADF})
_QUICKACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)


class EgressFailed(OSError):
    """No connection came about."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A SOCKS5 proxy; ``username`` empty: it wants none."""

    host: str
    port: int
    username: str = ""
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse_proxy(text: str) -> Proxy:
    """Read ``socks5://user:pass@host:port``; user and password may be left out, and may be percent-encoded.

    Raises: ValueError, which never quotes the password.
    """
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
        (host or "").encode("idna")
    except ValueError:  # its message would quote a part of the text
        parts, host, port = SplitResult("", "", "", "", ""), None, None
    username, password = unquote(parts.username or ""), unquote(parts.password or "")
    if parts.scheme != "socks5" or not host or not port or parts.path or parts.query or parts.fragment:
        raise ValueError(
            "a proxy is written socks5://user:password@host:port; in user and password, the characters / ? # @ : % are "
            "percent-encoded"
        )
    if bool(username) != bool(password):
        raise ValueError(f"the proxy {host}:{port} needs both user and password, or neither")
    if max(len(username.encode()), len(password.encode())) > _CREDENTIAL_BYTES:
        raise ValueError(f"user and password of the proxy {host}:{port} may have {_CREDENTIAL_BYTES} bytes each")
    return Proxy(host, port, username, password)


async def connected_socket(
    source_ip: str | None, proxy: Proxy | None, address: str, port: int, timeout_s: float
) -> socket.socket:
    """Connect to ``address`` from ``source_ip`` (None: as the system chooses), by the proxy if there is one.

    Raises: EgressFailed; TimeoutError
    """
    target = ipaddress.ip_address(address)
    if source_ip is not None and ipaddress.ip_address(source_ip).version != target.version:
        raise EgressFailed(f"no way from {source_ip} to {address}: one is IPv4, the other IPv6")
    by = "" if proxy is None else f" by the proxy {proxy}"
    try:
        async with asyncio.timeout(timeout_s):
            if proxy is None:
                return await _connect(address, port, source_ip)
            connection = await _signed_in(proxy)
            try:
                await _ask_for(connection, proxy, target, port, source_ip)
            except BaseException:
                connection.close()
                raise
            return connection
    except TimeoutError as error:
        raise TimeoutError(f"no connection to {_endpoint(address, port)}{by} within {timeout_s:g} s") from error


async def check_proxy(proxy: Proxy, timeout_s: float) -> None:
    """Connect to the proxy and sign in, no more.

    Raises: EgressFailed; TimeoutError
    """
    try:
        async with asyncio.timeout(timeout_s):
            (await _signed_in(proxy)).close()
    except TimeoutError as error:
        raise TimeoutError(f"the proxy {proxy} did not let us in within {timeout_s:g} s") from error


async def _connect(address: str, port: int, source_ip: str | None = None) -> socket.socket:
    connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source_ip is not None:
            connection.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            connection.bind((source_ip, 0))
        await asyncio.get_running_loop().sock_connect(connection, (address, port))
    except OSError as error:
        connection.close()
        leaving = "" if source_ip is None else f" from {source_ip}"
        raise EgressFailed(f"cannot connect{leaving} to {_endpoint(address, port)}: {words(error)}") from error
    except BaseException:
        connection.close()
        raise
    return connection


async def _signed_in(proxy: Proxy) -> socket.socket:
    """Give a connection to the proxy that awaits its request."""
    connection = await _to_proxy(proxy)
    try:
        await _sign_in(connection, proxy)
    except BaseException:
        connection.close()
        raise
    return connection


async def _sign_in(connection: socket.socket, proxy: Proxy) -> None:
    """Agree on a way of signing in, and do it.

    Source: RFC 1928 §3, RFC 1929 §2.
    """
    ways = bytes((_NO_AUTHENTICATION, _PASSWORD) if proxy.username else (_NO_AUTHENTICATION,))
    await _write(connection, bytes((_VERSION, len(ways))) + ways, proxy)
    version, way = await _read(connection, 2, proxy)
    if version != _VERSION:
        raise EgressFailed(f"{proxy} is no SOCKS5 proxy")
    if way not in ways:
        wanted = "another way of signing in" if proxy.username else "a user and a password"
        raise EgressFailed(f"the proxy {proxy} wants {wanted}")
    if way == _PASSWORD:
        user, password = proxy.username.encode(), proxy.password.encode()
        await _write(connection, b"".join((b"\x01", _counted(user), _counted(password))), proxy)
        if await _read(connection, 2, proxy) != b"\x01\x00":
            raise EgressFailed(f"the proxy {proxy} refuses user {proxy.username!r} or the password")


async def _to_proxy(proxy: Proxy) -> socket.socket:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(proxy.host, proxy.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise EgressFailed(f"the proxy {proxy} has no address: {words(error)}") from error
    failure = EgressFailed(f"the proxy {proxy} has no address")
    for *_, (address, *_) in found:
        try:
            return await _connect(str(address), proxy.port)
        except EgressFailed as error:
            failure = error
    raise EgressFailed(f"the proxy {proxy} cannot be reached: {failure}") from failure


async def _ask_for(
    connection: socket.socket,
    proxy: Proxy,
    target: ipaddress.IPv4Address | ipaddress.IPv6Address,
    port: int,
    source_ip: str | None,
) -> None:
    """Say CONNECT and see by which address the proxy left.

    Source: RFC 1928 §4 to §6.
    """
    kind = _IPV4 if target.version == 4 else _IPV6
    await _write(connection, bytes((_VERSION, 1, 0, kind)) + target.packed + port.to_bytes(2, "big"), proxy)
    version, code, _, kind = await _read(connection, 4, proxy)
    if version != _VERSION:
        raise EgressFailed(f"the proxy {proxy} gave an answer that is not of SOCKS5")
    if code != 0:
        why = _REPLIES.get(code, f"reply {code}, which no RFC has")
        raise EgressFailed(f"the proxy {proxy} cannot connect to {_endpoint(str(target), port)}: {why}")
    left_by = await _bound_address(connection, kind, proxy)
    if source_ip is not None and left_by not in ("0.0.0.0", "::", str(ipaddress.ip_address(source_ip))):
        raise EgressFailed(f"the proxy {proxy} left by {left_by} instead of {source_ip}")


async def _bound_address(connection: socket.socket, kind: int, proxy: Proxy) -> str:
    """Read the address that the proxy says it left by, and the port behind it; some proxies give a name."""
    if kind == _IPV4:
        found = str(ipaddress.IPv4Address(await _read(connection, 4, proxy)))
    elif kind == _IPV6:
        address = ipaddress.IPv6Address(await _read(connection, 16, proxy))
        found = str(address.ipv4_mapped or address)
    elif kind == _NAME:
        (length,) = await _read(connection, 1, proxy)
        found = repr(await _read(connection, length, proxy))[1:]
    else:
        raise EgressFailed(f"the proxy {proxy} gave an answer that is not of SOCKS5")
    await _read(connection, 2, proxy)
    return found


async def _read(connection: socket.socket, count: int, proxy: Proxy) -> bytes:
    """Read so many bytes and not one more: what follows belongs to the peer behind the proxy."""
    data = b""
    while len(data) < count:
        try:
            piece = await asyncio.get_running_loop().sock_recv(connection, count - len(data))
        except OSError as error:
            raise EgressFailed(f"the proxy {proxy} broke off: {words(error)}") from error
        if not piece:
            raise EgressFailed(f"the proxy {proxy} closed the connection")
        data += piece
    return data


async def _write(connection: socket.socket, data: bytes, proxy: Proxy) -> None:
    try:
        await asyncio.get_running_loop().sock_sendall(connection, data)
    except OSError as error:
        raise EgressFailed(f"the proxy {proxy} broke off: {words(error)}") from error


def _counted(data: bytes) -> bytes:
    return bytes((len(data),)) + data


def _endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def words(error: OSError) -> str:
    """Give what the system says of an error (asyncio says "Connect call failed" instead)."""
    number = error.errno or 0
    return os.strerror(number).lower() if number > 0 else error.strerror or str(error)


def acknowledge_at_once(connection: socket.socket | None) -> None:
    """Acknowledge what was read without delay.

    A server that writes its replies one by one under Nagle's algorithm (RFC 896) waits for that before the next, and
    a delayed acknowledgement takes 40 ms (Linux, tcp(7)).
    """
    if connection is not None and _QUICKACK is not None:
        connection.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)


def nothing_leaves(connection: socket.socket | None) -> bool:
    """Let the kernel take nothing more for this connection; False where that could not be done.

    A transport goes on writing what it has buffered until it is dropped, also within the same turn of the event loop.
    """
    if connection is None:
        return False
    try:
        with socket.socket(fileno=os.dup(connection.fileno())) as same:  # uvloop's own object cannot do it
            same.shutdown(socket.SHUT_WR)
    except OSError as error:
        return error.errno in _GONE
    return True
