"""How connections leave: from the source IP, through a SOCKS5 proxy, and what is said when they do not."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from services.dispatcher.egress import EgressFailed, Proxy, check_proxy, connected_socket, parse_proxy
from tests.support.raw_server import Wire, raw_server
from tests.support.socks5_proxy import Socks5Proxy, running

ELSEWHERE = "192.0.2.1"  # of nobody (RFC 5737)
BOTH_LOOPS = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uv"])


def has_ipv6() -> bool:
    """Say whether this machine has an IPv6 loopback."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


NEEDS_IPV6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")


@contextlib.asynccontextmanager
async def listening(address: str = "127.0.0.5") -> AsyncIterator[tuple[int, list[str]]]:
    """Greet everybody; give the port and who came."""
    peers: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(writer.get_extra_info("peername")[0])
        writer.write(b"220 mx.example.jp\r\n")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, address, 0)
    try:
        yield server.sockets[0].getsockname()[1], peers
    finally:
        server.close()


async def greeting_of(connection: socket.socket) -> bytes:
    """Read what the server says first."""
    with connection:
        return await asyncio.get_running_loop().sock_recv(connection, 100)


@BOTH_LOOPS
@pytest.mark.parametrize("source_ip", ["127.0.0.7", None])
@pytest.mark.parametrize("by_proxy", [False, True], ids=["direct", "proxy"])
def test_connected_socket_each_way_leaves_by_source_ip(
    new_loop: Callable[[], asyncio.AbstractEventLoop], source_ip: str | None, *, by_proxy: bool
) -> None:
    """The server sees the source IP asked for, and its first bytes are the first that the socket gives."""

    async def main() -> None:
        via = Socks5Proxy(source_ip or "", user="out", password="p:w")
        async with listening() as (port, peers), running(via):
            connection = await connected_socket(source_ip, via.proxy if by_proxy else None, "127.0.0.5", port, 5)
            assert not connection.getblocking()
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert await greeting_of(connection) == b"220 mx.example.jp\r\n"
            assert source_ip is None or peers == [source_ip]
            assert via.signed_in == ([("out", "p:w")] if by_proxy else [])
            assert via.asked_for == ([("127.0.0.5", port)] if by_proxy else [])

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


@NEEDS_IPV6
@pytest.mark.parametrize("by_proxy", [False, True], ids=["direct", "proxy"])
async def test_connected_socket_ipv6_leaves_by_source_ip(*, by_proxy: bool) -> None:
    """IPv6 goes the same ways."""
    via = Socks5Proxy("::1")
    async with listening("::1") as (port, peers), running(via):
        connection = await connected_socket("::1", via.proxy if by_proxy else None, "::1", port, 5)
        assert await greeting_of(connection) == b"220 mx.example.jp\r\n"
        assert peers == ["::1"]


async def test_connected_socket_many_to_one_server_share_ports() -> None:
    """The bind takes no port: what the kernel gives at connect may be in use towards another server."""
    async with listening() as (one, _), listening("127.0.0.6") as (other, _):
        first = await connected_socket("127.0.0.7", None, "127.0.0.5", one, 5)
        with first, socket.socket() as second:
            second.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
            assert first.getsockopt(socket.IPPROTO_IP, 24) == 1
            second.bind(("127.0.0.7", 0))
            assert second.getsockname()[1] == 0
        (await connected_socket("127.0.0.7", None, "127.0.0.6", other, 5)).close()


@pytest.mark.parametrize(
    ("source_ip", "address", "words"),
    [
        (ELSEWHERE, "127.0.0.5", f"cannot connect from {ELSEWHERE} to 127.0.0.5:1: cannot assign requested address"),
        ("127.0.0.7", "127.0.0.5", "cannot connect from 127.0.0.7 to 127.0.0.5:1: .*refused"),
        ("127.0.0.7", "::1", "no way from 127.0.0.7 to ::1: one is IPv4, the other IPv6"),
        ("::1", "127.0.0.5", "no way from ::1 to 127.0.0.5: one is IPv4, the other IPv6"),
    ],
)
async def test_connected_socket_no_way_says_why(source_ip: str, address: str, words: str) -> None:
    """What cannot be bound, is refused, or is of the other family is named."""
    with pytest.raises(EgressFailed, match=words):
        await connected_socket(source_ip, None, address, 1, 5)


