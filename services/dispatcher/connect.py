"""The way to a usable ``SmtpSession``: connect from our source IP, greeting, EHLO, STARTTLS, EHLO again.

Promises: nothing of a mail is sent before the session is ready, so every failure here is safe to try again elsewhere.
Opportunistic TLS that does not come about is done without, over a new connection; required TLS never is. Certificates
are not verified (that takes DANE or MTA-STS): TLS here keeps out who only listens.
Fails with ``ConnectFailure``, which carries phase, reply and verdict (never permanent, never about the address).

aiosmtplib does this part. Then its transport is handed to our own protocol; bytes that it had read past the last EHLO
reply go along, so a server that spoke out of turn is not misread.
"""

import asyncio
import ssl
from collections.abc import Awaitable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import cast

import aiosmtplib

from hayabin.domain.bounce_reason import BounceReason, Verdict, classify
from hayabin.domain.smtp_reply import ProtocolError, Reply, SmtpPhase, reply_from_text
from services.dispatcher.smtp_session import Extensions, Peer, SessionParameters, SmtpSession, SmtpTimeouts

_SIZE_DIGITS = 12


class TlsMode(StrEnum):
    """Whether a connection is to be encrypted."""

    NONE = "none"  # STARTTLS is not used
    OPPORTUNISTIC = "opportunistic"  # used where offered; without it if it fails
    REQUIRED = "required"  # no mail goes out without it


@dataclass(frozen=True, slots=True)
class Target:
    """One address of one MX host, and how to go there; ``source_ip`` None lets the system choose.

    Units: seconds.
    """

    host: str
    address: str
    port: int
    ehlo_name: str
    source_ip: str | None = None
    tls: TlsMode = TlsMode.OPPORTUNISTIC
    connect_timeout_s: float = 30.0
    timeouts: SmtpTimeouts = field(default_factory=SmtpTimeouts)


class ConnectFailure(Exception):
    """No session came about; nothing was sent."""

    def __init__(self, phase: SmtpPhase, reason: BounceReason, detail: str, reply: Reply | None = None) -> None:
        """Keep where it ended, why, and the server's reply if it gave one; ``detail`` is for people."""
        super().__init__(f"{phase}: {reply or detail}")
        self.phase = phase
        self.reason = reason
        self.detail = detail
        self.reply = reply

    @property
    def verdict(self) -> Verdict:
        """Give what it means for the mails that were to go this way: try again."""
        if self.reply is not None and self.reply.code >= 400:
            return classify(self.reply, self.phase)
        return Verdict(permanent=False, hard=False, reason=self.reason, suppress=False)


async def open_session(target: Target) -> SmtpSession:
    """Connect and give a session that is ready for its first mail.

    Raises: ConnectFailure
    """
    try:
        return await _open(target, target.tls)
    except ConnectFailure as failure:
        if failure.reason is not BounceReason.TLS or target.tls is not TlsMode.OPPORTUNISTIC:
            raise
    return await _open(target, TlsMode.NONE)


async def _open(target: Target, tls: TlsMode) -> SmtpSession:
    client = aiosmtplib.SMTP(
        hostname=target.address,
        port=target.port,
        local_hostname=target.ehlo_name,
        source_address=None if target.source_ip is None else (target.source_ip, 0),
        timeout=target.timeouts.greeting_s,
        start_tls=False,
        tls_context=_tls_context(),
    )
    try:
        return await _converse(client, target, tls)
    except BaseException:
        client.close()
        raise


async def _converse(client: aiosmtplib.SMTP, target: Target, tls: TlsMode) -> SmtpSession:
    await _at(SmtpPhase.CONNECT, client.connect(timeout=target.connect_timeout_s))
    extensions = await _greet(client)
    version: str | None = None
    if tls is not TlsMode.NONE and "starttls" in client.esmtp_extensions:
        await _at(SmtpPhase.STARTTLS, client.starttls(server_hostname=target.host, timeout=target.connect_timeout_s))
        version = client.get_transport_info("ssl_object").version() if client.is_connected else None
        extensions = await _greet(client)
    elif tls is TlsMode.REQUIRED:
        raise ConnectFailure(SmtpPhase.STARTTLS, BounceReason.TLS, "the server does not offer STARTTLS")
    peer = Peer(target.host, target.address, target.port, target.source_ip, version)
    return _hand_over(client, SessionParameters(peer, extensions, target.timeouts))


async def _greet(client: aiosmtplib.SMTP) -> Extensions:
    """Say EHLO, or HELO to a server that does not know EHLO.

    Source: RFC 5321 §3.2.
    """
    try:
        await _at(SmtpPhase.EHLO, client.ehlo())
    except ConnectFailure as failure:
        if failure.reply is None or failure.reply.code not in {500, 501, 502, 504}:
            raise
        await _at(SmtpPhase.EHLO, client.helo())
    offered = client.esmtp_extensions
    limit = offered.get("size", "").strip()
    return Extensions(
        pipelining="pipelining" in offered,
        eight_bit_mime="8bitmime" in offered,
        smtputf8="smtputf8" in offered,
        size="size" in offered,
        size_limit_bytes=int(limit) if limit.isascii() and limit.isdigit() and len(limit) <= _SIZE_DIGITS else 0,
    )


async def _at(phase: SmtpPhase, step: Awaitable[object]) -> None:
    """Await one step of the conversation and name its failure."""
    try:
        await step
    except aiosmtplib.SMTPResponseException as error:
        raise _refusal(phase, error) from error
    except TimeoutError as error:
        raise ConnectFailure(phase, _reason(phase), "timed out") from error
    except (OSError, aiosmtplib.SMTPException, ValueError) as error:
        raise ConnectFailure(phase, _reason(phase), f"{type(error).__name__}: {error}"[:300]) from error


def _refusal(phase: SmtpPhase, error: aiosmtplib.SMTPResponseException) -> ConnectFailure:
    # Whatever the server says to STARTTLS but 220, what fails is TLS.
    reason = BounceReason.TLS if phase is SmtpPhase.STARTTLS else BounceReason.PROTOCOL
    try:
        reply = reply_from_text(error.code, error.message)
    except ProtocolError:
        return ConnectFailure(phase, reason, error.message[:300])
    return ConnectFailure(phase, reason, str(reply), reply)


def _reason(phase: SmtpPhase) -> BounceReason:
    return BounceReason.TLS if phase is SmtpPhase.STARTTLS else BounceReason.NETWORK


def _hand_over(client: aiosmtplib.SMTP, parameters: SessionParameters) -> SmtpSession:
    protocol, transport = client.protocol, client.transport
    if protocol is None or transport is None or transport.is_closing():
        raise ConnectFailure(SmtpPhase.EHLO, BounceReason.NETWORK, "the server closed after EHLO")
    session = SmtpSession(cast("asyncio.Transport", transport), parameters)
    unread = bytes(protocol._buffer)  # noqa: SLF001 — the only way to what was read past the EHLO reply
    if unread:
        session.data_received(unread)
    return session


@lru_cache(maxsize=1)
def _tls_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
