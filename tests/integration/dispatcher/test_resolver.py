"""Routes come from the DNS as RFC 5321 §5.1 says, and a DNS that fails is never taken for one that says no."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import pytest

from hayabin.domain.bounce_reason import BounceReason
from services.dispatcher.resolver import Resolver, ResolverParameters, Route, RoutingFailure, is_public
from tests.support.dns_zone import DnsZone, Zone

ZONE: Zone = {
    "example.jp": {"MX": ["20 mx2.example.jp.", "10 mx1.example.jp."], "A": "198.51.100.99"},
    "mx1.example.jp": {"A": ["198.51.100.1", "198.51.100.2"], "AAAA": "2001:db8::1"},
    "mx2.example.jp": {"A": "198.51.100.3"},
    "even.example": {"MX": [f"10 mx{n}.even.example." for n in range(4)]},
    "*.even.example": {"A": "198.51.100.4"},
    "implicit.example": {"A": "198.51.100.5"},
    "null.example": {"MX": "0 ."},
    "half-null.example": {"MX": ["0 .", "10 mx1.example.jp."]},
    "gone.example": "NXDOMAIN",
    "empty.example": {"TXT": '"nothing here"'},
    "dead-mx.example": {"MX": ["10 gone.example.", "20 empty.example."]},
    "half-dead.example": {"MX": ["10 gone.example.", "20 mx2.example.jp."]},
    "half-slow.example": {"MX": ["10 broken-a.example.", "20 mx2.example.jp."]},
    "servfail.example": "SERVFAIL",
    "refused.example": "REFUSED",
    "lame.example": {"MX": "REFERRAL", "A": "198.51.100.6"},
    "timeout.example": {"MX": "TIMEOUT", "A": "198.51.100.6"},
    "mx-servfail.example": {"MX": "SERVFAIL", "A": "198.51.100.6"},
    "broken-a.example": {"A": "SERVFAIL"},
    "needs-broken.example": {"MX": "10 broken-a.example."},
    "alias.example": {"CNAME": "example.jp."},
    "mx-alias.example": {"MX": "10 alias-host.example."},
    "alias-host.example": {"CNAME": "mx2.example.jp."},
    "loop.example": {"CNAME": "loop2.example."},
    "loop2.example": {"CNAME": "loop.example."},
    "local.example": {"MX": "10 localhost.example."},
    "localhost.example": {"A": ["127.0.0.1", "10.1.2.3"]},
    "half-local.example": {"MX": ["10 localhost.example.", "20 mx2.example.jp."]},
    "workspace.example": {"MX": ["1 aspmx.l.google.com.", "5 alt1.aspmx.l.google.com."]},
    "*.l.google.com": {"A": "198.51.100.7"},
    "v6only.example": {"MX": "10 v6.example."},
    "v6.example": {"AAAA": "2606:4700::1"},
    "many.example": {"MX": [f"{n} mx{n}.even.example." for n in range(80)]},
    "odd.example": {"MX": "10 a\\032b.example."},
}
# The documentation networks are not of the Internet, so tests of everything else allow them.
ANY = ResolverParameters(allow_private=True, question_timeout_s=0.3, ttl_floor_s=0.0)


@contextlib.asynccontextmanager
async def resolver_of(
    parameters: ResolverParameters = ANY, ttl: int = 60
) -> AsyncIterator[tuple[Resolver, DnsZone, list[float]]]:
    """Give a resolver that asks a server with ``ZONE``, and the clock it goes by."""
    now = [1000.0]
    async with DnsZone(dict(ZONE), ttl=ttl) as zone:
        fields = {name: getattr(parameters, name) for name in parameters.__slots__}
        fields["servers"] = (f"127.0.0.1:{zone.port}",)
        resolver = Resolver(ResolverParameters(**fields), clock=lambda: now[0], rng=random.Random(7))
        yield resolver, zone, now
        await resolver.close()


def names(route: Route) -> list[str]:
    """Give the hosts' names in order."""
    return [host.name for host in route.hosts]