async def test_connected_socket_full_backlog_times_out_and_closes() -> None:
    """A server that takes no connection costs the timeout, no more."""
    with socket.socket() as server, contextlib.ExitStack() as waiting:
        server.bind(("127.0.0.5", 0))
        server.listen(0)
        for _ in range(3):  # fill the backlog
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        with pytest.raises(TimeoutError, match=r"no connection to 127.0.0.5:\d+ within 0.1 s"):
            await connected_socket("127.0.0.7", None, "127.0.0.5", server.getsockname()[1], 0.1)


@pytest.mark.parametrize(
    ("via", "words"),
    [
        (Socks5Proxy(says="127.0.0.8"), "left by 127.0.0.8 instead of 127.0.0.7"),
        (Socks5Proxy(says="::ffff:127.0.0.8"), "left by 127.0.0.8 instead of 127.0.0.7"),
        (Socks5Proxy(instead={1: b"\x05\x00\x00\x03\x03abc\x00\x00"}), "left by 'abc' instead of 127.0.0.7"),
        (Socks5Proxy(instead={0: b"\x05\xff"}), "wants a user and a password"),
        (Socks5Proxy(instead={0: b"\x05\x01"}), "wants a user and a password"),
        (Socks5Proxy(instead={0: b"HTTP/1.1 400 Bad Request\r\n"}), "is no SOCKS5 proxy"),
        (Socks5Proxy(instead={0: b""}), "closed the connection"),
        (Socks5Proxy(instead={0: b"\x05"}), "closed the connection"),
        (Socks5Proxy(user="u", password="secret", instead={1: b"\x01\x01"}), "refuses user 'u' or the password"),
        (Socks5Proxy(user="u", password="secret", instead={1: b"\x05\x00"}), "refuses user 'u' or the password"),
        (Socks5Proxy(user="u", password="secret", instead={0: b"\x05\xff"}), "wants another way of signing in"),
        (Socks5Proxy(instead={1: b"\x05\x02\x00\x01" + bytes(6)}), "the proxy's rules do not allow it"),
        (Socks5Proxy(instead={1: b"\x05\x04\x00\x01"}), "host unreachable"),
        (Socks5Proxy(instead={1: b"\x05\x5b\x00\x01"}), "reply 91, which no RFC has"),
        (Socks5Proxy(instead={1: b"\x04\x00\x00\x01" + bytes(6)}), "gave an answer that is not of SOCKS5"),
        (Socks5Proxy(instead={1: b"\x05\x00\x00\x09" + bytes(6)}), "gave an answer that is not of SOCKS5"),
        (Socks5Proxy(instead={1: b"\x05\x00\x00\x01" + bytes(3)}), "closed the connection"),
    ],
)
async def test_connected_socket_proxy_misbehaves_says_how(via: Socks5Proxy, words: str) -> None:
    """Every answer of a proxy is checked, and none of the messages has the password."""
    async with listening() as (port, _), running(via):
        with pytest.raises(EgressFailed, match=words) as caught:
            await connected_socket("127.0.0.7", via.proxy, "127.0.0.5", port, 5)
        assert f"127.0.0.1:{via.port}" in str(caught.value)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("says", ["0.0.0.0", "::", "::ffff:127.0.0.7"])
async def test_connected_socket_proxy_does_not_say_otherwise_taken(says: str) -> None:
    """An unspecified address is no contradiction, nor is ours in the other form."""
    async with listening() as (port, _), running(Socks5Proxy(says=says)) as via:
        connection = await connected_socket("127.0.0.7", via.proxy, "127.0.0.5", port, 5)
        assert await greeting_of(connection) == b"220 mx.example.jp\r\n"


async def test_connected_socket_proxy_target_refuses_named() -> None:
    """If the far end refuses, the failure names it and the proxy."""
    async with running(Socks5Proxy()) as via:
        with pytest.raises(EgressFailed, match=r"proxy .* cannot connect to 127.0.0.5:1: connection refused"):
            await connected_socket("127.0.0.7", via.proxy, "127.0.0.5", 1, 5)


