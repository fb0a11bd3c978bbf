"""What a connection to one MX host owes to TLS, decided before connecting.

Promises: DANE goes before MTA-STS, MTA-STS (``enforce``) before the provider's policy; so a policy of ``none`` gives
STARTTLS away only where the domain asks for nothing: a domain's own word on its mail is stronger than our habit.
A plan of ``required``, ``mta-sts`` or ``dane`` never ends in clear text; ``mta-sts-testing`` delivers as the provider's
policy says and tells what would have failed.
Fails with ``HostRefused``: this host may not be used now. It is temporary; other hosts of the domain may be used.

========================  ==============================================  ===========================
plan                      connection                                      result where it came about
========================  ==============================================  ===========================
dane                      TLS, a TLSA record matches                      verified-dane
dane, none usable         TLS (and MTA-STS ``enforce``, if that holds)    unverified (verified-pkix)
mta-sts                   TLS, valid certificate with the host's name     verified-pkix
mta-sts-testing           as below, what MTA-STS would say is counted     verified-pkix or failed-…
required                  TLS with whatever certificate                   unverified
opportunistic             TLS if it can be had                            unverified or cleartext
none                      no STARTTLS                                     cleartext
========================  ==============================================  ===========================
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, assert_never

from hayabin.domain.bounce_reason import BounceReason, Verdict
from hayabin.domain.policy import TlsMode
from hayabin.domain.smtp_reply import Reply
from hayabin.telemetry.metrics import TLS_SESSIONS
from services.dispatcher.dane import Dane, Tlsa
from services.dispatcher.dns_lookup import DnsUnavailable
from services.dispatcher.route import MxHost
from services.dispatcher.sts_policy import StsMode, StsPolicy
from services.dispatcher.tls_context import verifying_context


class PlanName(StrEnum):
    """Which rule decided; this is on the attempt."""

    NONE = "none"
    OPPORTUNISTIC = "opportunistic"
    REQUIRED = "required"
    MTA_STS = "mta-sts"
    MTA_STS_TESTING = "mta-sts-testing"
    DANE = "dane"


class TlsResult(StrEnum):
    """What became of it; the words after ``failed-`` are those of RFC 8460 §4.3 where it has one."""

    CLEARTEXT = "cleartext"
    UNVERIFIED = "unverified"
    VERIFIED_PKIX = "verified-pkix"
    VERIFIED_DANE = "verified-dane"
    FAILED_STARTTLS = "failed-starttls-not-supported"
    FAILED_HANDSHAKE = "failed-handshake"
    FAILED_NAME = "failed-certificate-host-mismatch"
    FAILED_EXPIRED = "failed-certificate-expired"
    FAILED_TRUST = "failed-certificate-not-trusted"
    FAILED_VALIDATION = "failed-validation-failure"
    FAILED_DANE = "failed-tlsa-mismatch"
    FAILED_TLSA_LOOKUP = "failed-tlsa-lookup"
    FAILED_MX = "failed-mx-not-in-policy"


class Proof(StrEnum):
    """What the server's certificate must show."""

    NOTHING = "nothing"
    PKIX = "pkix"  # a chain to a CA that we trust, with the host's name
    DANE = "dane"  # a match with a TLSA record


@dataclass(frozen=True, slots=True)
class TlsPlan:
    """One host's plan.

    ``floor`` is what is done where ``proof`` is wanted but only for the record (``mta-sts-testing``), and what is done
    at all otherwise. ``doubt`` is a failure that is known before connecting, and only counted.
    """

    name: PlanName
    floor: TlsMode
    proof: Proof = Proof.NOTHING
    tlsa: tuple[Tlsa, ...] = ()
    names: tuple[str, ...] = ()  # that a certificate below a DANE trust anchor may have
    ca_file: str = ""  # instead of the public CAs
    doubt: TlsResult | None = None

    @property
    def enforced(self) -> bool:
        """True if nothing goes out without the proof, or without TLS where no proof is wanted."""
        return self.name is not PlanName.MTA_STS_TESTING and self.floor is TlsMode.REQUIRED


