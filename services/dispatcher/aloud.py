"""Asking the DNS and policy hosts aloud: what is asked and answered is told to somebody as it happens.

Promises: the answers are those of the look-up and the fetcher that the dispatcher uses, nothing is asked besides; what
strangers say is told in lines of at most ``LONGEST_CHARS``, without control characters.
Fails as the look-up and the fetcher do, after the failure was told.
"""

import re
from collections.abc import Callable
from typing import Final

import dns.rdatatype
import dns.resolver

from services.dispatcher.dns_lookup import DnsLookup, DnsUnavailable, NoSuchName, Records
from services.dispatcher.sts_fetch import FetchParameters, StsFetcher, StsUnavailable
from services.dispatcher.sts_policy import StsPolicy

Tell = Callable[[str], None]

LONGEST_CHARS: Final = 500
_MOST_RECORDS: Final = 16
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def safe(text: str) -> str:
    """Give a stranger's text as one line that may be shown."""
    return _UNSAFE.sub("?", text[:LONGEST_CHARS])


class AloudLookup(DnsLookup):
    """A look-up that tells; ``found`` keeps what was answered, by name and type."""

    def __init__(self, servers: tuple[str, ...], *, timeout_s: float, trust_ad: bool, tell: Tell) -> None:
        """Prepare; see ``DnsLookup``.

        Raises: ValueError for what is no server address.
        """
        super().__init__(servers, timeout_s=timeout_s, trust_ad=trust_ad)
        self._tell = tell
        self._trusts = trust_ad
        self.found: dict[tuple[str, str], Records] = {}

    async def ask(self, name: str, kind: str) -> Records:
        """Ask, and tell what came.

        Raises: DnsUnavailable, NoSuchName
        """
        try:
            answer = await super().ask(name, kind)
        except NoSuchName as nothing:
            self._say(name, kind, f"no such name (NXDOMAIN){self._proof(secure=nothing.secure)}")
            raise
        except DnsUnavailable as error:
            self._say(name, kind, f"no answer: {_why(error)}")
            raise
        self.found[name, kind] = answer
        ttl = f" (TTL {answer.ttl_s:g} s)" if answer.records else ""
        self._say(name, kind, f"{_shown(answer)}{ttl}{self._proof(secure=answer.secure)}")
        return answer

    def _say(self, name: str, kind: str, what: str) -> None:
        self._tell(safe(f"D: {name} {kind}: {what}"))

    def _proof(self, *, secure: bool) -> str:
        if not self._trusts:
            return ""
        return ", DNSSEC vouches for it" if secure else ", without DNSSEC"


class AloudFetcher(StsFetcher):
    """A fetcher of MTA-STS policies that tells."""

    def __init__(self, lookup: DnsLookup, parameters: FetchParameters, *, tell: Tell) -> None:
        """Prepare; see ``StsFetcher``.

        Raises: OSError if the file of CAs cannot be read.
        """
        super().__init__(lookup, parameters)
        self._tell = tell

    async def fetch(self, domain: str, policy_id: str) -> tuple[StsPolicy, int]:
        """Fetch, and tell what came.

        Raises: StsUnavailable
        """
        try:
            policy, age_s = await super().fetch(domain, policy_id)
        except StsUnavailable as error:
            self._tell(safe(f"-- MTA-STS: a policy is announced and cannot be fetched: {error}"))
            raise
        names = ", ".join(policy.mx) or "none"
        self._tell(safe(f"-- MTA-STS: policy {policy.id}, {policy.mode}, for {age_s} s, hosts: {names}"))
        return policy, age_s


def _shown(answer: Records) -> str:
    if not answer.records:
        return "no such record (NODATA)"
    records = answer.records
    if records[0].rdtype == dns.rdatatype.MX:
        records = tuple(sorted(records, key=lambda record: (getattr(record, "preference", 0), record.to_text())))
    more = len(records) - _MOST_RECORDS
    texts = [record.to_text() for record in records[:_MOST_RECORDS]]
    return ", ".join(texts) + (f" and {more} more" if more > 0 else "")


def _why(error: DnsUnavailable) -> str:
    """Give the code of a refusal, or what else the resolver says of it."""
    cause = error.__cause__
    if isinstance(cause, dns.resolver.LifetimeTimeout):
        return "timed out"
    codes = re.findall(r"answered ([A-Z]{4,10})\b", str(cause)) if cause is not None else []
    return ", ".join(dict.fromkeys(codes)) or str(error)