async def test_connected_socket_proxy_away_named() -> None:
    """If nobody listens where the proxy should be, the failure says so."""
    with pytest.raises(EgressFailed, match=r"the proxy 127.0.0.1:1 cannot be reached: .*refused"):
        await connected_socket("127.0.0.7", Proxy("127.0.0.1", 1), "127.0.0.5", 25, 5)
    with pytest.raises(EgressFailed, match=r"the proxy 127.0.0.1:1 cannot be reached"):
        await check_proxy(Proxy("127.0.0.1", 1), 5)


@BOTH_LOOPS
@pytest.mark.parametrize("silent_at", [0, 1])
@pytest.mark.parametrize("ends", ["timeout", "cancelled"])
def test_connected_socket_silent_proxy_socket_closed(
    new_loop: Callable[[], asyncio.AbstractEventLoop], silent_at: int, ends: str
) -> None:
    """A proxy that falls silent costs the timeout; then, and when we are cancelled, its connection is closed."""

    async def main() -> None:
        async with listening() as (port, _), running(Socks5Proxy(instead={silent_at: None})) as via:
            patience_s = 0.1 if ends == "timeout" else 30.0
            task = asyncio.create_task(connected_socket("127.0.0.7", via.proxy, "127.0.0.5", port, patience_s))
            if ends == "cancelled":
                await asyncio.sleep(0.1)
                task.cancel()
            with pytest.raises(TimeoutError if ends == "timeout" else asyncio.CancelledError):
                await task
            async with asyncio.timeout(2):
                while not via.ended:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


@given(st.binary(max_size=40), st.binary(max_size=40))
async def test_connected_socket_any_proxy_bytes_connected_or_failed(first: bytes, second: bytes) -> None:
    """Whatever a proxy says, the way is open or the failure is one of ours; no other exception comes out."""

    async def script(wire: Wire) -> None:
        await wire.say(first)
        await wire.reader.read(3)
        await wire.say(second)
        wire.writer.write_eof()

    async with raw_server(script) as (port, _):
        try:
            connection = await connected_socket("127.0.0.7", Proxy("127.0.0.1", port), "127.0.0.5", 25, 1)
        except (EgressFailed, TimeoutError):
            return
        connection.close()
        assert (first + second)[:4] == b"\x05\x00\x05\x00"


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("socks5://127.0.0.1:1080", Proxy("127.0.0.1", 1080)),
        ("socks5://out:p%3Aw%40%2F@proxy.example:1080", Proxy("proxy.example", 1080, "out", "p:w@/")),
        ("socks5://[2001:db8::1]:1080", Proxy("2001:db8::1", 1080)),
    ],
)
def test_parse_proxy_each_form_read(text: str, proxy: Proxy) -> None:
    """Host names, both families, and percent-encoded credentials are read; the password is in no representation."""
    assert parse_proxy(text) == proxy
    assert "p:w" not in f"{proxy!r} {proxy}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "proxy.example:1080",
        "http://u:hunter2@proxy.example:1080",
        "socks5://u:hunter2@proxy.example",
        "socks5://u:hunter2@proxy.example:0",
        "socks5://u:hunter2@proxy.example:99999",
        "socks5://u:hunter2/x@proxy.example:1080",
        "socks5://u:hunter2#x@proxy.example:1080",
        "socks5://u:hunter2@[::1:1080",
        "socks5://u:hunter2@proxy.example:1080/path",
        "socks5://:hunter2@proxy.example:1080",
        "socks5://u@proxy.example:1080",
        "socks5://u:hunter2" + "x" * 300 + "@proxy.example:1080",
        "socks5://u:hunter2@" + "x" * 70 + ".example:1080",
    ],
)
def test_parse_proxy_mistake_named_without_password(text: str) -> None:
    """A mistake is explained, and the password is not repeated."""
    with pytest.raises(ValueError, match="proxy") as caught:
        parse_proxy(text)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
