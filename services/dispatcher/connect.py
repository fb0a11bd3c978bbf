"""The way to a usable ``SmtpSession``: connect from our source IP, greeting, EHLO, STARTTLS, EHLO again.

Promises: nothing of a mail is sent before the session is ready, so every failure here is safe to try again elsewhere.
The plan is kept (see ``tls_plan``): what it enforces is there or there is no session; TLS that is merely welcome is
done without where it does not come about, over a new connection. What was said is in the session's ``opening`` and in
the failure's ``lines``; each session and each failure of TLS is counted.
Fails with ``ConnectFailure``, which carries phase, reply and verdict (never permanent, never about the address).

aiosmtplib does greeting and EHLO. Then its transport is handed to our own protocol; bytes that it had read past the
last EHLO reply go along, so a server that spoke out of turn is not misread.
"""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Final, TypeVar, cast

import aiosmtplib

from hayabin.domain.bounce_reason import BounceReason
from hayabin.domain.policy import TlsMode
from hayabin.domain.smtp_reply import ProtocolError, SmtpPhase, reply_from_text
from hayabin.telemetry.metrics import TLS_SESSIONS
from services.dispatcher.connect_failure import ConnectFailure
from services.dispatcher.egress import Proxy, connected_socket
from services.dispatcher.opening_lines import OpeningLines
from services.dispatcher.smtp_session import Extensions, Peer, SessionParameters, SmtpSession, SmtpTimeouts
from services.dispatcher.tls_handshake import start_tls
from services.dispatcher.tls_plan import PlanName, Proof, TlsPlan, TlsResult, plan_of_mode

__all__ = ["ConnectFailure", "Proxy", "Target", "TlsMode", "TlsPlan", "open_client", "open_session"]

_SIZE_DIGITS: Final = 12
_CERTIFICATE_FAILURES: Final = frozenset(
    {TlsResult.FAILED_NAME, TlsResult.FAILED_EXPIRED, TlsResult.FAILED_TRUST, TlsResult.FAILED_VALIDATION}
)
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Target:
    """One address of one MX host, and how to go there; ``source_ip`` None lets the system choose.

    ``plan`` None: ``tls`` alone decides. ``provider`` is the label under which the session is counted.

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
    plan: TlsPlan | None = None
    proxy: Proxy | None = None
    provider: str = "other"


@dataclass(slots=True)
class _Effort:
    """One connection on the way to a session; ``doubt`` is what the session's result will be, whatever it proves."""

    target: Target
    plan: TlsPlan
    lines: OpeningLines
    mode: TlsMode
    proof: Proof
    doubt: TlsResult | None


async def open_session(target: Target) -> SmtpSession:
    """Connect and give a session that is ready for its first mail.

    Raises: ConnectFailure
    """
    return _hand_over(*await open_client(target, OpeningLines()))


async def open_client(target: Target, lines: OpeningLines) -> tuple[aiosmtplib.SMTP, SessionParameters]:
    """Connect and give the client as it stands after the last EHLO, for who goes on otherwise; ``lines`` hears it all.

    Raises: ConnectFailure
    """
    plan = target.plan or plan_of_mode(target.tls)
    doubt = plan.doubt
    steps = _steps(plan)
    while True:
        mode, proof = steps.pop(0)
        try:
            client, parameters = await _open(_Effort(target, plan, lines, mode, proof, doubt))
        except ConnectFailure as failure:
            if failure.tls_result not in _CERTIFICATE_FAILURES:
                steps = [step for step in steps if step[0] is TlsMode.NONE]
            lines.note(f"failed: {failure.detail}")
            if failure.reason is not BounceReason.TLS or not steps:
                failure.lines = lines.lines
                _count(target, plan, failure.tls_result)
                raise
            if plan.name is PlanName.MTA_STS_TESTING and doubt is None:
                doubt = TlsResult(failure.tls_result)
        else:
            _count(target, plan, parameters.peer.tls_result)
            return client, parameters


def _steps(plan: TlsPlan) -> list[tuple[TlsMode, Proof]]:
    """Give what to try, each over a new connection, until a session comes about.

    With ``OPPORTUNISTIC`` a server that does not offer STARTTLS is talked to in clear over the same connection.
    """
    if plan.enforced:
        return [(TlsMode.REQUIRED, plan.proof)]
    steps: list[tuple[TlsMode, Proof]] = []
    if plan.floor is not TlsMode.NONE:
        steps += [(plan.floor, proof) for proof in dict.fromkeys((plan.proof, Proof.NOTHING))]
    if plan.floor is not TlsMode.REQUIRED:
        steps.append((TlsMode.NONE, Proof.NOTHING))
    return steps


def _count(target: Target, plan: TlsPlan, result: str) -> None:
    if result:
        TLS_SESSIONS.labels(target.provider, plan.name.value, result).inc()