OPPORTUNISTIC: Final = TlsPlan(PlanName.OPPORTUNISTIC, TlsMode.OPPORTUNISTIC)


class HostRefused(Exception):
    """The host may not be used now; nothing was sent. ``reply`` is what to show."""

    def __init__(self, host: str, plan: PlanName, result: TlsResult, detail: str) -> None:
        """Keep which host, by which rule, and why."""
        super().__init__(f"{host}: {detail}")
        self.host = host
        self.plan = plan
        self.result = result
        self.detail = detail
        self.reply = Reply(451, "4.7.5", f"{detail} (nothing was sent)")

    @property
    def verdict(self) -> Verdict:
        """Give what it means for the mails that were to go this way: try again."""
        return Verdict(permanent=False, hard=False, reason=BounceReason.TLS, suppress=False)


def plan_of_mode(mode: TlsMode) -> TlsPlan:
    """Give the plan where the provider's policy alone decides."""
    match mode:
        case TlsMode.NONE:
            return TlsPlan(PlanName.NONE, mode)
        case TlsMode.OPPORTUNISTIC:
            return OPPORTUNISTIC
        case TlsMode.REQUIRED:
            return TlsPlan(PlanName.REQUIRED, mode)
        case _:
            assert_never(mode)


class TlsPlanner:
    """Makes plans; ``ca_file`` has the CAs to trust instead of the public ones."""

    def __init__(self, dane: Dane, *, ca_file: str = "") -> None:
        """Prepare.

        Raises: OSError if the file of CAs cannot be read.
        """
        self._dane = dane
        self._ca_file = ca_file
        verifying_context(ca_file)

    async def plan(
        self, host: MxHost, mode: TlsMode, sts: StsPolicy | None, *, domain: str = "", provider: str = "other"
    ) -> TlsPlan:
        """Decide for one host of a domain.

        ``sts`` is the domain's policy (``MtaSts.policy``), ``domain`` the recipients' (a certificate below a DANE trust
        anchor may have its name), ``provider`` the label under which a refusal is counted.

        Raises: HostRefused
        Source: RFC 8461 §2 and §5, RFC 7672 §2.2 and §3.2.2.
        """
        try:
            tlsa = await self._dane.records(host)
        except DnsUnavailable:
            detail = "the host's TLSA records cannot be had, so DANE cannot be kept"
            raise _refused(PlanName.DANE, provider, host, TlsResult.FAILED_TLSA_LOOKUP, detail) from None
        usable = () if tlsa is None else tuple(record for record in tlsa if record.usable)
        if usable:
            names = (host.name, *([domain] if domain and domain != host.name else []))
            return TlsPlan(PlanName.DANE, TlsMode.REQUIRED, Proof.DANE, usable, names)
        if sts is not None and sts.mode is StsMode.ENFORCE:
            if not sts.allows(host.name):
                detail = "the domain's MTA-STS policy does not name this host"
                raise _refused(PlanName.MTA_STS, provider, host, TlsResult.FAILED_MX, detail)
            name = PlanName.MTA_STS if tlsa is None else PlanName.DANE
            return TlsPlan(name, TlsMode.REQUIRED, Proof.PKIX, ca_file=self._ca_file)
        if tlsa is not None:  # all of them unusable: TLS, but with nothing to hold against it
            return TlsPlan(PlanName.DANE, TlsMode.REQUIRED)
        if sts is not None:
            doubt = None if sts.allows(host.name) else TlsResult.FAILED_MX
            proof = Proof.PKIX if doubt is None else Proof.NOTHING
            return TlsPlan(PlanName.MTA_STS_TESTING, mode, proof, ca_file=self._ca_file, doubt=doubt)
        return plan_of_mode(mode)


def _refused(plan: PlanName, provider: str, host: MxHost, result: TlsResult, detail: str) -> HostRefused:
    TLS_SESSIONS.labels(provider, plan, result).inc()
    return HostRefused(host.name, plan, result, detail)
