"""STARTTLS on an open connection, up to the proof that the plan asks for.

Promises: the server's certificate shows what was asked for, or there is no session; what a server says in clear after
its 220 to STARTTLS is an injection, and never read as if it were said under TLS.
Fails with ``ConnectFailure`` whose ``tls_result`` says what failed.
"""

import asyncio
import ssl
from datetime import UTC, datetime
from typing import Final, cast

import aiosmtplib

from hayabin.domain.bounce_reason import BounceReason
from hayabin.domain.smtp_reply import ProtocolError, SmtpPhase, reply_from_text
from services.dispatcher import dane_match
from services.dispatcher.connect_failure import ConnectFailure
from services.dispatcher.opening_lines import OpeningLines
from services.dispatcher.tls_context import shown_chain, unverifying_context, verifying_context
from services.dispatcher.tls_plan import Proof, TlsPlan, TlsResult

READY: Final = 220
# X509_V_ERR_… of OpenSSL: the chain ends in nothing that we trust.
_NOT_TRUSTED: Final = frozenset({2, 18, 19, 20, 21, 27})
_EXPIRED: Final = frozenset({9, 10})
_HOST_MISMATCH: Final = 62


async def start_tls(
    client: aiosmtplib.SMTP, host: str, plan: TlsPlan, proof: Proof, timeout_s: float, lines: OpeningLines
) -> tuple[str, str, TlsResult]:
    """Say STARTTLS and shake hands; give protocol version, cipher and what the certificate proved.

    Raises: ConnectFailure
    Source: RFC 3207 §4 and §6, RFC 8461 §4.2, RFC 7672 §8.1 (the name in SNI).
    """
    lines.client("STARTTLS")
    reply = await client.execute_command(b"STARTTLS", timeout=timeout_s)
    lines.server(reply.code, reply.message)
    if reply.code != READY:
        raise _refused(reply.code, reply.message)
    protocol, transport = client.protocol, client.transport
    if protocol is None or transport is None or transport.is_closing():
        raise _failed("the server closed after STARTTLS", TlsResult.FAILED_HANDSHAKE)
    if protocol._buffer:  # noqa: SLF001 — the only way to see it
        raise ConnectFailure(
            SmtpPhase.STARTTLS,
            BounceReason.PROTOCOL,
            "the server spoke in clear after its reply to STARTTLS",
            tls_result=TlsResult.FAILED_HANDSHAKE,
        )
    context = verifying_context(plan.ca_file) if proof is Proof.PKIX else unverifying_context()
    try:
        secured = await asyncio.get_running_loop().start_tls(
            cast("asyncio.Transport", transport),
            protocol,
            context,
            server_hostname=host,
            ssl_handshake_timeout=timeout_s,
        )
    except ssl.SSLCertVerificationError as error:
        raise _failed(error.verify_message, _verification(error)) from error
    except (OSError, TimeoutError, ValueError) as error:
        raise _failed(f"{type(error).__name__}: {error}", TlsResult.FAILED_HANDSHAKE) from error
    if secured is None or secured.is_closing():
        raise _failed("the server closed during the handshake", TlsResult.FAILED_HANDSHAKE)
    protocol.transport = client.transport = secured
    client.esmtp_extensions = {}  # nothing that was said in clear is kept
    session = secured.get_extra_info("ssl_object")
    return session.version(), session.cipher()[0], _proven(session, plan, proof)


def _proven(session: ssl.SSLObject, plan: TlsPlan, proof: Proof) -> TlsResult:
    match proof:
        case Proof.NOTHING:
            return TlsResult.UNVERIFIED
        case Proof.PKIX:  # the handshake saw to it
            return TlsResult.VERIFIED_PKIX
        case Proof.DANE:
            chain = shown_chain(session)
            if dane_match.match(plan.tlsa, chain, plan.names, datetime.now(UTC)) is None:
                raise _failed("the certificate matches no TLSA record", TlsResult.FAILED_DANE)
            return TlsResult.VERIFIED_DANE


def _verification(error: ssl.SSLCertVerificationError) -> TlsResult:
    if error.verify_code == _HOST_MISMATCH:
        return TlsResult.FAILED_NAME
    if error.verify_code in _EXPIRED:
        return TlsResult.FAILED_EXPIRED
    return TlsResult.FAILED_TRUST if error.verify_code in _NOT_TRUSTED else TlsResult.FAILED_VALIDATION


def _failed(detail: str, result: TlsResult) -> ConnectFailure:
    return ConnectFailure(SmtpPhase.STARTTLS, BounceReason.TLS, detail[:300], tls_result=result)


def _refused(code: int, message: str) -> ConnectFailure:
    """Whatever the server says to STARTTLS but 220, what fails is TLS."""
    try:
        reply = reply_from_text(code, message)
    except ProtocolError:
        return _failed(message, TlsResult.FAILED_HANDSHAKE)
    return ConnectFailure(
        SmtpPhase.STARTTLS, BounceReason.TLS, str(reply), reply, tls_result=TlsResult.FAILED_HANDSHAKE
    )
