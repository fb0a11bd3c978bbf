"""DANE: which certificates match TLSA records; openssl is the second opinion."""

import asyncio
import datetime as dt
import hashlib
from collections.abc import Sequence

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.dispatcher.dane import Tlsa
from services.dispatcher.dane_match import fits, match, public_key_info
from tests.support.scripted_mx import Listener, ScriptedMx
from tests.support.self_signed import Authority, Identity, self_signed

NAME = "mx.example.jp"
NOW = dt.datetime.now(dt.UTC)
ROOT = Authority("Root")
ISSUER = Authority("Issuer", under=ROOT)
OTHER = Authority("Other")
SIGNED = ISSUER.identity([NAME])
LONE = self_signed(NAME)


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
