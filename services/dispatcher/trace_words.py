"""What ``hayabin smtp trace`` says beside the protocol: what a TLS plan asks, what a result means, what to do.

Promises: each failure has a sentence with something to do in it; a plan's words are those of ``tls_plan``. It cannot
fail.
"""

from typing import Final

from hayabin.domain.smtp_reply import SmtpPhase
from services.dispatcher import route
from services.dispatcher.connect_failure import ConnectFailure
from services.dispatcher.route import RoutingFailure
from services.dispatcher.tls_plan import PlanName, Proof, TlsPlan, TlsResult

_PLANS: Final = {
    PlanName.NONE: "no STARTTLS",
    PlanName.OPPORTUNISTIC: "TLS where it can be had, with whatever certificate",
    PlanName.REQUIRED: "TLS with whatever certificate, or no mail",
}
_PROOFS: Final = {
    Proof.NOTHING: "TLS with whatever certificate, or no mail, as there are TLSA records but none that can be used",
    Proof.PKIX: "TLS with a valid certificate that has the host's name, or no mail",
    Proof.DANE: "TLS with a certificate that a TLSA record matches, or no mail",
}
RESULTS: Final = {
    TlsResult.CLEARTEXT: "in clear text",
    TlsResult.UNVERIFIED: "encrypted; nothing was asked of the certificate",
    TlsResult.VERIFIED_PKIX: "encrypted; the certificate is valid and has the host's name",
    TlsResult.VERIFIED_DANE: "encrypted; the certificate matches a TLSA record",
    TlsResult.FAILED_STARTTLS: "the server offers no STARTTLS",
    TlsResult.FAILED_HANDSHAKE: "the TLS handshake failed",
    TlsResult.FAILED_NAME: "the certificate has not the host's name",
    TlsResult.FAILED_EXPIRED: "the certificate has expired, or is not valid yet",
    TlsResult.FAILED_TRUST: "the certificate comes from nobody that we trust",
    TlsResult.FAILED_VALIDATION: "the certificate is not valid",
    TlsResult.FAILED_DANE: "the certificate matches no TLSA record",
    TlsResult.FAILED_TLSA_LOOKUP: "the TLSA records cannot be had",
    TlsResult.FAILED_MX: "the MTA-STS policy does not name the host",
}
_ROUTES: Final = {
    route.NULL_MX: "Mail to it bounces; take its addresses out of the lists.",
    route.NO_DOMAIN: "Mail to it bounces; look for a typing error in the domain.",
    route.BAD_DOMAIN: "Mail to it bounces; look for a typing error in the domain.",
    route.NO_ADDRESS: "Mail to it bounces; its postmaster must give the MX hosts A records.",
    route.PRIVATE: "Mail to it bounces; for a gateway of your own give --allow-private (HAYABIN_ALLOW_PRIVATE_MX).",
    route.IPV6_ONLY: "Mail to it bounces; give --from-ip an IPv6 address of this machine (HAYABIN_SOURCE_IPS).",
    route.DNS_FAILS: "Mail to it is deferred and tried again; ask another resolver with --dns, or wait for its zone.",
}


def words_of_plan(plan: TlsPlan) -> str:
    """Give a plan's name and what it asks."""
    if plan.name is PlanName.MTA_STS_TESTING:
        return f"{plan.name}: {_PLANS[PlanName(plan.floor.value)]}; what the policy would say is only noted"
    return f"{plan.name}: {_PLANS.get(plan.name) or _PROOFS[plan.proof]}"


def of_route(failure: RoutingFailure) -> str:
    """Say why there is no way, and what to do."""
    problem = next((one for one in _ROUTES if one.reply == failure.reply), None)
    todo = "" if problem is None else f" {_ROUTES[problem]}"
    return f"{failure.domain}: {failure.reply}.{todo}"


def of_connection(failure: ConnectFailure, host: str) -> str:
    """Say why no session came about, and what to do."""
    if failure.tls_result:
        return f"{host}: {_tls(failure)}"
    match failure.phase, failure.reply:
        case SmtpPhase.CONNECT, None:
            return (
                f"{host}: no greeting: {failure.detail}. See that this source IP may go out to the port "
                "(firewall, provider's block), and try another host with --mx."
            )
        case _, None:
            return f"{host}: the conversation broke off at {failure.phase.upper()}: {failure.detail}. Try again later."
        case _, reply:
            return (
                f"{host}: refused at {failure.phase.upper()}: {reply}. Mail is deferred; see what the reply names: the "
                "source IP's reputation, its PTR record, the EHLO name."
            )


def _tls(failure: ConnectFailure) -> str:
    words = RESULTS[TlsResult(failure.tls_result)]
    detail = "" if failure.tls_result == TlsResult.FAILED_STARTTLS else f" ({failure.detail})"
    return (
        f"{words}{detail}. Mail is deferred until the host's postmaster mends it; where only our own policy asks for "
        "TLS, --tls opportunistic shows whether it goes without."
    )
