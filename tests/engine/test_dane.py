"""DANE: which TLSA records hold, and which certificates match them; openssl is the second opinion."""

import asyncio
import contextlib
import datetime as dt
import hashlib
from collections.abc import AsyncIterator, Sequence

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.dispatcher.dane import FAILURE_TTL_S, Dane, Tlsa
from services.dispatcher.dane_match import fits, match, public_key_info
from services.dispatcher.dns_lookup import DnsLookup, DnsUnavailable
from services.dispatcher.route import MxHost
from tests.support.dns_zone import DnsZone, Zone
from tests.support.scripted_mx import Listener, ScriptedMx
from tests.support.self_signed import Authority, Identity, self_signed

NAME = "mx.example.jp"
NOW = dt.datetime.now(dt.UTC)
ROOT = Authority("Root")
ISSUER = Authority("Issuer", under=ROOT)
OTHER = Authority("Other")
SIGNED = ISSUER.identity([NAME])
LONE = self_signed(NAME)
DIGEST = "ab" * 32


def record(usage: int, selector: int, matching: int, certificate: bytes) -> Tlsa:
    """Describe a certificate in a record."""
    data = certificate if selector == 0 else public_key_info(certificate)
    digests = {0: data, 1: hashlib.sha256(data).digest(), 2: hashlib.sha512(data).digest()}
    return Tlsa(usage, selector, matching, digests[matching])


def matches(
    records: Sequence[Tlsa], identity: Identity, names: Sequence[str] = (NAME,), now: dt.datetime = NOW
) -> bool:
    """Tell whether a server with this identity is who the records say."""
    return match(records, identity.der, names, now) is not None


# --- the DNS


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


# --- the certificate


@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("matching", [0, 1, 2])
@pytest.mark.parametrize("identity", [LONE, SIGNED], ids=["self-signed", "signed"])
def test_match_end_entity_own_certificate_alone(identity: Identity, selector: int, matching: int) -> None:
    """DANE-EE is about the server's own certificate: not its issuer's, not somebody else's."""
    own = record(3, selector, matching, identity.der[0])
    assert matches([own], identity)
    assert not matches([own], ISSUER.identity([NAME]))
    assert not matches([record(3, selector, matching, ISSUER.der)], SIGNED)


def test_match_end_entity_names_and_dates_ignored() -> None:
    """An expired certificate for another name matches by its key."""
    old = self_signed("other.example", days=-3)
    assert matches([record(3, 1, 1, old.der[0])], old, names=("mx.example.jp",))


@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("matching", [0, 1, 2])
@pytest.mark.parametrize("anchor", [ISSUER, ROOT], ids=["issuer", "root"])
def test_match_trust_anchor_chain_to_it(anchor: Authority, selector: int, matching: int) -> None:
    """DANE-TA vouches for what the anchor signed, directly or through another CA."""
    wanted = record(2, selector, matching, anchor.der)
    assert matches([wanted], SIGNED)
    assert not matches([wanted], OTHER.identity([NAME]))
    assert not matches([wanted], LONE)


@pytest.mark.parametrize(
    ("names", "ok"),
    [
        ([NAME], True),
        (["*.example.jp"], True),
        (["MX.Example.JP"], True),
        (["example.jp"], True),
        (["other.example"], False),
        (["*.mx.example.jp"], False),
        ([], False),
    ],
)
def test_match_trust_anchor_names_checked(names: list[str], ok: bool) -> None:
    """Below an anchor the certificate must have the host's name or the domain's; a common name does not count."""
    identity = ISSUER.identity(names, common_name=NAME)
    assert matches([record(2, 1, 1, ISSUER.der)], identity, names=(NAME, "example.jp")) is ok


def test_match_trust_anchor_dates_checked() -> None:
    """Below an anchor an expired certificate does not count."""
    assert not matches([record(2, 1, 1, ISSUER.der)], ISSUER.identity([NAME], days=-3))
    assert matches([record(2, 1, 1, ISSUER.der)], SIGNED)
    assert not matches([record(2, 1, 1, ISSUER.der)], SIGNED, now=NOW + dt.timedelta(days=60))


@pytest.mark.parametrize("key_usage", [True, False])
def test_match_trust_anchor_server_certificate_is_no_issuer(key_usage: bool) -> None:
    """A server below the anchor cannot sign certificates for others, even if nothing is said of its key's use."""
    server = ISSUER.identity(["evil.example"], key_usage=key_usage)
    forger = Authority("x", under=ISSUER)
    forger.key, forger.certificate = server.key, server.certificate
    forged = forger.identity([NAME])
    chain = Identity(forged.certificate, forged.key, (server.certificate, ISSUER.certificate))
    assert not matches([record(2, 1, 1, ISSUER.der)], chain)