async def _open(effort: _Effort) -> tuple[aiosmtplib.SMTP, SessionParameters]:
    target, lines = effort.target, effort.lines
    through = "" if target.proxy is None else f" through {target.proxy}"
    lines.note(f"to {target.host} [{target.address}]:{target.port} from {target.source_ip or 'any address'}{through}")
    sock = await _at(
        SmtpPhase.CONNECT,
        connected_socket(target.source_ip, target.proxy, target.address, target.port, target.connect_timeout_s),
        lines,
    )
    client = aiosmtplib.SMTP(
        hostname=target.address,
        local_hostname=target.ehlo_name,
        timeout=target.timeouts.greeting_s,
        start_tls=False,
        sock=sock,
    )
    try:
        greeting = await _at(SmtpPhase.CONNECT, client.connect(), lines)
    except BaseException:
        sock.close()  # if no transport took it over; nothing was written yet
        raise
    lines.server(greeting.code, greeting.message)
    try:
        return client, await _converse(client, effort)
    except BaseException:
        client.close()
        raise


async def _converse(client: aiosmtplib.SMTP, effort: _Effort) -> SessionParameters:
    target, plan, lines = effort.target, effort.plan, effort.lines
    extensions = await _greet(client, target, lines)
    version: str | None = None
    result = effort.doubt or TlsResult.CLEARTEXT
    if effort.mode is not TlsMode.NONE and "starttls" in client.esmtp_extensions:
        version, cipher, proven = await _at(
            SmtpPhase.STARTTLS,
            start_tls(client, target.host, plan, effort.proof, target.connect_timeout_s, lines),
            lines,
        )
        result = effort.doubt or proven
        lines.note(f"{version} {cipher}, {plan.name}, {result}")
        extensions = await _greet(client, target, lines)
        if "starttls" in client.esmtp_extensions:
            raise ConnectFailure(SmtpPhase.EHLO, BounceReason.PROTOCOL, "the server offers STARTTLS under TLS")
    elif effort.mode is TlsMode.REQUIRED:
        raise ConnectFailure(
            SmtpPhase.STARTTLS,
            BounceReason.TLS,
            "the server does not offer STARTTLS",
            tls_result=TlsResult.FAILED_STARTTLS,
        )
    elif effort.proof is not Proof.NOTHING:  # wanted for the record only
        result = TlsResult.FAILED_STARTTLS
    peer = Peer(target.host, target.address, target.port, target.source_ip, version, plan.name.value, result.value)
    if client.protocol is None or client.transport is None or client.transport.is_closing():
        raise ConnectFailure(SmtpPhase.EHLO, BounceReason.NETWORK, "the server closed after EHLO")
    return SessionParameters(peer, extensions, target.timeouts, lines.lines)


async def _greet(client: aiosmtplib.SMTP, target: Target, lines: OpeningLines) -> Extensions:
    """Say EHLO, or HELO to a server that does not know EHLO.

    Source: RFC 5321 §3.2.
    """
    lines.client(f"EHLO {target.ehlo_name}")
    try:
        reply = await _at(SmtpPhase.EHLO, client.ehlo(), lines)
    except ConnectFailure as failure:
        if failure.reply is None or failure.reply.code not in {500, 501, 502, 504}:
            raise
        lines.client(f"HELO {target.ehlo_name}")
        reply = await _at(SmtpPhase.EHLO, client.helo(), lines)
    lines.server(reply.code, reply.message)
    offered = client.esmtp_extensions
    limit = offered.get("size", "").strip()
    return Extensions(
        pipelining="pipelining" in offered,
        eight_bit_mime="8bitmime" in offered,
        smtputf8="smtputf8" in offered,
        size="size" in offered,
        size_limit_bytes=int(limit) if limit.isascii() and limit.isdigit() and len(limit) <= _SIZE_DIGITS else 0,
    )


async def _at(phase: SmtpPhase, step: Awaitable[Answer], lines: OpeningLines) -> Answer:
    """Await one step of the conversation and name its failure."""
    result = TlsResult.FAILED_HANDSHAKE if phase is SmtpPhase.STARTTLS else ""
    reason = BounceReason.TLS if phase is SmtpPhase.STARTTLS else BounceReason.NETWORK
    try:
        return await step
    except aiosmtplib.SMTPResponseException as error:
        lines.server(error.code, error.message)
        raise _refusal(phase, error, result) from error
    except TimeoutError as error:
        raise ConnectFailure(phase, reason, "timed out", tls_result=result) from error
    except (OSError, aiosmtplib.SMTPException, ValueError) as error:
        detail = f"{type(error).__name__}: {error}"[:300]
        raise ConnectFailure(phase, reason, detail, tls_result=result) from error


def _refusal(phase: SmtpPhase, error: aiosmtplib.SMTPResponseException, result: str) -> ConnectFailure:
    reason = BounceReason.TLS if phase is SmtpPhase.STARTTLS else BounceReason.PROTOCOL
    try:
        reply = reply_from_text(error.code, error.message)
    except ProtocolError:
        return ConnectFailure(phase, reason, error.message[:300], tls_result=result)
    return ConnectFailure(phase, reason, str(reply), reply, tls_result=result)


def _hand_over(client: aiosmtplib.SMTP, parameters: SessionParameters) -> SmtpSession:
    session = SmtpSession(cast("asyncio.Transport", client.transport), parameters)
    unread = bytes(client.protocol._buffer) if client.protocol else b""  # noqa: SLF001 — what was read past EHLO's reply
    if unread:
        session.data_received(unread)
    return session
