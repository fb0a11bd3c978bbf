"""DANE from a signed zone through a real validating resolver to a mail on a verified connection."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from hayabin.domain.policy import TlsMode
from services.dispatcher.connect import ConnectFailure, Target, open_session
from services.dispatcher.dane import Dane
from services.dispatcher.dane_match import public_key_info
from services.dispatcher.resolver import Resolver, ResolverParameters, RoutingFailure
from services.dispatcher.smtp_session import Envelope, SmtpSession
from services.dispatcher.tls_plan import HostRefused, TlsPlanner, TlsResult
from tests.support.scripted_mx import Listener, ScriptedMx
from tests.support.self_signed import self_signed
from tests.support.signed_zone import SignedZone, validating_resolver

IDENTITY = self_signed("mx.good.test")
KEY = hashlib.sha256(public_key_info(IDENTITY.der[0])).hexdigest()
OTHER_KEY = hashlib.sha256(b"another key").hexdigest()
MAIL = Envelope("b@example.jp", "a@good.test", b"Subject: x\r\n\r\n")


def records(port: int, key: str = KEY) -> str:
    """Write the records of a domain whose one MX has a TLSA record."""
    return f"@ IN MX 10 mx\nmx IN A 127.0.0.1\n_{port}._tcp.mx IN TLSA 3 1 1 {key}\n"


@dataclass(frozen=True)
class World:
    """A mail server, a validating resolver, and the dispatcher's parts between them."""

    mx: ScriptedMx
    resolver: Resolver
    planner: TlsPlanner

    async def session(self, domain: str) -> SmtpSession:
        """Go the whole way to a session for a domain."""
        host = (await self.resolver.route(domain)).hosts[0]
        plan = await self.planner.plan(host, TlsMode.OPPORTUNISTIC, None, domain=domain)
        return await open_session(Target(host.name, host.addresses[0], self.mx.port, "mta.example.jp", plan=plan))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Zones: good, with another key, TLSA tampered with, A tampered with, not signed, without TLSA."""
    async with ScriptedMx(Listener(name="mx.good.test", manners="starttls", identity=IDENTITY)) as mx:
        zones = (
            SignedZone("good.test", records(mx.port)),
            SignedZone("renewed.test", records(mx.port, OTHER_KEY)),
            SignedZone("forged.test", records(mx.port, OTHER_KEY), tamper=(OTHER_KEY, KEY)),
            SignedZone("moved.test", records(mx.port), tamper=("A 127.0.0.1", "A 127.0.0.66")),
            SignedZone("plain.test", records(mx.port, OTHER_KEY), signed=False),
            SignedZone("bare.test", "@ IN MX 10 mx\nmx IN A 127.0.0.1\n"),
        )
        with validating_resolver(*zones) as port:
            resolver = Resolver(
                ResolverParameters(
                    servers=(f"127.0.0.1:{port}",), allow_private=True, trust_ad=True, question_timeout_s=3
                )
            )
            dane = Dane(resolver.lookup, port=mx.port)
            yield World(mx, resolver, TlsPlanner(dane))
            await dane.close()
            await resolver.close()


async def test_delivery_signed_zone_verified_by_dane(world: World) -> None:
    """Everything is signed and the key is the server's: the mail goes over a session that DANE verified."""
    session = await world.session("good.test")
    assert (await session.send(MAIL)).accepted
    await session.quit()
    assert (session.peer.tls_policy, session.peer.tls_result) == ("dane", "verified-dane")
    assert [entry.tls for entry in world.mx.entries] == [True]


async def test_delivery_signed_zone_other_key_refused(world: World) -> None:
    """Everything is signed, and the server is not the one that the zone means: nothing is sent."""
    with pytest.raises(ConnectFailure) as caught:
        await world.session("renewed.test")
    assert (caught.value.tls_result, caught.value.verdict.permanent) == (TlsResult.FAILED_DANE, False)
    assert not world.mx.entries


async def test_delivery_bogus_tlsa_host_refused_for_now(world: World) -> None:
    """A TLSA record that was changed on the way is neither believed nor taken for "no DANE"."""
    with pytest.raises(HostRefused) as caught:
        await world.session("forged.test")
    assert (caught.value.result, caught.value.verdict.permanent) == (TlsResult.FAILED_TLSA_LOOKUP, False)
    assert world.mx.record.connections == 0


async def test_delivery_bogus_address_deferred(world: World) -> None:
    """An address that was changed on the way is no answer: the mail waits."""
    with pytest.raises(RoutingFailure) as caught:
        await world.session("moved.test")
    assert (caught.value.permanent, caught.value.reply.code) == (False, 451)


@pytest.mark.parametrize("domain", ["plain.test", "bare.test"])
async def test_delivery_unsigned_or_without_tlsa_opportunistic(world: World, domain: str) -> None:
    """A zone that is not signed has no DANE, whatever its TLSA record says; nor has a signed one without the record."""
    hosts = (await world.resolver.route(domain)).hosts
    assert [host.secure for host in hosts] == [domain == "bare.test"]
    session = await world.session(domain)
    await session.quit()
    assert (session.peer.tls_policy, session.peer.tls_result) == ("opportunistic", "unverified")
