"""What the DNS says of a domain's mail: the hosts that take it, or why there are none.

Promises: immutable; each problem has the verdict and the reply that a postmaster would give. It cannot fail.
"""

from dataclasses import dataclass
from typing import Final

from hayabin.domain.bounce_kinds import HARD_REASONS
from hayabin.domain.bounce_reason import BounceReason, Verdict
from hayabin.domain.smtp_reply import Reply


@dataclass(frozen=True, slots=True)
class MxHost:
    """A host that takes the domain's mail, with its addresses in the order of the DNS.

    ``secure``: DNSSEC vouches for the domain's MX records (or for their absence) and for the host's addresses.
    """

    name: str
    preference: int
    addresses: tuple[str, ...]
    secure: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """Where mail for a domain goes; at least one host, each with at least one address."""

    domain: str
    provider: str | None
    hosts: tuple[MxHost, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why there is no way, for now or for good, with the reply to show."""

    permanent: bool
    reason: BounceReason
    reply: Reply


class RoutingFailure(Exception):
    """There is no way to the domain, for now or for good."""

    def __init__(self, domain: str, problem: Problem) -> None:
        """Keep the domain and what is wrong with it."""
        super().__init__(f"{domain}: {problem.reply}")
        self.domain = domain
        self.permanent = problem.permanent
        self.reason = problem.reason
        self.reply = problem.reply  # as a server would say it: code, enhanced status, text

    @property
    def verdict(self) -> Verdict:
        """Give what it means for mails to the domain."""
        hard = self.permanent and self.reason in HARD_REASONS
        return Verdict(permanent=self.permanent, hard=hard, reason=self.reason, suppress=hard)


def _for_good(reason: BounceReason, code: int, enhanced: str, text: str) -> Problem:
    return Problem(permanent=True, reason=reason, reply=Reply(code, enhanced, text))


NULL_MX: Final = _for_good(BounceReason.NULL_MX, 556, "5.1.10", "the domain takes no mail (null MX)")
NO_DOMAIN: Final = _for_good(BounceReason.DOMAIN_NOT_FOUND, 550, "5.1.2", "the domain does not exist")
BAD_DOMAIN: Final = _for_good(BounceReason.ADDRESS_SYNTAX, 553, "5.1.3", "the domain is no name of the DNS")
NO_ADDRESS: Final = _for_good(BounceReason.NETWORK, 550, "5.4.4", "no host of the domain has an address")
PRIVATE: Final = _for_good(BounceReason.NETWORK, 550, "5.4.4", "the hosts of the domain are not on the Internet")
IPV6_ONLY: Final = _for_good(
    BounceReason.NETWORK,
    550,
    "5.4.4",
    "the hosts of the domain have IPv6 addresses only, and no IPv6 source IP is configured",
)
DNS_FAILS: Final = Problem(False, BounceReason.NETWORK, Reply(451, "4.4.3", "the DNS gives no answer for the domain"))
