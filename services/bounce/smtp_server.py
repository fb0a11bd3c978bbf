"""The SMTP server that bounces and feedback reports come to.

Promises: takes mail for signed return paths, signed unsubscribe addresses and the role addresses of our own domains
alone, one recipient at a time;
250 after the final dot is said only when ``on_mail`` has returned, so what we have answered for is kept. Size,
connections, rate, commands and times are bounded by ``InboundLimits``.
Fails: whatever ``on_mail`` raises, or its timeout, is 451 (the other side keeps the mail and tries again), except
``PermanentFailure``, which is 554. A port that can not be bound raises ``OSError`` out of ``start``.

Whether a return path is genuine is not asked here: a forged one is taken, counted and kept for a look.
"""

import asyncio
import ssl
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, cast

import structlog
from aiosmtpd.smtp import SMTP, Envelope, Session

from hayabin.domain.errors import PermanentFailure, TemporaryFailure
from hayabin.domain.verp import looks_like_return_path, looks_like_unsubscribe_address
from services.bounce.peer_limits import InboundLimits, PeerLimiter, Refusal, peer_of

log = structlog.get_logger()

ROLES: Final = frozenset({"fbl", "abuse", "postmaster", "unsubscribe"})
_COMMAND_MAX_CHARS: Final = 512  # RFC 5321 §4.5.3.1.4
_LINE_MAX_BYTES: Final = 64 << 10  # reports with lines past the 998 of RFC 5322 are common enough to take
_SLACK_BYTES: Final = 256 << 10
_POLL_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class InboundMail:
    """One mail as received: envelope, whence, content."""

    mail_from: str
    """Empty for the null reverse-path ``<>``."""
    rcpt_to: str
    remote_address: str
    content: bytes


