"""DANE for SMTP, the certificate's part: whether what the server showed matches a TLSA record.

Promises: DANE-EE compares the server's own certificate or key and looks at nothing else, neither names nor dates;
DANE-TA wants a valid chain from the server's certificate to the one that matches, and one of the names in the former.
What the server sent is untrusted: what cannot be parsed matches nothing. It does not fail.
"""

import datetime as dt
import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from services.dispatcher.dane import DIGEST_BYTES, END_ENTITY, FULL, UNREADABLE, WHOLE_CERTIFICATE, Tlsa

_LONGEST_CHAIN: Final = 10
_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0


def match(records: Iterable[Tlsa], chain: Sequence[bytes], names: Sequence[str], now: dt.datetime) -> Tlsa | None:
    """Give the record that the server's certificates match, or None.

    ``chain`` is in DER, the server's own certificate first; one of ``names`` must stand in it for DANE-TA.

    Source: RFC 7672 §3.1 and §3.2, RFC 7671 §5.1, §5.2 and §9, RFC 6698 §2.1.
    """
    wanted = _strongest([record for record in records if record.usable])
    for record in wanted:
        if record.usage == END_ENTITY and chain and fits(record, chain[0]):
            return record
    for record in wanted:
        if record.usage != END_ENTITY and _vouches(record, chain[:_LONGEST_CHAIN], names, now):
            return record
    return None


def fits(record: Tlsa, certificate: bytes) -> bool:
    """Tell whether one certificate (DER) is what the record describes."""
    try:
        selected = certificate if record.selector == WHOLE_CERTIFICATE else public_key_info(certificate)
    except ValueError:
        return False
    match record.matching:
        case 0:
            return record.data == selected
        case 1:
            return record.data == hashlib.sha256(selected).digest()
        case 2:
            return record.data == hashlib.sha512(selected).digest()
        case _:
            return False


def public_key_info(certificate: bytes) -> bytes:
    """Cut the SubjectPublicKeyInfo out of a certificate, as its bytes stand there.

    Raises: ValueError
    Source: RFC 5280 §4.1.
    """
    _, begin, _ = _element(certificate, 0, _SEQUENCE)
    _, at, end = _element(certificate, begin, _SEQUENCE)  # TBSCertificate
    if certificate[at : at + 1] == bytes([_VERSION]):
        _, _, at = _element(certificate, at)
    for _ in ("serialNumber", "signature", "issuer", "validity", "subject"):
        _, _, at = _element(certificate, at)
    _, _, after = _element(certificate, at, _SEQUENCE)
    if after > end:
        raise ValueError("the certificate is cut short")
    return certificate[at:after]


def _element(der: bytes, at: int, tag: int | None = None) -> tuple[int, int, int]:
    """Give tag, begin of the content and end of the element that begins at ``at``."""
    if at + 2 > len(der) or (tag is not None and der[at] != tag):
        raise ValueError("no such element")
    size, begin = der[at + 1], at + 2
    if size >= 0x80:
        digits = size & 0x7F
        if not 1 <= digits <= 4:
            raise ValueError("no length of DER")
        size = int.from_bytes(der[begin : begin + digits], "big")
        begin += digits
    if begin + size > len(der):
        raise ValueError("the certificate is cut short")
    return der[at], begin, begin + size


def _strongest(records: Sequence[Tlsa]) -> list[Tlsa]:
    """Leave out weaker digests where there is a stronger one of the same usage and selector.

    Source: RFC 7671 §9.
    """
    best: dict[tuple[int, int], int] = {}
    for record in records:
        if record.matching in DIGEST_BYTES:
            key = (record.usage, record.selector)
            best[key] = max(best.get(key, 0), record.matching)
    return [r for r in records if r.matching == FULL or r.matching == best[r.usage, r.selector]]


def _vouches(record: Tlsa, chain: Sequence[bytes], names: Sequence[str], now: dt.datetime) -> bool:
    anchors = [der for der in chain[1:] if fits(record, der)]
    if not anchors and record.matching == FULL and record.selector == WHOLE_CERTIFICATE:
        anchors = [record.data]  # the DNS itself shows it, the server need not
    return any(_chain_holds(anchor, chain, name, now) for anchor in anchors for name in names)


def _chain_holds(anchor: bytes, chain: Sequence[bytes], name: str, now: dt.datetime) -> bool:
    try:
        trusted, leaf, *others = (x509.load_der_x509_certificate(der) for der in (anchor, *chain))
        verifier = (
            PolicyBuilder()
            .store(Store([trusted]))
            .time(now)
            .extension_policies(ca_policy=_ISSUERS, ee_policy=_SERVERS)
            .build_server_verifier(x509.DNSName(name))
        )
        verifier.verify(leaf, others)
    except (VerificationError, *UNREADABLE):
        return False
    return True


def _is_issuer(_policy: Policy, _certificate: x509.Certificate, constraints: x509.BasicConstraints) -> None:
    if not constraints.ca:
        raise ValueError("not a CA")


def _may_issue(_policy: Policy, _certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("the key may not sign certificates")


def _may_serve(_policy: Policy, _certificate: x509.Certificate, usage: x509.ExtendedKeyUsage | None) -> None:
    allowed = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    if usage is not None and not allowed & set(usage):
        raise ValueError("not for servers")


# A trust anchor of DANE is anybody's own CA, so it is held to RFC 5280 and not to the rules of the Web's CAs.
_ISSUERS: Final = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, _is_issuer)
    .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _may_issue)
)
_SERVERS: Final = (
    ExtensionPolicy.permit_all()
    .require_present(x509.SubjectAlternativeName, Criticality.AGNOSTIC, None)
    .may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _may_serve)
)
