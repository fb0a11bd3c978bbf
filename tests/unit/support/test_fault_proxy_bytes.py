"""No byte is changed by the proxy that breaks connections, and what it keeps of them is bounded."""

import asyncio
from collections.abc import Callable

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.fault_flow import BUFFER_BYTES, HELD_BYTES
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.unit.support.proxied import Server, client_of, proxied, until

OFFERED_BYTES = 80_000_000  # more than the buffers of all the sockets together may grow to


def whole(proxy: FaultProxy) -> None:
    """No fault."""


FAULTS: dict[str, Callable[[FaultProxy], None]] = {
    "none": whole,
    "slow": lambda proxy: proxy.slow(200_000.0),
    "late": lambda proxy: proxy.slow(latency_s=0.002),
    "dribble": lambda proxy: proxy.dribble(0.0),
    "cut_after_all": lambda proxy: proxy.cut_after(1_000_000),
}


@pytest.mark.parametrize("fault", FAULTS)
@settings(max_examples=25, deadline=None)
@given(up=st.lists(st.binary(max_size=300), max_size=6), down=st.binary(max_size=1500))
def test_bytes_of_any_kind_pass_unchanged_both_ways(fault: str, up: list[bytes], down: bytes) -> None:
    """What each side sends arrives whole and in order, and then its end, whatever slows it."""

    async def talk() -> None:
        server = Server(answer=down)
        async with proxied(server) as proxy, client_of(proxy) as (reader, writer):
            FAULTS[fault](proxy)
            for part in up:
                writer.write(part)
                await asyncio.sleep(0)
            writer.write_eof()
            assert await asyncio.wait_for(reader.read(), 10) == down
            assert bytes(server.got) == b"".join(up)
            assert server.ends == ["end"]

    asyncio.run(talk())


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_much_at_once_passes_unchanged_on_either_loop(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Twenty megabytes there and back, through every pause of a full buffer; then a reset, which both sides see."""
    sent = bytes(range(256)) * 80_000

    async def talk() -> None:
        server = Server(echo=True)
        async with proxied(server) as proxy, client_of(proxy) as (reader, writer):
            writer.write(sent)
            assert await reader.readexactly(len(sent)) == sent
            proxy.cut()
            with pytest.raises(ConnectionResetError):
                await reader.read(1)
            await until(lambda: server.ends == ["reset"])
            assert proxy.connections == 0

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(talk())


@pytest.mark.parametrize("stalled", [False, True])
async def test_server_that_does_not_read_holds_the_client_back(stalled: bool) -> None:
    """Where nothing goes out nothing is taken in: the proxy's memory is bounded, and all arrives in the end."""
    go_on = asyncio.Event()
    arrived = bytearray()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        while part := await reader.read(1_000_000):
            arrived.extend(part)
        writer.close()

    async with await asyncio.start_server(deaf, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with fault_proxy("127.0.0.1", port) as proxy, client_of(proxy) as (_, writer):
            if stalled:
                proxy.stall()
            writer.write(bytes(OFFERED_BYTES))
            await asyncio.sleep(0.5)
            connection = next(iter(proxy._connections))
            held = connection._client._held_bytes
            transport = connection._server._transport
            assert held <= 2 * HELD_BYTES
            assert transport is None or transport.get_write_buffer_size() <= BUFFER_BYTES + 2 * HELD_BYTES
            assert writer.transport.get_write_buffer_size() > 0  # the client is held back
            go_on.set()
            proxy.heal()
            await until(lambda: len(arrived) == OFFERED_BYTES)