@pytest.mark.parametrize(
    ("domain", "hosts"),
    [
        ("example.jp", ["mx1.example.jp", "mx2.example.jp"]),
        ("EXAMPLE.jp.", ["mx1.example.jp", "mx2.example.jp"]),
        ("implicit.example", ["implicit.example"]),
        ("half-null.example", ["mx1.example.jp"]),
        ("half-dead.example", ["mx2.example.jp"]),
        ("half-slow.example", ["mx2.example.jp"]),
        ("alias.example", ["mx1.example.jp", "mx2.example.jp"]),
        ("mx-alias.example", ["alias-host.example"]),
        ("half-local.example", ["localhost.example", "mx2.example.jp"]),
    ],
)
async def test_route_known_domain_hosts_in_order(domain: str, hosts: list[str]) -> None:
    """Preference decides; without MX the domain itself is the host; what has no address is left out."""
    async with resolver_of() as (resolver, _, _):
        assert names(await resolver.route(domain)) == hosts


async def test_route_all_addresses_of_a_host() -> None:
    """Every address of a host is given, IPv4 before IPv6, and IPv6 only where it is wanted."""
    async with resolver_of() as (resolver, _, _):
        assert set((await resolver.route("example.jp")).hosts[0].addresses) == {"198.51.100.1", "198.51.100.2"}
        with pytest.raises(RoutingFailure):
            await resolver.route("v6only.example")
    parameters = ResolverParameters(allow_private=True, ipv6=True)
    async with resolver_of(parameters) as (resolver, _, _):
        route = await resolver.route("example.jp")
        assert set(route.hosts[0].addresses[:2]) == {"198.51.100.1", "198.51.100.2"}
        assert route.hosts[0].addresses[2:] == ("2001:db8::1",)
        assert (await resolver.route("v6only.example")).hosts[0].addresses == ("2606:4700::1",)


async def test_route_equal_preference_shuffled_each_time() -> None:
    """Hosts of equal preference take turns in being first, also from the cache."""
    async with resolver_of() as (resolver, zone, _):
        first = {names(await resolver.route("even.example"))[0] for _ in range(60)}
        assert len(first) == 4
        assert zone.queries["even.example", "MX"] == 1


NO_WAY = {  # code, enhanced code, reason, and whether the address is suppressed, of these domains
    (556, "5.1.10", BounceReason.NULL_MX, True): ["null.example"],
    (550, "5.1.2", BounceReason.DOMAIN_NOT_FOUND, True): ["gone.example", "never.heard.of"],
    (550, "5.4.4", BounceReason.NETWORK, False): ["empty.example", "dead-mx.example", "odd.example"],
    (553, "5.1.3", BounceReason.ADDRESS_SYNTAX, False): [
        *("not a name", "[127.0.0.1]", "a..b", ""),
        "x" * 64 + ".example",
    ],
    (451, "4.4.3", BounceReason.NETWORK, False): [
        *("servfail.example", "refused.example", "lame.example", "timeout.example"),
        *("mx-servfail.example", "needs-broken.example", "loop.example"),
    ],
}


@pytest.mark.parametrize(("domain", "said"), [(domain, said) for said, domains in NO_WAY.items() for domain in domains])
async def test_route_no_way_verdict_by_what_dns_said(domain: str, said: tuple[int, str, BounceReason, bool]) -> None:
    """Only what the DNS says for certain is permanent; an A record never stands in for an MX question unanswered."""
    async with resolver_of() as (resolver, _, _):
        with pytest.raises(RoutingFailure) as caught:
            await resolver.route(domain)
    failure = caught.value
    assert (failure.reply.code, failure.reply.enhanced, failure.reason, failure.verdict.suppress) == said
    assert failure.permanent == failure.verdict.permanent == (failure.reply.code >= 500)


async def test_route_private_addresses_refused_unless_allowed() -> None:
    """An MX that points to loopback or private space is not followed, other hosts are."""
    strict = ResolverParameters(question_timeout_s=0.3)
    async with resolver_of(strict) as (resolver, zone, _):
        with pytest.raises(RoutingFailure) as caught:
            await resolver.route("local.example")
        assert (caught.value.permanent, caught.value.verdict.suppress) == (True, False)
        zone.zone["mx2.example.jp"] = {"A": "8.8.8.8"}
        assert names(await resolver.route("half-local.example")) == ["mx2.example.jp"]
    async with resolver_of() as (resolver, _, _):
        assert set((await resolver.route("local.example")).hosts[0].addresses) == {"127.0.0.1", "10.1.2.3"}


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("127.0.0.1", False),
        ("10.0.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("2606:4700::1", True),
        ("::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
    ],
)
async def test_is_public_wrapped_addresses_seen_through(address: str, public: bool) -> None:
    """Loopback, private and link-local space is not public, also inside an IPv6 form."""
    assert is_public(address) is public


