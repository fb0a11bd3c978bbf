"""A source IP is proven by whoever greets a connection from it; without one, what failed is named."""

import asyncio

import pytest

from services.dispatcher.egress import Proxy
from services.dispatcher.sources import SourceUnavailable, prove, prove_all, prove_bind
from tests.engine.test_egress import ELSEWHERE
from tests.support.scripted_mx import Listener, ScriptedMx
from tests.support.socks5_proxy import Socks5Proxy, running


def test_prove_bind_address_of_nobody_named() -> None:
    """An address that is not ours is named with what to do."""
    prove_bind("127.0.0.7")
    with pytest.raises(SourceUnavailable, match=f"{ELSEWHERE} is not an address of this machine .*HAYABIN_SOURCE_IPS"):
        prove_bind(ELSEWHERE)


async def test_prove_one_probe_greets_enough() -> None:
    """One of several probes that greets proves the IP, while another stalls and a third refuses."""
    async with ScriptedMx(
        Listener("127.0.0.5", manners="stall connect"),
        Listener("127.0.0.5", manners="reject connect 554 5.7.1 blocked"),
        Listener("127.0.0.5"),
    ) as mx:
        async with asyncio.timeout(2):
            await prove("127.0.0.7", None, [("127.0.0.5", port) for port in mx.ports], 10)
        await prove_all([("127.0.0.7", None), ("127.0.0.8", None)], [("127.0.0.5", mx.ports[2])], 5)
        await prove("127.0.0.7", None, [("localhost", 1), ("127.0.0.5", mx.ports[2])], 5)


@pytest.mark.parametrize(
    ("manners", "words"),
    [
        ("stall connect", "did not greet within 0.2 s"),
        ("reject connect 554 5.7.1 blocked", "said '554 5.7.1 blocked'"),
        ("drop connect", "closed without a greeting"),
        ("shout connect 1000000", "said '250 xxxx"),
    ],
)
async def test_prove_no_probe_greets_named(manners: str, words: str) -> None:
    """If no probe greets, the failure names the IP, the probe and what it did; none of it is long."""
    async with ScriptedMx(Listener("127.0.0.5", manners=manners)) as mx:
        with pytest.raises(SourceUnavailable) as caught:
            await prove("127.0.0.7", None, [("127.0.0.5", mx.port), ("127.0.0.5", 1)], 0.2)
        assert "127.0.0.7 does not reach out" in str(caught.value)
        assert f"127.0.0.5:{mx.port}" in str(caught.value)
        assert "127.0.0.5:1: cannot connect" in str(caught.value)
        assert words in str(caught.value)
        assert len(str(caught.value)) <= 600


async def test_prove_not_ours_no_probe_asked() -> None:
    """What cannot be bound is not tried."""
    async with ScriptedMx(Listener("127.0.0.5")) as mx:
        with pytest.raises(SourceUnavailable, match=f"{ELSEWHERE} is not an address of this machine"):
            await prove_all([("127.0.0.7", None), (ELSEWHERE, None)], [("127.0.0.5", mx.port)], 5)
        assert mx.record.connections == 1


async def test_prove_by_proxy_reaches_out_or_signs_in() -> None:
    """Behind a proxy nothing is bound here: the probe is greeted by way of it, or the proxy lets us in, or it is named."""
    async with ScriptedMx(Listener("127.0.0.5")) as mx, running(Socks5Proxy("127.0.0.9", says="192.0.2.1")) as via:
        await prove(ELSEWHERE, via.proxy, [("127.0.0.5", mx.port)], 5)
        await prove(ELSEWHERE, via.proxy, [], 5)
        with pytest.raises(SourceUnavailable, match=r"192.0.2.2 does not reach out: .* left by 192.0.2.1 instead of"):
            await prove("192.0.2.2", via.proxy, [("127.0.0.5", mx.port)], 5)
    with pytest.raises(SourceUnavailable, match=r"192.0.2.1 cannot be used: the proxy .* cannot be reached"):
        await prove(ELSEWHERE, Proxy("127.0.0.1", 1), [], 5)
