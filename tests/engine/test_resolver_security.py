"""DNSSEC's word on a route: taken from a resolver that is trusted to validate, whole or not at all."""

import contextlib
from collections.abc import AsyncIterator

import pytest

from services.dispatcher.dns_lookup import DnsLookup, NoSuchName
from services.dispatcher.resolver import Resolver, ResolverParameters
from tests.support.dns_zone import DnsZone, Zone

ZONE: Zone = {
    "signed.example": {"MX": ["10 mx.signed.example.", "20 mx.plain.example."]},
    "mx.signed.example": {"A": "198.51.100.1", "AAAA": "2001:db8::1"},
    "_25._tcp.mx.signed.example": {"TLSA": "3 1 1 " + "ab" * 32},
    "_mta-sts.signed.example": {"TXT": '"v=STSv1; " "id=1;"'},
    "plain.example": {"MX": "10 mx.signed.example."},
    "half.example": {"MX": "10 mx.half.example."},
    "mx.half.example": {"A": "198.51.100.4", "AAAA": "2001:db8::4"},
    "mx.plain.example": {"A": "198.51.100.2"},
    "implicit.signed.example": {"A": "198.51.100.3"},
    "out.signed.example": {"CNAME": "mx.plain.example."},
    "into.plain.example": {"CNAME": "mx.signed.example."},
    "by-alias.signed.example": {"MX": "10 out.signed.example."},
}


@contextlib.asynccontextmanager
async def resolver_of(*, trust_ad: bool = True, ipv6: bool = False, follows: int = 8) -> AsyncIterator[Resolver]:
    """Give a resolver that asks a validating server, for which ``signed.example`` is signed."""
    async with DnsZone(dict(ZONE), secure=["signed.example", "mx.half.example AAAA", "half.example MX"]) as zone:
        zone.follows = follows
        resolver = Resolver(
            ResolverParameters(servers=(f"127.0.0.1:{zone.port}",), allow_private=True, trust_ad=trust_ad, ipv6=ipv6)
        )
        yield resolver
        await resolver.close()


@pytest.mark.parametrize(
    ("domain", "secure"),
    [
        ("signed.example", [True, False]),
        ("plain.example", [False]),
        ("implicit.signed.example", [True]),
        ("by-alias.signed.example", [False]),
    ],
)
async def test_route_signed_zones_secure_hosts(domain: str, secure: list[bool]) -> None:
    """A host is secure if its MX record and its addresses are; for an implicit MX the proof that there is none counts."""
    async with resolver_of() as resolver:
        assert [host.secure for host in (await resolver.route(domain)).hosts] == secure


async def test_route_untrusted_resolver_nothing_secure() -> None:
    """The AD bit of a resolver that is not trusted says nothing."""
    async with resolver_of(trust_ad=False) as resolver:
        assert not any(host.secure for host in (await resolver.route("signed.example")).hosts)


async def test_route_with_ipv6_both_address_answers_count() -> None:
    """With IPv6 a host is secure only if the answers for A and for AAAA are."""
    async with resolver_of(ipv6=True) as resolver:
        host = (await resolver.route("signed.example")).hosts[0]
        assert (host.addresses, host.secure) == (("198.51.100.1", "2001:db8::1"), True)
        assert not (await resolver.route("half.example")).hosts[0].secure


@pytest.mark.parametrize(
    ("name", "kind", "secure"),
    [
        ("_25._tcp.mx.signed.example", "TLSA", True),
        ("_mta-sts.signed.example", "TXT", True),
        ("mx.signed.example", "TXT", True),
        ("mx.plain.example", "A", False),
        ("out.signed.example", "A", False),
        ("into.plain.example", "A", False),
    ],
)
@pytest.mark.parametrize("follows", [8, 1])
async def test_lookup_answer_security_of_the_whole_chain(name: str, kind: str, secure: bool, follows: int) -> None:
    """TLSA and TXT records come through; an alias in an unsigned zone is not secure, whoever follows it."""
    async with resolver_of(follows=follows) as resolver:
        answer = await resolver.lookup.ask(name, kind)
        assert answer.secure is secure
        assert len(answer.records) == (0 if name == "mx.signed.example" else 1)


@pytest.mark.parametrize(("name", "secure"), [("no.signed.example", True), ("no.plain.example", False)])
async def test_lookup_missing_name_tells_whether_proven(name: str, secure: bool) -> None:
    """That a name does not exist can be proven too."""
    async with resolver_of() as resolver:
        with pytest.raises(NoSuchName) as caught:
            await resolver.lookup.ask(name, "A")
        assert caught.value.secure is secure


@pytest.mark.parametrize("server", ["mx.example.jp", "127.0.0.1:dns", "[::1", "127.0.0.1:53:1", "", "[127.0.0.1]x"])
def test_lookup_server_that_is_no_address_refused(server: str) -> None:
    """A mistake in the settings is a mistake at start, not a resolver that never answers."""
    with pytest.raises(ValueError, match=r"."):
        DnsLookup((server,), timeout_s=1)


@pytest.mark.parametrize("form", ["127.0.0.1:{port}", "[127.0.0.1]:{port}"])
async def test_lookup_resolver_of_choice_asked(form: str) -> None:
    """The server that the settings name is asked, and nobody else."""
    async with DnsZone({"a.example": {"A": "198.51.100.9"}}) as zone:
        lookup = DnsLookup((form.format(port=zone.port),), timeout_s=1)
        assert str(next(iter((await lookup.ask("a.example", "A")).records))) == "198.51.100.9"
        assert sum(zone.queries.values()) == 1
