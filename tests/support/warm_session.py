"""A warm connection to a server of the test on loopback, as a dispatcher has it after EHLO and STARTTLS."""

import contextlib
from collections.abc import AsyncIterator

from services.dispatcher.connect import Target, TlsMode, open_session
from services.dispatcher.smtp_session import SmtpSession, SmtpTimeouts


@contextlib.asynccontextmanager
async def warm_session(
    port: int, timeouts: SmtpTimeouts, tls: TlsMode = TlsMode.OPPORTUNISTIC
) -> AsyncIterator[SmtpSession]:
    """Open a session, and say QUIT at the end."""
    opened = await open_session(
        Target("mx.example.jp", "127.0.0.1", port, "mta.example.jp", "127.0.0.9", tls, 5.0, timeouts)
    )
    try:
        yield opened
    finally:
        await opened.quit()