async def test_route_provider_by_domain_or_by_mx() -> None:
    """A company's domain at Google has provider gmail; an unknown one has none."""
    async with resolver_of() as (resolver, zone, _):
        zone.zone["gmail.com"] = {"MX": "5 mx2.example.jp."}
        assert (await resolver.route("workspace.example")).provider == "gmail"
        assert (await resolver.route("gmail.com")).provider == "gmail"
        assert (await resolver.route("example.jp")).provider is None


async def test_route_cache_until_ttl() -> None:
    """An answer serves until its TTL and not longer; a failure is forgotten sooner."""
    async with resolver_of(ttl=60) as (resolver, zone, now):
        for moment, asked in ((1000.0, 1), (1059.0, 1), (1061.0, 2)):
            now[0] = moment
            await resolver.route("example.jp")
            assert zone.queries["example.jp", "MX"] == asked
        for moment, asked in ((2000.0, 1), (2010.0, 1), (2025.0, 2)):
            now[0] = moment
            with pytest.raises(RoutingFailure):
                await resolver.route("lame.example")
            assert zone.queries["lame.example", "MX"] == asked
        zone.zone["gone.example"] = {"A": "198.51.100.8"}
        assert names(await resolver.route("gone.example")) == ["gone.example"]


async def test_kept_route_is_given_without_a_question_until_its_ttl() -> None:
    """Nothing before the first look-up, nothing after the TTL, and nothing for a domain that has no way."""
    async with resolver_of(ttl=60) as (resolver, zone, now):
        assert resolver.kept("half-dead.example") is None
        route = await resolver.route("half-dead.example")
        with contextlib.suppress(RoutingFailure):
            await resolver.route("gone.example")
        asked = sum(zone.queries.values())
        assert resolver.kept("Half-Dead.example.") == route
        assert resolver.kept("gone.example") is None
        assert sum(zone.queries.values()) == asked
        now[0] += 61
        assert resolver.kept("half-dead.example") is None


async def test_route_negative_answer_cached_until_ttl() -> None:
    """A missing name is remembered as long as its SOA says, then asked again."""
    async with resolver_of(ttl=30) as (resolver, zone, now):
        for moment, asked in ((1000.0, 1), (1029.0, 1), (1031.0, 2)):
            now[0] = moment
            with pytest.raises(RoutingFailure):
                await resolver.route("gone.example")
            assert zone.queries["gone.example", "MX"] == asked


async def test_route_many_waiters_one_question() -> None:
    """A thousand mails to one domain ask once; a waiter that gives up does not disturb the others."""
    async with resolver_of() as (resolver, zone, _):
        tasks = [asyncio.create_task(resolver.route("example.jp")) for _ in range(1000)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        routes = await asyncio.gather(*tasks[1:])
        assert {tuple(names(route)) for route in routes} == {("mx1.example.jp", "mx2.example.jp")}
        assert zone.queries["example.jp", "MX"] == 1
        assert tasks[0].cancelled()


async def test_route_cache_bounded_and_hosts_bounded() -> None:
    """The oldest domains are forgotten at the limit, and a zone with eighty hosts costs sixteen questions."""
    parameters = ResolverParameters(allow_private=True, cache_domains=3)
    async with resolver_of(parameters) as (resolver, zone, _):
        for number in range(5):
            await resolver.route(f"d{number}.even.example")
        assert len(resolver._known) == 3
        assert len((await resolver.route("many.example")).hosts) == 16
        assert sum(count for (name, _), count in zone.queries.items() if name.startswith("mx")) == 16


async def test_route_large_answer_by_tcp() -> None:
    """An answer too large for a datagram is fetched over TCP."""
    async with resolver_of() as (resolver, zone, _):
        await resolver.route("many.example")
        assert zone.tcp_queries >= 1
