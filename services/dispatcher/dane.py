"""DANE for SMTP, the DNS's part: which TLSA records hold for an MX host.

Promises: TLSA records are asked for only where DNSSEC vouches for MX and addresses of the host, and count only if it
vouches for them too; "there are none" is said only if an answer says so. Answers are remembered for their TTL, failures
for ``FAILURE_TTL_S``; memory is bounded, one host is asked for once at a time.
Fails with ``DnsUnavailable`` where a question that matters went unanswered (a bogus signature is SERVFAIL): the host
must not be used then, or who can break an answer could turn DANE off.

The TLSA base domain is the host's name as the MX record has it; the name behind an alias is not tried.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_public_key

from services.dispatcher.dns_lookup import DnsLookup, DnsUnavailable, NoSuchName
from services.dispatcher.route import MxHost
from services.dispatcher.single_flight import SingleFlight

TRUST_ANCHOR: Final = 2  # DANE-TA
END_ENTITY: Final = 3  # DANE-EE
WHOLE_CERTIFICATE: Final = 0
PUBLIC_KEY: Final = 1
FULL: Final = 0
DIGEST_BYTES: Final = {1: 32, 2: 64}  # SHA-256, SHA-512

UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What the parsers of ``cryptography`` raise for bytes of strangers."""

FAILURE_TTL_S: Final = 20.0
_TTL_FLOOR_S: Final = 5.0
_TTL_CEILING_S: Final = 3600.0
_CACHE_HOSTS: Final = 20_000
_MOST_RECORDS: Final = 64  # danger: each record may cost the building of a chain


@dataclass(frozen=True, slots=True)
class Tlsa:
    """One TLSA record.

    Source: RFC 6698 §2.1.
    """

    usage: int
    selector: int
    matching: int
    data: bytes

    @property
    def usable(self) -> bool:
        """True if a server's certificate can match it.

        Source: RFC 7672 §3.1 (usages 0 and 1 are of no use with SMTP), RFC 6698 §2.1.
        """
        if self.usage not in {TRUST_ANCHOR, END_ENTITY} or self.selector not in {WHOLE_CERTIFICATE, PUBLIC_KEY}:
            return False
        if self.matching != FULL:
            return len(self.data) == DIGEST_BYTES.get(self.matching, -1)
        try:
            if self.selector == WHOLE_CERTIFICATE:
                x509.load_der_x509_certificate(self.data)
            else:
                load_der_public_key(self.data)
        except UNREADABLE:
            return False
        return True


@dataclass(frozen=True, slots=True)
class _Known:
    records: tuple[Tlsa, ...] | None
    failed: bool
    until: float


class Dane:
    """TLSA records of MX hosts, with a cache; one for each process."""

    def __init__(self, lookup: DnsLookup, *, port: int = 25, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare; ``port`` is the SMTP servers' port, ``clock`` counts seconds."""
        self._lookup = lookup
        self._port = port
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._under_way: SingleFlight[_Known] = SingleFlight()

    async def records(self, host: MxHost) -> tuple[Tlsa, ...] | None:
        """Give the host's TLSA records, usable or not; None if DANE does not hold for it.

        Raises: DnsUnavailable
        Source: RFC 7672 §2.1.3, §2.2.
        """
        if not host.secure:
            return None
        known = self._known.get(host.name)
        if known is None or known.until <= self._clock():
            known = await self._under_way.run(host.name, lambda: self._find(host.name))
        if known.failed:
            raise DnsUnavailable(f"the TLSA records of {host.name} cannot be had")
        return known.records

    async def close(self) -> None:
        """Stop what is under way."""
        await self._under_way.close()

    async def _find(self, host: str) -> _Known:
        try:
            records, ttl_s = await self._ask(host)
            ttl_s = min(max(ttl_s, _TTL_FLOOR_S), _TTL_CEILING_S)
            known = _Known(records, failed=False, until=self._clock() + ttl_s)
        except DnsUnavailable:
            known = _Known(None, failed=True, until=self._clock() + FAILURE_TTL_S)
        self._known[host] = known
        self._known.move_to_end(host)
        while len(self._known) > _CACHE_HOSTS:
            self._known.popitem(last=False)
        return known

    async def _ask(self, host: str) -> tuple[tuple[Tlsa, ...] | None, float]:
        try:
            answer = await self._lookup.ask(f"_{self._port}._tcp.{host}", "TLSA")
        except NoSuchName as nothing:
            return None, nothing.ttl_s
        if not answer.secure or not answer.records:
            return None, answer.ttl_s
        return tuple(_tlsa(record) for record in answer.records[:_MOST_RECORDS]), answer.ttl_s


def _tlsa(record: Any) -> Tlsa:
    """Read a record; dnspython declares the fields on classes that it picks at run time."""
    return Tlsa(record.usage, record.selector, record.mtype, record.cert)
