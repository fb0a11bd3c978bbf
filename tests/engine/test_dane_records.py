"""DANE: which TLSA records hold for a host, and which of them are usable."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.dispatcher.dane import FAILURE_TTL_S, Dane, Tlsa
from services.dispatcher.dane_match import public_key_info
from services.dispatcher.dns_lookup import DnsLookup, DnsUnavailable
from services.dispatcher.route import MxHost
from tests.support.dns_zone import DnsZone, Zone
from tests.support.self_signed import self_signed

NAME = "mx.example.jp"
LONE = self_signed(NAME)
DIGEST = "ab" * 32


@contextlib.asynccontextmanager
async def dane_of(node: object, *, secure: bool = True) -> AsyncIterator[tuple[Dane, DnsZone, list[float]]]:
    """Give a Dane that asks a server where ``node`` stands at the TLSA name, and its clock."""
    zone: Zone = {NAME: {"A": "127.0.0.2"}}
    if node is not None:
        zone[f"_25._tcp.{NAME}"] = node  # type: ignore[assignment]
    now = [1000.0]
    async with DnsZone(zone, secure=["example.jp"] if secure else []) as server:
        lookup = DnsLookup((f"127.0.0.1:{server.port}",), timeout_s=0.3, trust_ad=True)
        dane = Dane(lookup, clock=lambda: now[0])
        yield dane, server, now
        await dane.close()


def host(*, secure: bool = True) -> MxHost:
    """Give the MX host."""
    return MxHost(NAME, 10, ("127.0.0.2",), secure)


async def test_records_of_secure_host_given_and_cached() -> None:
    """All records of the host come, usable or not, and are asked for once in their TTL."""
    node = {"TLSA": [f"3 1 1 {DIGEST}", f"1 1 1 {DIGEST}"]}
    async with dane_of(node) as (dane, server, now):
        for moment in (1000.0, 1059.0, 1061.0):
            now[0] = moment
            assert set(await dane.records(host()) or ()) == {
                Tlsa(3, 1, 1, bytes.fromhex(DIGEST)),
                Tlsa(1, 1, 1, bytes.fromhex(DIGEST)),
            }
        assert server.queries[f"_25._tcp.{NAME}", "TLSA"] == 2


@pytest.mark.parametrize(
    ("node", "secure"), [(None, True), ({"TXT": '"no TLSA"'}, True), ({"TLSA": f"3 1 1 {DIGEST}"}, False)]
)
async def test_records_none_or_not_secure_no_dane(node: object, secure: bool) -> None:
    """No such name, no such record, or a record that nobody vouches for: DANE does not hold."""
    async with dane_of(node, secure=secure) as (dane, _, _):
        assert await dane.records(host()) is None


async def test_records_insecure_host_not_even_asked() -> None:
    """Where MX or addresses are not secure, broken TLSA answers of old name servers do no harm."""
    async with dane_of("SERVFAIL") as (dane, server, _):
        assert await dane.records(host(secure=False)) is None
        assert not server.queries


@pytest.mark.parametrize("fault", ["SERVFAIL", "REFUSED", "TIMEOUT", "REFERRAL"])
async def test_records_question_unanswered_host_unusable(fault: str) -> None:
    """A bogus or missing answer is not "no DANE"; it is remembered for a few seconds only."""
    async with dane_of({"TLSA": fault}) as (dane, server, now):
        for _ in range(2):
            with pytest.raises(DnsUnavailable):
                await dane.records(host())
        asked = server.queries[f"_25._tcp.{NAME}", "TLSA"]
        server.zone[f"_25._tcp.{NAME}"] = {"TLSA": f"3 1 1 {DIGEST}"}
        now[0] += FAILURE_TTL_S + 1
        assert await dane.records(host())
        assert server.queries[f"_25._tcp.{NAME}", "TLSA"] == asked + 1


async def test_records_of_a_host_whose_name_leaves_no_room_for_the_prefix_are_none() -> None:
    """With ``_25._tcp.`` before it the name is too long for the DNS: nobody can have published a record there."""
    async with dane_of({"TLSA": f"3 1 1 {DIGEST}"}) as (dane, server, _):
        long = ".".join(["x" * 61] * 4)
        assert await dane.records(MxHost(long, 10, ("192.0.2.1",), secure=True)) is None
        assert not server.queries


async def test_records_many_waiters_one_question() -> None:
    """A hundred connections that open at once ask once."""
    async with dane_of({"TLSA": f"3 1 1 {DIGEST}"}) as (dane, server, _):
        await asyncio.gather(*(dane.records(host()) for _ in range(100)))
        assert server.queries[f"_25._tcp.{NAME}", "TLSA"] == 1


@pytest.mark.parametrize(
    ("usage", "selector", "matching", "data", "usable"),
    [
        (3, 1, 1, b"x" * 32, True),
        (2, 0, 2, b"x" * 64, True),
        (3, 0, 0, LONE.der[0], True),
        (3, 1, 0, public_key_info(LONE.der[0]), True),
        (0, 1, 1, b"x" * 32, False),
        (1, 1, 1, b"x" * 32, False),
        (4, 1, 1, b"x" * 32, False),
        (255, 0, 1, b"x" * 32, False),
        (3, 2, 1, b"x" * 32, False),
        (3, 1, 3, b"x" * 32, False),
        (3, 1, 1, b"x" * 31, False),
        (3, 1, 1, b"x" * 64, False),
        (3, 1, 2, b"x" * 32, False),
        (3, 1, 1, b"", False),
        (3, 0, 0, b"no certificate", False),
        (2, 1, 0, LONE.der[0], False),
    ],
    ids=lambda value: "data" if isinstance(value, bytes) else None,  # the certificate is another one in each process
)
def test_tlsa_usable_by_usage_selector_matching(
    usage: int, selector: int, matching: int, data: bytes, usable: bool
) -> None:
    """Usages 2 and 3 count, with known selectors and matching types and data of the right form."""
    assert Tlsa(usage, selector, matching, data).usable is usable


@given(st.integers(0, 255), st.integers(0, 3), st.integers(0, 3), st.binary(max_size=80))
def test_tlsa_any_bytes_decided_without_failure(usage: int, selector: int, matching: int, data: bytes) -> None:
    """Whatever stands in the DNS is usable or not, and never an error; what is usable has data of the right size."""
    tlsa = Tlsa(usage, selector, matching, data)
    if tlsa.usable:
        assert usage in {2, 3}
        assert len(data) == {1: 32, 2: 64}.get(matching, len(data))
