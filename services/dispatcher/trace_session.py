"""One SMTP session spoken aloud up to the point where a mail would begin, and then QUIT.

Promises: never DATA; with a recipient MAIL FROM:<>, RCPT TO and RSET, without one nothing after EHLO but QUIT. What was
said by both sides is told as it is said. Where a certificate was refused, another connection fetches it to be shown.
Fails: it does not; what went wrong is the answer.
"""

import contextlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import aiosmtplib

from hayabin.domain.smtp_reply import ProtocolError, SmtpPhase, reply_from_text
from services.dispatcher import trace_words
from services.dispatcher.aloud import Tell, safe
from services.dispatcher.connect import ConnectFailure, Target, TlsMode, open_client
from services.dispatcher.opening_lines import OpeningLines
from services.dispatcher.shown_certificate import certificate_lines
from services.dispatcher.smtp_parameters import SessionParameters
from services.dispatcher.tls_context import shown_chain
from services.dispatcher.tls_plan import TlsResult, plan_of_mode

_QUIT_S: Final = 5.0
_BAD_CERTIFICATE: Final = frozenset(
    {
        TlsResult.FAILED_NAME,
        TlsResult.FAILED_EXPIRED,
        TlsResult.FAILED_TRUST,
        TlsResult.FAILED_VALIDATION,
        TlsResult.FAILED_DANE,
    }
)


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who is asked for, in the form that the provider takes."""

    wire: str
    needs_smtputf8: bool


@dataclass(frozen=True, slots=True)
class Ending:
    """How a session ended: ``problem`` is why no mail could have been sent, and what to do; empty if one could.

    ``answered``: the session stood, so the dispatcher would try no other host.
    """

    problem: str
    answered: bool


async def speak(target: Target, recipient: Recipient | None, tell: Tell) -> Ending:
    """Speak a session; where several things are wrong, the first is told."""
    lines = OpeningLines(tell)
    try:
        client, parameters = await open_client(target, lines)
    except ConnectFailure as failure:
        if failure.tls_result in _BAD_CERTIFICATE:
            await _show_refused_certificate(target, tell)
        return Ending(trace_words.of_connection(failure, target.host), answered=False)
    try:
        _describe(client, parameters, tell)
        problem = "" if recipient is None else await _ask_for(client, parameters, recipient, lines)
        await _quit(client, lines)
    finally:
        client.close()
    return Ending(f"{target.host}: {problem}" if problem else "", answered=True)


def _describe(client: aiosmtplib.SMTP, parameters: SessionParameters, tell: Tell) -> None:
    session = None if client.transport is None else client.transport.get_extra_info("ssl_object")
    if session is not None:
        name, _, bits = session.cipher()
        tell(f"-- TLS: {session.version()}, {name}, {bits} bits")
        for line in certificate_lines((*shown_chain(session), b"")[0], datetime.now(UTC)):
            tell(f"-- TLS: {line}")
    result = TlsResult(parameters.peer.tls_result)
    tell(f"-- TLS: {result}: {trace_words.RESULTS[result]}")
    offered = (f"{name.upper()} {value}".strip() for name, value in client.esmtp_extensions.items())
    tell(safe(f"-- extensions: {', '.join(sorted(offered)) or 'none'}"))


async def _show_refused_certificate(target: Target, tell: Tell) -> None:
    tell("-- TLS: once more without proof, to show the certificate that was refused")
    bare = replace(target, plan=plan_of_mode(TlsMode.REQUIRED))
    try:
        client, parameters = await open_client(bare, OpeningLines())
    except ConnectFailure as failure:
        tell(safe(f"-- TLS: it cannot be had: {failure.detail}"))
        return
    try:
        _describe(client, parameters, tell)
        await _quit(client, OpeningLines())
    finally:
        client.close()


async def _ask_for(
    client: aiosmtplib.SMTP, parameters: SessionParameters, recipient: Recipient, lines: OpeningLines
) -> str:
    """Go as far as RCPT and take it back; give what is wrong.

    Source: RFC 5321 §3.3, RFC 6531 §3.4.
    """
    if recipient.needs_smtputf8 and not parameters.extensions.smtputf8:
        return (
            "553 5.6.7 the address needs SMTPUTF8, which the server does not offer. Mail to it bounces; ask the "
            "recipient for an address in ASCII."
        )
    utf8 = " SMTPUTF8" if recipient.needs_smtputf8 else ""
    commands = (
        (SmtpPhase.MAIL, f"MAIL FROM:<>{utf8}", parameters.timeouts.mail_s),
        (SmtpPhase.RCPT, f"RCPT TO:<{recipient.wire}>", parameters.timeouts.rcpt_s),
    )
    problem = ""
    for phase, command, timeout_s in commands:
        problem = await _say(client, phase, command, timeout_s, lines)
        if problem:
            break
    if client.is_connected:
        await _say(client, SmtpPhase.MAIL, "RSET", parameters.timeouts.mail_s, lines)
    return problem


async def _say(client: aiosmtplib.SMTP, phase: SmtpPhase, command: str, timeout_s: float, lines: OpeningLines) -> str:
    lines.client(command)
    try:
        reply = await client.execute_command(command.encode(), timeout=timeout_s)
    except aiosmtplib.SMTPResponseException as error:
        lines.server(error.code, error.message)
        return _refusal(phase, error.code, error.message)
    except (OSError, aiosmtplib.SMTPException, ValueError) as error:
        what = "timed out" if isinstance(error, TimeoutError) else safe(f"{type(error).__name__}: {error}")
        lines.note(f"failed: {what}")
        return f"the conversation broke off at {phase.upper()}: {what}. Mail is deferred; try again later."
    lines.server(reply.code, reply.message)
    return "" if 200 <= reply.code < 300 else _refusal(phase, reply.code, reply.message)


def _refusal(phase: SmtpPhase, code: int, message: str) -> str:
    try:
        reply = reply_from_text(code, message)
    except ProtocolError:
        return f"no reply of SMTP at {phase.upper()}. Mail is deferred."
    said = f"{phase.upper()} was refused: {safe(str(reply))}."
    if reply.is_permanent:
        return f"{said} A mail would have bounced; see what the reply says of the address or of this source IP."
    return f"{said} A mail would have been deferred and tried again; see what the reply asks for."


async def _quit(client: aiosmtplib.SMTP, lines: OpeningLines) -> None:
    if not client.is_connected:
        return
    lines.client("QUIT")
    with contextlib.suppress(OSError, aiosmtplib.SMTPException, ValueError):
        reply = await client.execute_command(b"QUIT", timeout=_QUIT_S)
        lines.server(reply.code, reply.message)