def test_match_trust_anchor_must_be_sent_or_whole_in_dns() -> None:
    """A digest of a certificate that the server does not send is of no use; the whole certificate in the DNS is."""
    bare = Identity(SIGNED.certificate, SIGNED.key)
    assert not matches([record(2, 0, 1, ISSUER.der)], bare)
    assert matches([record(2, 0, 0, ISSUER.der)], bare)


def test_match_any_of_several_records_enough() -> None:
    """During a change of keys the old record and the new one stand side by side."""
    wrong = Tlsa(3, 1, 1, b"x" * 32)
    assert matches([wrong, record(3, 1, 1, LONE.der[0])], LONE)
    assert matches([wrong, record(2, 1, 1, ISSUER.der)], SIGNED)
    assert not matches([wrong, Tlsa(0, 0, 1, hashlib.sha256(LONE.der[0]).digest())], LONE)


def test_match_stronger_digest_decides() -> None:
    """Where both digests are given for the same thing, a match of the weaker one alone does not count."""
    weak = record(3, 1, 1, LONE.der[0])
    assert not matches([weak, Tlsa(3, 1, 2, b"x" * 64)], LONE)
    assert matches([weak, record(3, 1, 2, LONE.der[0])], LONE)


def test_public_key_info_same_as_of_cryptography() -> None:
    """The key's bytes as cut from the certificate are those that another parser finds."""
    for identity in (LONE, SIGNED):
        expected = identity.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        assert public_key_info(identity.der[0]) == expected


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_match_damaged_chain_matches_nothing_and_does_not_fail(data: st.DataObject) -> None:
    """A chain with a flipped byte, cut off, or of arbitrary bytes is no match of the whole certificate, and no error."""
    original = SIGNED.der[0]
    at = data.draw(st.integers(0, len(original) - 1))
    damaged = data.draw(
        st.sampled_from(
            [
                original[:at],
                original[:at] + bytes([original[at] ^ 0x55]) + original[at + 1 :],
                data.draw(st.binary(max_size=60)),
            ]
        )
    )
    rest = data.draw(st.lists(st.sampled_from([ISSUER.der, ROOT.der, damaged, b""]), max_size=3))
    for wanted in (record(3, 0, 1, original), record(2, 1, 1, OTHER.der)):
        assert match([wanted], [damaged, *rest], [NAME], NOW) is None
    for selector in (0, 1):
        fits(Tlsa(3, selector, 1, b"x" * 32), damaged)
    match([record(2, 1, 1, ISSUER.der)], [damaged, *rest], [NAME], NOW)


# --- the second opinion

CASES = [
    ("end entity, key", SIGNED, record(3, 1, 1, SIGNED.der[0])),
    ("end entity, certificate", SIGNED, record(3, 0, 2, SIGNED.der[0])),
    ("end entity, self-signed", LONE, record(3, 1, 2, LONE.der[0])),
    ("end entity, whole key", LONE, record(3, 1, 0, LONE.der[0])),
    ("end entity, expired", self_signed(NAME, days=-3), None),
    ("end entity, other key", SIGNED, record(3, 1, 1, LONE.der[0])),
    ("end entity, but the issuer's", SIGNED, record(3, 1, 1, ISSUER.der)),
    ("anchor, issuer", SIGNED, record(2, 0, 1, ISSUER.der)),
    ("anchor, root", SIGNED, record(2, 1, 1, ROOT.der)),
    ("anchor, whole certificate", SIGNED, record(2, 0, 0, ROOT.der)),
    ("anchor, foreign", SIGNED, record(2, 0, 1, OTHER.der)),
    ("anchor, other name", ISSUER.identity(["other.example"]), record(2, 0, 1, ISSUER.der)),
    ("anchor, wildcard", ISSUER.identity(["*.example.jp"]), record(2, 0, 1, ISSUER.der)),
    ("anchor, expired", ISSUER.identity([NAME], days=-3), record(2, 0, 1, ISSUER.der)),
    ("anchor, but the server's own", SIGNED, record(2, 0, 1, SIGNED.der[0])),
]


@pytest.mark.parametrize(("identity", "tlsa"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
async def test_match_openssl_client_judges_alike(identity: Identity, tlsa: Tlsa | None) -> None:
    """``openssl s_client`` with the same record over STARTTLS comes to the same verdict about the same server."""
    tlsa = tlsa or record(3, 1, 1, identity.der[0])
    async with ScriptedMx(Listener(manners="starttls", identity=identity)) as mx:
        client = await asyncio.create_subprocess_exec(
            "openssl",
            *("s_client", "-starttls", "smtp", "-connect", f"127.0.0.1:{mx.port}", "-servername", NAME),
            *("-dane_tlsa_domain", NAME, "-dane_tlsa_rrdata"),
            f"{tlsa.usage} {tlsa.selector} {tlsa.matching} {tlsa.data.hex()}",
            *("-dane_ee_no_namechecks", "-verify_return_error", "-brief"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await asyncio.wait_for(client.communicate(b"QUIT\r\n"), 20)
    assert matches([tlsa], identity) is (b"Verification: OK" in said), said.decode()