OnMail = Callable[[InboundMail], Awaitable[None]]
OnRefusal = Callable[[Refusal], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundOptions:
    """Where the server listens and for whom it takes mail."""

    host: str
    port: int
    hostname: str
    """Said in the banner and in answer to EHLO."""
    domains: frozenset[str]
    """Return-path domains, in lower case."""
    roles: frozenset[str] = ROLES
    limits: InboundLimits = field(default_factory=InboundLimits)
    tls_context: ssl.SSLContext | None = None


def _ignore(_refusal: Refusal) -> None:
    """Count nothing."""


class InboundServer:
    """The listening server: ``await start()``, then ``await stop(grace_s)``."""

    def __init__(self, options: InboundOptions, on_mail: OnMail, on_refusal: OnRefusal = _ignore) -> None:
        """Prepare; nothing listens before ``start``."""
        self.options = options
        self.on_mail = on_mail
        self.on_refusal = on_refusal
        self.limiter = PeerLimiter(options.limits)
        self.connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        """Listen, on the running loop; the port, which matters where the options say 0."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), self.options.host, self.options.port)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def is_listening(self) -> bool:
        """True from ``start`` to ``stop``; for the readiness check."""
        return self._server is not None and self._server.is_serving()

    async def stop(self, grace_s: float) -> None:
        """Take no more connections, let mails in hand come to their answer, close idle connections, then the rest.

        Units: ``grace_s`` bounds the wait for mails in hand.
        """
        if self._server is None:
            return
        self._server.close()
        deadline_s = asyncio.get_running_loop().time() + grace_s
        while self.connections and asyncio.get_running_loop().time() < deadline_s:
            for connection in tuple(self.connections):
                connection.close_if_idle()
            await asyncio.sleep(_POLL_S)
        for connection in tuple(self.connections):
            connection.cut()
        await self._server.wait_closed()
        self._server = None


class _Connection(SMTP):
    """One SMTP connection: aiosmtpd's protocol within our bounds."""

    line_length_limit = _LINE_MAX_BYTES

    def __init__(self, owner: InboundServer) -> None:
        options = owner.options
        super().__init__(
            _Conversation(owner),
            data_size_limit=options.limits.size_bytes,
            enable_SMTPUTF8=True,
            hostname=options.hostname,
            ident="ESMTP",
            tls_context=options.tls_context,
            timeout=options.limits.idle_timeout_s,
            command_call_limit=options.limits.commands_per_connection,
            loop=asyncio.get_running_loop(),
        )
        # The library keeps this table in the class, and lets it grow with every EHLO.
        self.command_size_limits = defaultdict(lambda: _COMMAND_MAX_CHARS)
        self._owner = owner
        self._peer: str | None = None
        self._received_bytes = 0

    def connection_made(self, transport: Any) -> None:
        """Let the connection in where the limits do; it is made a second time after STARTTLS."""
        if self._peer is None:
            peer = peer_of(str((transport.get_extra_info("peername") or ("unknown",))[0]))
            refusal = self._owner.limiter.connect(peer)
            if refusal is not None:
                self._owner.on_refusal(refusal)
                transport.write(b"421 4.7.0 too many connections, try again later\r\n")
                transport.close()
                return
            self._peer = peer
            self._owner.connections.add(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Count the connection out."""
        if self._peer is not None and self in self._owner.connections:
            self._owner.connections.discard(self)
            self._owner.limiter.disconnect(self._peer)
            super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        """Cut off who sends without end: the library would keep an endless line in memory."""
        if self._peer is None or self.transport is None:
            return
        self._received_bytes += len(data)
        if self._received_bytes > 2 * self._owner.options.limits.size_bytes + _SLACK_BYTES:
            self._owner.on_refusal(Refusal.TOO_MUCH_DATA)
            self.cut()
            return
        super().data_received(data)

    def eof_received(self) -> bool | None:
        """Pass on, unless the connection was never let in."""
        return None if self._peer is None else super().eof_received()

    async def smtp_MAIL(self, arg: str | None) -> None:  # noqa: N802 - the library finds it by this name
        """MAIL: a new transaction, with a new allowance of bytes."""
        self._received_bytes = 0
        await super().smtp_MAIL(arg)

    async def smtp_VRFY(self, _arg: str) -> None:  # noqa: N802
        """VRFY: tell nothing (RFC 5321 §7.3)."""
        await self.push("252 2.5.2 send some mail, I'll try my best")

    def close_if_idle(self) -> None:
        """Say goodbye where no mail is in hand."""
        if self.transport is not None and not (self.envelope and self.envelope.mail_from):
            cast("asyncio.Transport", self.transport).write(b"421 4.3.2 service shutting down\r\n")
            self.transport.close()

    def cut(self) -> None:
        """End the connection without a word."""
        if self.transport is not None:
            cast("asyncio.Transport", self.transport).abort()


class _Conversation:
    """What we answer to MAIL, RCPT and DATA; the library finds these methods by their names."""

    def __init__(self, owner: InboundServer) -> None:
        self._owner = owner

    async def handle_MAIL(  # noqa: N802
        self, _server: SMTP, session: Session, envelope: Envelope, address: str, mail_options: list[str]
    ) -> str:
        """MAIL: any sender, as fast as the limits let."""
        peer = peer_of(_remote_address(session))
        refusal = self._owner.limiter.mail(peer, asyncio.get_running_loop().time())
        if refusal is not None:
            self._owner.on_refusal(refusal)
            return "450 4.7.1 too many mails, try again later"
        envelope.mail_from = address
        envelope.mail_options.extend(mail_options)
        return "250 2.1.0 OK"

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _rcpt_options: list[str]
    ) -> str:
        """RCPT: our return paths, unsubscribe and role addresses, one at a time; the next one comes separately."""
        if envelope.rcpt_tos:
            return "452 4.5.3 one recipient at a time"
        if not self._is_ours(address):
            self._owner.on_refusal(Refusal.UNKNOWN_RECIPIENT)
            return "550 5.1.1 no such address here"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(  # noqa: N802
        self, _server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """The final dot: answer for the mail when it is kept."""
        mail_from = envelope.mail_from or "<>"
        mail = InboundMail(
            mail_from="" if mail_from == "<>" else _printable(mail_from),
            rcpt_to=_printable(envelope.rcpt_tos[0]),
            remote_address=_remote_address(session),
            content=envelope.original_content or b"",
        )
        try:
            async with asyncio.timeout(self._owner.options.limits.handling_timeout_s):
                await self._owner.on_mail(mail)
        except PermanentFailure as failure:
            self._fail("inbound_mail_refused", failure.reason)
            return "554 5.6.0 the mail can not be taken"
        except TemporaryFailure as failure:
            self._fail("inbound_mail_deferred", failure.reason)
            return "451 4.3.0 try again later"
        except TimeoutError:
            self._fail("inbound_mail_deferred", "handling_timeout")
            return "451 4.3.0 try again later"
        return "250 2.0.0 OK"

    async def handle_exception(self, error: Exception) -> str:
        """Anything unforeseen: nothing of it is told to the other side."""
        self._owner.on_refusal(Refusal.HANDLING_FAILED)
        log.error("inbound_session_failed", exc_info=error)
        return "451 4.3.0 try again later"

    def _fail(self, event: str, reason: str) -> None:
        self._owner.on_refusal(Refusal.HANDLING_FAILED)
        log.warning(event, reason=reason)

    def _is_ours(self, address: str) -> bool:
        local, _, domain = address.lower().rpartition("@")
        if not local:  # "RCPT TO:<postmaster>" must be taken (RFC 5321 §4.5.1)
            return domain == "postmaster" and "postmaster" in self._owner.options.roles
        if domain not in self._owner.options.domains:
            return False
        return (
            local in self._owner.options.roles
            or looks_like_return_path(address)
            or looks_like_unsubscribe_address(address)
        )


def _remote_address(session: Session) -> str:
    """The address of the other side."""
    return str(session.peer[0]) if session.peer else "unknown"


def _printable(address: str) -> str:
    """An address that can be stored: bytes that are no UTF-8, which arrive as surrogates, are replaced."""
    return address.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
