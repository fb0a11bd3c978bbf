"""The addresses of MX hosts: of which family, how many, asked for how often, and what a broken server does to them."""

import asyncio
import contextlib
import copy
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from services.dispatcher.resolver import Resolver, ResolverParameters, RoutingFailure
from tests.support.dns_zone import DnsZone, Zone

ZONE: Zone = {
    "v6.example": {"MX": ["10 a.v6.example.", "20 b.v6.example."]},
    "a.v6.example": {"AAAA": ["2001:db8::2", "2001:db8::1"]},
    "b.v6.example": {"AAAA": "2001:db8::3"},
    "implicit6.example": {"AAAA": "2001:db8::4"},
    "half6.example": {"MX": ["10 a.v6.example.", "20 four.example."]},
    "four.example": {"A": ["198.51.100.9", "198.51.100.1", "198.51.100.5"]},
    "unsure6.example": {"MX": "10 broken6.example."},
    "broken6.example": {"AAAA": "SERVFAIL", "TXT": '"no A"'},
    "half-broken6.example": {"MX": "10 half.half-broken6.example."},
    "half.half-broken6.example": {"A": "198.51.100.2", "AAAA": "SERVFAIL"},
    "local6.example": {"MX": "10 six.local6.example."},
    "six.local6.example": {"AAAA": ["::1", "fd00::1", "fe80::1", "::ffff:127.0.0.1"]},
    "many.example": {"MX": "10 host.many.example."},
    "host.many.example": {
        "A": [f"198.51.100.{number}" for number in range(20)],
        "AAAA": [f"2001:db8::{number:x}" for number in range(20)],
    },
    "one.shared.example": {"MX": "10 mx.shared.example."},
    "two.shared.example": {"MX": "10 mx.shared.example."},
    "mx.shared.example": {"A": "198.51.100.7"},
}


@contextlib.asynccontextmanager
async def resolver_of(*, ipv6: bool, allow_private: bool = True) -> AsyncIterator[tuple[Resolver, DnsZone]]:
    """Give a resolver that asks a server with ``ZONE``; documentation addresses pass for public if allowed."""
    async with DnsZone(copy.deepcopy(ZONE)) as zone:
        parameters = ResolverParameters(
            servers=(f"127.0.0.1:{zone.port}",), ipv6=ipv6, allow_private=allow_private, question_timeout_s=0.5
        )
        resolver = Resolver(parameters)
        yield resolver, zone
        await resolver.close()


@pytest.mark.parametrize("domain", ["v6.example", "implicit6.example"])
async def test_route_ipv6_only_without_ipv6_source_says_so(domain: str) -> None:
    """Mail to a domain on IPv6 alone fails for good, with the reason that the operator can do something about."""
    async with resolver_of(ipv6=False) as (resolver, _):
        with pytest.raises(RoutingFailure) as caught:
            await resolver.route(domain)
    failure = caught.value
    assert (failure.permanent, failure.reply.code, failure.reply.enhanced) == (True, 550, "5.4.4")
    assert "IPv6 addresses only" in failure.reply.text
    assert "no IPv6 source IP" in failure.reply.text
    assert not failure.verdict.suppress


async def test_route_ipv6_only_host_left_out_without_ipv6_source() -> None:
    """A host that can be reached over IPv4 is enough."""
    async with resolver_of(ipv6=False) as (resolver, zone):
        assert [host.name for host in (await resolver.route("half6.example")).hosts] == ["four.example"]
        assert zone.queries["four.example", "AAAA"] == 0


async def test_route_unanswered_aaaa_of_host_without_a_deferred() -> None:
    """Where nobody can say whether a host has IPv6 addresses, nothing final is said of it."""
    async with resolver_of(ipv6=False) as (resolver, _):
        with pytest.raises(RoutingFailure) as caught:
            await resolver.route("unsure6.example")
    assert not caught.value.permanent


async def test_route_with_ipv6_both_families_given() -> None:
    """With an IPv6 source every address of both families is given, IPv4 first; a failing AAAA costs nothing else."""
    async with resolver_of(ipv6=True) as (resolver, zone):
        zone.zone["four.example"]["AAAA"] = "2001:db8::9"  # type: ignore[index]
        hosts = (await resolver.route("v6.example")).hosts
        assert [set(host.addresses) for host in hosts] == [{"2001:db8::2", "2001:db8::1"}, {"2001:db8::3"}]
        assert (await resolver.route("implicit6.example")).hosts[0].addresses == ("2001:db8::4",)
        four = (await resolver.route("four.example")).hosts[0].addresses
        assert set(four[:3]) == {"198.51.100.9", "198.51.100.1", "198.51.100.5"}
        assert four[3:] == ("2001:db8::9",)
        assert (await resolver.route("half-broken6.example")).hosts[0].addresses == ("198.51.100.2",)


async def test_route_ipv6_loopback_and_local_refused() -> None:
    """Loopback, unique-local, link-local and wrapped loopback addresses are refused in IPv6 as well."""
    async with resolver_of(ipv6=True, allow_private=False) as (resolver, _):
        with pytest.raises(RoutingFailure) as caught:
            await resolver.route("local6.example")
    assert (caught.value.permanent, caught.value.reply.text) == (
        True,
        "the hosts of the domain are not on the Internet",
    )


async def test_route_many_addresses_bounded_for_each_family() -> None:
    """A host with dozens of addresses gives eight of each family."""
    async with resolver_of(ipv6=True) as (resolver, _):
        addresses = (await resolver.route("many.example")).hosts[0].addresses
    assert [":" in address for address in addresses] == [False] * 8 + [True] * 8


async def test_route_domains_of_one_host_ask_for_it_once() -> None:
    """Domains that share an MX host share the answer, also when they ask at the same moment."""
    async with resolver_of(ipv6=False) as (resolver, zone):
        await asyncio.gather(resolver.route("one.shared.example"), resolver.route("two.shared.example"))
        await resolver.route("one.shared.example")
        assert zone.queries["mx.shared.example", "A"] == 1


def _garbage(query: bytes) -> bytes:
    return b"\xff" * 40


def _cut(query: bytes) -> bytes:
    return query[:2] + b"\x81\x80" + query[4:9]


def _truncated(query: bytes) -> bytes:
    return query[:2] + b"\x83\x80" + query[4:]  # TC, and nobody listens on TCP


def _of_another_question(query: bytes) -> bytes:
    return query[:2] + b"\x81\x80" + query[4:12] + b"\x05other\x07example\x00" + b"\x00\x0f\x00\x01"


@pytest.mark.parametrize("answer", [_garbage, _cut, _truncated, _of_another_question])
async def test_route_answer_that_is_none_deferred(answer: Callable[[bytes], bytes]) -> None:
    """A malformed, cut, unusable or foreign answer is no answer: the mail waits, and the wait is bounded."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.setblocking(False)

        def reply() -> None:
            query, peer = server.recvfrom(2000)
            server.sendto(answer(query), peer)

        loop.add_reader(server, reply)
        resolver = Resolver(
            ResolverParameters(servers=(f"127.0.0.1:{server.getsockname()[1]}",), question_timeout_s=0.3)
        )
        async with asyncio.timeout(2):
            with pytest.raises(RoutingFailure) as caught:
                await resolver.route("example.jp")
        loop.remove_reader(server)
        await resolver.close()
    assert (caught.value.permanent, caught.value.reply.code) == (False, 451)
