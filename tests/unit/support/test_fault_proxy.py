"""The proxy that breaks connections: each fault does what it says, and healing ends it."""

import asyncio
import time
from collections.abc import Awaitable

import pytest

from tests.support.fault_proxy import Way, fault_proxy, fault_proxy_before
from tests.unit.support.proxied import Server, client_of, in_full, nothing_comes, proxied, until


async def test_cut_resets_what_is_open_and_takes_new_ones() -> None:
    """Both sides see a reset, not an end; the next connection works."""
    server = Server(echo=True)
    async with proxied(server) as proxy:
        async with client_of(proxy) as (reader, writer):
            writer.write(b"a")
            assert await reader.readexactly(1) == b"a"
            proxy.cut()
            with pytest.raises(ConnectionResetError):
                await reader.read(1)
            await until(lambda: server.ends == ["reset"])
        async with client_of(proxy) as (reader, writer):
            writer.write(b"b")
            assert await reader.readexactly(1) == b"b"


async def test_client_that_resets_is_a_reset_for_the_server() -> None:
    """A fault of one side reaches the other as the same fault."""
    server = Server(echo=True)
    async with proxied(server) as proxy:
        reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
        writer.write(b"a")
        await reader.readexactly(1)
        next(iter(proxy._connections))._client.reset()
        await until(lambda: server.ends == ["reset"])
        writer.transport.abort()


@pytest.mark.parametrize("n_bytes", [0, 1, 5, 9])
async def test_cut_after_passes_so_many_bytes_and_not_one_more(n_bytes: int) -> None:
    """The server has exactly the bytes that were allowed, then a reset; an open and a new connection alike."""
    server = Server()
    async with proxied(server) as proxy, client_of(proxy) as (_, old):
        old.write(b"before")
        await in_full(server, 6)
        proxy.cut_after(n_bytes)
        old.write(b"0123456789")
        await until(lambda: server.ends == ["reset"])
        assert bytes(server.got) == b"before" + b"0123456789"[:n_bytes]
        async with client_of(proxy) as (_, new):
            new.write(b"abcdefghij")
            await until(lambda: server.ends == ["reset", "reset"])
        assert bytes(server.got[6 + n_bytes :]) == b"abcdefghij"[:n_bytes]
        proxy.heal()
        async with client_of(proxy) as (_, healed):
            healed.write(b"all of this")
            await in_full(server, 6 + 2 * n_bytes + 11)


async def test_cut_after_of_answers_lets_the_request_through() -> None:
    """The server got the request whole; its answer is lost: what a committed transaction without an answer is."""
    server = Server(echo=True)
    async with proxied(server) as proxy, client_of(proxy) as (reader, writer):
        proxy.cut_after(0, Way.TO_CLIENT)
        writer.write(b"COMMIT")
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        assert bytes(server.got) == b"COMMIT"


async def test_refuse_lets_nobody_new_in_and_those_inside_go_on() -> None:
    """A new connection is refused by the system; an open one is not touched; after healing the port is the same."""
    server = Server(echo=True)
    async with proxied(server) as proxy, client_of(proxy) as (reader, writer):
        proxy.refuse()
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(proxy.host, proxy.port)
        writer.write(b"a")
        assert await reader.readexactly(1) == b"a"
        proxy.heal()
        async with client_of(proxy) as (new_reader, new_writer):
            new_writer.write(b"b")
            assert await new_reader.readexactly(1) == b"b"


async def test_stall_holds_bytes_and_ends_until_healed() -> None:
    """Neither bytes nor an end nor a reset pass; a new connection is accepted and gets its answer after healing."""
    server = Server(echo=True)
    async with proxied(server) as proxy, client_of(proxy) as (reader, writer):
        proxy.stall()
        writer.write(b"held")
        writer.write_eof()
        async with client_of(proxy) as (new_reader, new_writer):
            new_writer.write(b"new")
            assert await nothing_comes(reader)
            assert await nothing_comes(new_reader)
            assert (bytes(server.got), server.ends) == (b"", [])
            proxy.heal()
            assert await reader.read() == b"held"
            assert await new_reader.readexactly(3) == b"new"


