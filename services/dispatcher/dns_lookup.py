"""One DNS question and its answer, in the three kinds that mail routing must tell apart.

Promises: "there is no such record" and "there is no such name" are said only if an answer says so, or where a name is
none that the DNS can have; a server failure, a refusal, a referral (lame server), a timeout or a malformed answer is
``DnsUnavailable``, never one of these.
CNAMEs are followed, also out of the answer, at most ``LONGEST_CHAIN`` of them. Every question ends in bounded time.
``secure`` is said only on the word of a resolver that is trusted to validate (``trust_ad``), and only if it vouches for
every step of the chain.
Fails with ``DnsUnavailable`` (ask again later) and ``NoSuchName``.
"""

from dataclasses import dataclass
from typing import Final

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver
from dns.rdata import Rdata

from hayabin.domain.server_address import server_address

LONGEST_CHAIN: Final = 8
_DEFAULT_PORT: Final = 53


class DnsUnavailable(Exception):
    """No answer that says anything."""


class NoSuchName(Exception):
    """The name does not exist (NXDOMAIN); ``ttl_s`` is how long that may be remembered.

    ``secure``: DNSSEC proves it.
    """

    def __init__(self, ttl_s: float, *, secure: bool = False) -> None:
        """Keep the time, and how sure it is."""
        super().__init__("no such name")
        self.ttl_s = ttl_s
        self.secure = secure


@dataclass(frozen=True, slots=True)
class Records:
    """Records of one name and type, none if the name exists without them (NODATA).

    ``secure``: DNSSEC vouches for them, or for their absence.

    Units: seconds.
    """

    records: tuple[Rdata, ...]
    ttl_s: float
    secure: bool = False


class DnsLookup:
    """Asks the given servers, each as ``ip``, ``ip:port`` or ``[ip]:port``; the system's if there are none."""

    def __init__(self, servers: tuple[str, ...], *, timeout_s: float, trust_ad: bool = False) -> None:
        """Prepare; ``timeout_s`` is for a question with all its retries.

        ``trust_ad``: the servers validate DNSSEC, and nobody between them and us can change their answers.

        Raises: ValueError for what is no server address.
        Source: RFC 4035 §4.6 and §4.9.3, RFC 6840 §5.7.
        """
        self._resolver = dns.asyncresolver.Resolver(configure=not servers)
        if servers:
            self._resolver.nameservers = [_nameserver(server) for server in servers]
        self._resolver.timeout = max(timeout_s / 3, 0.05)
        self._resolver.lifetime = timeout_s
        self._resolver.use_edns(0, int(dns.flags.DO) if trust_ad else 0, 1232)
        if trust_ad:
            self._resolver.set_flags(int(dns.flags.RD | dns.flags.AD))
        self._trust_ad = trust_ad

    async def ask(self, name: str, kind: str) -> Records:
        """Ask for the records of one type.

        Raises: DnsUnavailable, NoSuchName
        Source: RFC 2308 §2 (NXDOMAIN, NODATA, referrals), RFC 1034 §3.6.2 (CNAME).
        """
        try:
            asked = dns.name.from_text(name)
        except dns.exception.DNSException:  # too long, as what stands before a long host name can make it
            raise NoSuchName(0.0) from None
        secure = True
        for _ in range(LONGEST_CHAIN):
            answer = await self._ask_once(asked, kind, secure=secure)
            secure = secure and self._vouched(answer.response)
            if answer.rrset is not None:
                return Records(tuple(answer.rrset), float(answer.chaining_result.minimum_ttl), secure)
            if answer.canonical_name == asked:
                return Records((), _negative_ttl(answer), secure)
            asked = answer.canonical_name
        raise DnsUnavailable("the chain of aliases is too long")

    def _vouched(self, response: dns.message.Message) -> bool:
        return self._trust_ad and bool(response.flags & dns.flags.AD)

    async def _ask_once(self, name: dns.name.Name, kind: str, *, secure: bool) -> dns.resolver.Answer:
        try:
            answer = await self._resolver.resolve(name, kind, raise_on_no_answer=False, search=False)
        except dns.resolver.NXDOMAIN as error:
            responses = error.responses().values()  # type: ignore[no-untyped-call]
            proven = secure and bool(responses) and all(self._vouched(response) for response in responses)
            raise NoSuchName(_nxdomain_ttl(error), secure=proven) from error
        except (dns.exception.DNSException, OSError, EOFError) as error:
            raise DnsUnavailable(type(error).__name__) from error
        return answer


def _negative_ttl(answer: dns.resolver.Answer) -> float:
    """Give how long "no such record" may be remembered.

    Raises: DnsUnavailable if the answer is a referral, which says nothing of the records.
    """
    kinds = {rrset.rdtype for rrset in answer.response.authority}
    if dns.rdatatype.NS in kinds and dns.rdatatype.SOA not in kinds:
        raise DnsUnavailable("the server refers to others")
    return float(answer.chaining_result.minimum_ttl) if dns.rdatatype.SOA in kinds else 0.0


def _nxdomain_ttl(error: dns.resolver.NXDOMAIN) -> float:
    times = [response.resolve_chaining().minimum_ttl for response in error.responses().values()]  # type: ignore[no-untyped-call]
    return float(min(times, default=0))


def _nameserver(server: str) -> dns.nameserver.Nameserver:
    return dns.nameserver.Do53Nameserver(*server_address(server, _DEFAULT_PORT))
