"""Sessions with servers of the tests: a mail, short patience, a scripted MX, a server that says given bytes."""

import contextlib
from collections.abc import AsyncIterator

import pytest

from services.dispatcher.connect import Target, TlsMode, open_session
from services.dispatcher.smtp_session import Envelope, SmtpSession, SmtpTimeouts
from tests.support.raw_server import Script, Wire, raw_server
from tests.support.scripted_mx import Listener, ScriptedMx

CONTENT = b"From: a@example.jp\r\nMessage-ID: <1@example.jp>\r\n\r\nhello\r\n.dot\r\n"
MAIL = Envelope("bounce@example.jp", "a@example.com", CONTENT)
QUICK = SmtpTimeouts(5, 0.15, 0.15, 0.15, 0.15, 0.15, 0.2)
BOTH_TLS = pytest.mark.parametrize("tls", ["", "; starttls"], ids=["plain", "tls"])


def target(port: int, timeouts: SmtpTimeouts | None = None, tls: TlsMode = TlsMode.OPPORTUNISTIC) -> Target:
    """Go to loopback from an address of our own."""
    return Target(
        "mx.example.jp", "127.0.0.1", port, "mta.example.jp", "127.0.0.9", tls, 5.0, timeouts or SmtpTimeouts()
    )


@contextlib.asynccontextmanager
async def session_with(
    manners: str = "",
    recipients: dict[str, str] | None = None,
    timeouts: SmtpTimeouts | None = None,
) -> AsyncIterator[tuple[SmtpSession, ScriptedMx]]:
    """Open a session with a scripted MX."""
    async with ScriptedMx(Listener(manners=manners, recipients=recipients or {})) as mx:
        session = await open_session(target(mx.port, timeouts))
        try:
            yield session, mx
        finally:
            session.abort()


@contextlib.asynccontextmanager
async def session_with_raw(
    script: Script, timeouts: SmtpTimeouts | None = None, *, receive_bytes: int = 0
) -> AsyncIterator[tuple[SmtpSession, list[Wire]]]:
    """Open a session with a server that says what ``script`` says."""
    async with raw_server(script, receive_bytes=receive_bytes) as (port, wires):
        session = await open_session(target(port, timeouts, TlsMode.NONE))
        try:
            yield session, wires
        finally:
            session.abort()