async def test_stall_of_answers_lets_requests_through() -> None:
    """One way is dead, the other lives."""
    server = Server(echo=True)
    async with proxied(server) as proxy, client_of(proxy) as (reader, writer):
        proxy.stall(Way.TO_CLIENT)
        writer.write(b"heard")
        await in_full(server, 5)
        assert await nothing_comes(reader)
        proxy.heal()
        assert await reader.readexactly(5) == b"heard"


async def test_slow_passes_no_more_than_its_rate_and_healing_ends_it() -> None:
    """The bytes of half a second take half a second; the rest, which would take minutes, comes at once when healed."""
    server = Server()
    async with proxied(server) as proxy, client_of(proxy) as (_, writer):
        proxy.slow(20_000)
        started = time.monotonic()
        writer.write(bytes(2_000_000))
        await until(lambda: len(server.got) >= 10_000)
        assert time.monotonic() - started > 0.4
        proxy.heal()
        await in_full(server, 2_000_000)


async def test_latency_delays_each_byte_and_healing_ends_it() -> None:
    """An answer takes the latency twice, there and back; what waits for a minute comes at once when healed."""
    server = Server(echo=True)
    async with proxied(server) as proxy, client_of(proxy) as (reader, writer):
        proxy.slow(latency_s=0.1)
        started = time.monotonic()
        writer.write(b"a")
        assert await reader.readexactly(1) == b"a"
        assert time.monotonic() - started >= 0.2
        proxy.slow(latency_s=60)
        writer.write(b"b")
        assert await nothing_comes(reader)
        proxy.heal()
        assert await reader.readexactly(1) == b"b"


async def test_dribble_passes_byte_by_byte() -> None:
    """Each byte is a read of its own at the server."""
    reads: list[int] = []

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while part := await reader.read(1000):
            reads.append(len(part))
        writer.close()

    async with await asyncio.start_server(count, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with fault_proxy("127.0.0.1", port) as proxy, client_of(proxy) as (_, writer):
            proxy.dribble(0.005)
            writer.write(b"x" * 20)
            await until(lambda: sum(reads) == 20)
    assert len(reads) > 10


async def test_retarget_leads_new_connections_to_the_other_server() -> None:
    """The one that is open stays with its server, as with a service that moves to another database."""
    first, second = Server(answer=b"1", echo=True), Server(answer=b"2")
    async with proxied(first) as proxy, proxied(second), client_of(proxy) as (reader, writer):
        assert await reader.readexactly(1) == b"1"
        proxy.retarget("127.0.0.1", second.port)
        async with client_of(proxy) as (new_reader, _):
            assert await new_reader.readexactly(1) == b"2"
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        proxy.retarget("127.0.0.1", 1)
        async with client_of(proxy) as (new_reader, _):
            with pytest.raises(ConnectionResetError):
                await new_reader.read(1)


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("postgresql://u:p%40@127.0.0.1:1234/db?x=1", ("postgresql://u:p%40@127.0.0.1:", "/db?x=1")),
        ("amqp://localhost/", ("amqp://127.0.0.1:", "/")),
    ],
)
async def test_url_through_the_proxy_keeps_all_but_the_address(url: str, kept: tuple[str, str]) -> None:
    """User, password, path and query stay."""
    async with fault_proxy_before(url) as (through, proxy):
        assert through == f"{kept[0]}{proxy.port}{kept[1]}"


async def test_end_of_the_block_leaves_no_connection() -> None:
    """Whatever is open, or waits in a stall, ends with the block."""
    server = Server(echo=True)
    ends: list[Awaitable[bytes]] = []
    async with proxied(server) as proxy:
        reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
        writer.write(b"a")
        await reader.readexactly(1)
        proxy.stall()
        late, late_writer = await asyncio.open_connection(proxy.host, proxy.port)
        ends += [reader.read(1), late.read(1)]
        await until(lambda: proxy.accepted == 2)
    assert proxy.connections == 0
    for end in ends:
        with pytest.raises(ConnectionResetError):
            await end
    writer.close()
    late_writer.close()
