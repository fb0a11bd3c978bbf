"""Servers that lie on the way into TLS get no mail, and no second chance to get it in clear."""

import asyncio
import ssl
from collections.abc import Callable

import pytest
import uvloop

from hayabin.domain.bounce_reason import BounceReason
from hayabin.domain.policy import TlsMode
from hayabin.domain.smtp_reply import SmtpPhase
from services.dispatcher.connect import ConnectFailure, Target, open_session
from services.dispatcher.smtp_session import SmtpTimeouts
from services.dispatcher.tls_plan import TlsResult
from tests.support.raw_server import Wire, raw_server
from tests.support.self_signed import self_signed

NAME = "mx.example.jp"
LONE = self_signed(NAME)
QUICK = SmtpTimeouts(greeting_s=0.5, quit_s=0.2)


def target(port: int, mode: TlsMode, **fields: object) -> Target:
    """Go to loopback, without patience."""
    fields = {"source_ip": "127.0.0.8", "connect_timeout_s": 0.5, "timeouts": QUICK, "tls": mode} | fields
    return Target(NAME, "127.0.0.1", port, "mta.example.jp", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", [TlsMode.OPPORTUNISTIC, TlsMode.REQUIRED])
async def test_session_injection_after_starttls_refused(mode: TlsMode) -> None:
    """Bytes in clear behind the 220 to STARTTLS are somebody's injection: no session, not even in clear."""

    async def script(wire: Wire) -> None:
        await wire.greet(b"250-mx.example.jp\r\n250 STARTTLS\r\n")
        await wire.hear(b"STARTTLS\r\n")
        await wire.say(b"220 go\r\n250-mx.example.jp\r\n250 SIZE 1\r\n")

    async with raw_server(script) as (port, wires):
        with pytest.raises(ConnectFailure) as caught:
            await open_session(target(port, mode))
    assert (caught.value.phase, caught.value.reason) == (SmtpPhase.STARTTLS, BounceReason.PROTOCOL)
    assert len(wires) == 1


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_session_starttls_offered_under_tls_refused(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """A server that offers STARTTLS once more under TLS is not what it says it is."""

    async def script(wire: Wire) -> None:
        await wire.greet(b"250-mx.example.jp\r\n250 STARTTLS\r\n")
        await wire.hear(b"STARTTLS\r\n")
        await wire.say(b"220 go\r\n")
        await wire.writer.start_tls(LONE.context)
        await wire.hear(b"\r\n")
        await wire.say(b"250-mx.example.jp\r\n250 STARTTLS\r\n")

    async def run() -> None:
        async with raw_server(script) as (port, wires):
            with pytest.raises(ConnectFailure) as caught:
                await open_session(target(port, TlsMode.OPPORTUNISTIC))
        assert (caught.value.phase, caught.value.reason) == (SmtpPhase.EHLO, BounceReason.PROTOCOL)
        assert len(wires) == 1

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(run())


async def test_session_extensions_of_clear_text_forgotten_under_tls() -> None:
    """What was offered in clear is not believed under TLS, where the server only says HELO."""

    async def script(wire: Wire) -> None:
        await wire.greet(b"250-mx.example.jp\r\n250-SMTPUTF8\r\n250-SIZE 5\r\n250 STARTTLS\r\n")
        await wire.hear(b"STARTTLS\r\n")
        await wire.say(b"220 go\r\n")
        await wire.writer.start_tls(LONE.context)
        await wire.hear(b"\r\n")
        await wire.say(b"502 what?\r\n")
        await wire.hear(b"\r\n")
        await wire.say(b"250 mx.example.jp\r\n")

    async with raw_server(script) as (port, _):
        session = await open_session(target(port, TlsMode.REQUIRED))
        assert (session.extensions.smtputf8, session.extensions.size) == (False, False)
        session.abort()


async def test_session_old_tls_refused() -> None:
    """TLS 1.1 and older is no TLS, for whatever plan."""
    context = LONE.context
    context.set_ciphers("DEFAULT@SECLEVEL=0")  # or the server could not speak it at all
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1

    async def script(wire: Wire) -> None:
        await wire.greet(b"250-mx.example.jp\r\n250 STARTTLS\r\n")
        await wire.hear(b"STARTTLS\r\n")
        await wire.say(b"220 go\r\n")
        await wire.writer.start_tls(context)

    async with raw_server(script) as (port, _):
        with pytest.raises(ConnectFailure) as caught:
            await open_session(target(port, TlsMode.REQUIRED))
    assert caught.value.tls_result == TlsResult.FAILED_HANDSHAKE
