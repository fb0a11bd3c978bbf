"""The way to a session: greeting, EHLO, STARTTLS, and every way in which it does not come about."""

import asyncio
import socket

import pytest

from hayabin.domain.bounce_reason import BounceReason
from hayabin.domain.smtp_reply import SmtpPhase
from services.dispatcher.connect import ConnectFailure, Target, TlsMode, open_session
from services.dispatcher.smtp_session import Envelope, Extensions, SmtpTimeouts
from tests.support.raw_server import Wire, raw_server
from tests.support.scripted_mx import Listener, ScriptedMx

QUICK = SmtpTimeouts(greeting_s=0.2, quit_s=0.2)
MAIL = Envelope("b@example.jp", "a@example.com", b"Subject: x\r\n\r\n")


def target(port: int, tls: TlsMode = TlsMode.OPPORTUNISTIC) -> Target:
    """Go to loopback, without patience."""
    return Target("mx.example.jp", "127.0.0.1", port, "mta.example.jp", "127.0.0.8", tls, 0.3, QUICK)


@pytest.mark.parametrize(
    ("tls", "manners", "encrypted", "connections"),
    [
        (TlsMode.NONE, "starttls", False, 1),
        (TlsMode.OPPORTUNISTIC, "", False, 1),
        (TlsMode.OPPORTUNISTIC, "starttls", True, 1),
        (TlsMode.OPPORTUNISTIC, "starttls; reject starttls 454 4.7.0 not now", False, 2),
        (TlsMode.OPPORTUNISTIC, "starttls; drop starttls", False, 2),
        (TlsMode.OPPORTUNISTIC, "starttls; stall starttls", False, 2),
        (TlsMode.OPPORTUNISTIC, "starttls; babble starttls", False, 2),
        (TlsMode.REQUIRED, "starttls", True, 1),
    ],
)
async def test_open_session_tls_mode_kept(tls: TlsMode, manners: str, encrypted: bool, connections: int) -> None:
    """TLS is used where it is wanted and offered; if it fails, opportunistic goes on without over a new connection."""
    async with ScriptedMx(Listener(manners=manners)) as mx:
        session = await open_session(target(mx.port, tls))
        assert (await session.send(MAIL)).accepted
        assert (session.peer.tls is not None) is encrypted
        assert mx.entries[0].tls is encrypted
        assert mx.record.connections == connections
        await session.quit()


@pytest.mark.parametrize("manners", ["", "starttls; drop starttls", "starttls; reject starttls 454 4.7.0 no"])
async def test_open_session_required_tls_never_without(manners: str) -> None:
    """Where TLS is required, no mail goes out in clear, and the failure is temporary."""
    async with ScriptedMx(Listener(manners=manners)) as mx:
        with pytest.raises(ConnectFailure) as caught:
            await open_session(target(mx.port, TlsMode.REQUIRED))
        assert (caught.value.phase, caught.value.reason) == (SmtpPhase.STARTTLS, BounceReason.TLS)
        assert not caught.value.verdict.permanent
        assert mx.record.connections == 1


async def test_open_session_broken_handshake_falls_back() -> None:
    """A server that offers STARTTLS and then talks plain text gets its mail in clear."""

    async def script(wire: Wire) -> None:
        await wire.greet(b"250-mx.example.jp\r\n250 STARTTLS\r\n")
        await wire.hear(b"\r\n")
        if b"STARTTLS" in wire.received:
            await wire.say(b"220 go\r\n")
            await wire.reader.read(10)
            await wire.say(b"this is no TLS record at all\r\n")

    async with raw_server(script) as (port, wires):
        session = await open_session(target(port))
        assert session.peer.tls is None
        assert len(wires) == 2
        session.abort()


@pytest.mark.parametrize(
    ("manners", "phase", "reason", "code"),
    [
        ("reject connect 554 5.7.1 blocked using dnsbl", SmtpPhase.CONNECT, BounceReason.REPUTATION, 554),
        ("reject connect 421 4.3.2 too busy", SmtpPhase.CONNECT, BounceReason.SYSTEM_ERROR, 421),
        ("drop connect", SmtpPhase.CONNECT, BounceReason.NETWORK, None),
        ("stall connect", SmtpPhase.CONNECT, BounceReason.NETWORK, None),
        ("babble connect", SmtpPhase.CONNECT, BounceReason.PROTOCOL, None),
        ("shout connect 1000000", SmtpPhase.CONNECT, BounceReason.PROTOCOL, None),
        ("reject ehlo 550 5.7.1 bad name", SmtpPhase.EHLO, BounceReason.POLICY_REJECTED, 550),
        ("drop ehlo", SmtpPhase.EHLO, BounceReason.NETWORK, None),
        ("stall ehlo", SmtpPhase.EHLO, BounceReason.NETWORK, None),
    ],
)
async def test_open_session_refused_failure_names_why(
    manners: str,
    phase: SmtpPhase,
    reason: BounceReason,
    code: int | None,
) -> None:
    """Each failure has its phase, reason and reply; none is permanent or hard, as no recipient was named."""
    async with ScriptedMx(Listener(manners=manners)) as mx, asyncio.timeout(3):
        with pytest.raises(ConnectFailure) as caught:
            await open_session(target(mx.port))
    failure = caught.value
    assert (failure.phase, failure.verdict.reason) == (phase, reason)
    assert (failure.reply.code if failure.reply else None) == code
    verdict = failure.verdict
    assert (verdict.permanent, verdict.hard, verdict.suppress) == (False, False, False)


async def test_open_session_nobody_listens_network_failure() -> None:
    """A refused connection is a network failure."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(ConnectFailure) as caught:
        await open_session(target(port))
    assert (caught.value.phase, caught.value.reason) == (SmtpPhase.CONNECT, BounceReason.NETWORK)


async def test_open_session_old_server_helo() -> None:
    """A server without EHLO is greeted with HELO and gets one command at a time, without parameters."""
    async with ScriptedMx(Listener(manners="helo-only")) as mx:
        session = await open_session(target(mx.port))
        assert session.extensions == Extensions()
        assert (await session.send(MAIL)).accepted
        assert mx.record.commands[:3] == ["EHLO mta.example.jp", "HELO mta.example.jp", "MAIL FROM:<b@example.jp>"]
        await session.quit()


@pytest.mark.parametrize(
    ("line", "limit"),
    [(b"SIZE 1000", 1000), (b"SIZE", 0), (b"SIZE 0", 0), (b"SIZE lots", 0), (b"SIZE -5", 0), (b"SIZE " + b"9" * 30, 0)],
)
async def test_open_session_size_read_or_no_limit(line: bytes, limit: int) -> None:
    """A SIZE that is no sensible number states no limit."""

    async def script(wire: Wire) -> None:
        await wire.greet(b"250-mx.example.jp\r\n250 " + line + b"\r\n")

    async with raw_server(script) as (port, _):
        session = await open_session(target(port))
        assert (session.extensions.size, session.extensions.size_limit_bytes) == (True, limit)
        session.abort()


async def test_open_session_cancelled_leaves_no_connection() -> None:
    """Cancelling while the server is slow closes the socket."""
    async with ScriptedMx(Listener(manners="stall ehlo")) as mx:
        task = asyncio.create_task(open_session(target(mx.port)))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.05)
        assert mx.record.connections == 1
