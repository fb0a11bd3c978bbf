"""The content of a mail on its way: buffers, patience, servers that stop reading it, on both loops."""

import asyncio
import contextlib
import os
import socket
import time

import pytest

from hayabin.domain.smtp_reply import SmtpPhase
from services.dispatcher.smtp_session import Envelope, EnvelopeRefused, OutcomeKind, SmtpTimeouts
from tests.integration.dispatcher.sessions import CONTENT, MAIL, QUICK, session_with, session_with_raw
from tests.support.raw_server import Wire


@pytest.mark.parametrize("tls", ["", "starttls"])
async def test_send_large_mail_slow_reader_buffer_bounded(tls: str) -> None:
    """A mail of 8 MB to a slow reader waits in our memory once, not again in the transport's buffer."""
    content = CONTENT + b"x" * 76 + b"\r\n" + b".y\r\n" * 2_000_000
    async with session_with(f"{tls}; slow 0.05") as (session, mx):
        sizes: list[int] = []

        async def watch() -> None:
            while True:
                sizes.append(session._transport.get_write_buffer_size())
                await asyncio.sleep(0.001)

        watcher = asyncio.create_task(watch())
        outcome = await session.send(Envelope("b@example.jp", "a@example.com", content))
        watcher.cancel()
        assert outcome.accepted
        assert mx.entries[0].size_bytes == len(content)
        assert 0 < max(sizes) <= 256 * 1024


async def test_send_peer_stops_reading_timeout_before_dot() -> None:
    """If the peer takes no more of the content, the dot never left: safe to try again."""

    async def script(wire: Wire) -> None:
        await wire.greet()
        await wire.hear_commands(then_deaf=True)
        await asyncio.sleep(5)

    async with session_with_raw(script, QUICK) as (session, _):
        outcome = await session.send(Envelope("b@example.jp", "a@example.com", b"z" * 76 + b"\r\n" + b"y" * 30_000_000))
        assert (outcome.kind, outcome.phase) == (OutcomeKind.TIMEOUT_BEFORE_DOT, SmtpPhase.DATA)
        assert not session.usable


@pytest.mark.parametrize("ends", ["silence", "eof"])
async def test_send_dot_still_in_our_buffer_before_dot(ends: str) -> None:
    """A mail whose last bytes never left this process is safe to try again, though the dot was written."""

    async def script(wire: Wire) -> None:
        await wire.greet()
        await wire.hear_commands(then_deaf=True)
        await asyncio.sleep(0.05)
        if ends == "eof":
            wire.writer.write_eof()
        await asyncio.sleep(5)

    async with session_with_raw(script, QUICK, receive_bytes=4096) as (session, _):
        session._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        outcome = await session.send(Envelope("b@example.jp", "a@example.com", b"y" * 64_000))
        kind = OutcomeKind.LOST_BEFORE_DOT if ends == "eof" else OutcomeKind.TIMEOUT_BEFORE_DOT
        assert (outcome.kind, outcome.phase) == (kind, SmtpPhase.DATA)


def _taken(peer: socket.socket) -> bytes:
    """Take what is on its way to a peer, while our loop stands still."""
    data, quiet = bytearray(), 0
    while quiet < 5:
        try:
            piece = peer.recv(65536)
        except BlockingIOError:
            quiet += 1
            time.sleep(0.002)
        else:
            if not piece:
                break
            data += piece
    return bytes(data)


@pytest.mark.parametrize("ends", ["garbage", "eof"])
async def test_send_broken_off_while_the_dot_is_in_our_buffer_it_never_leaves(ends: str) -> None:
    """A server that makes room and breaks off in one moment does not get the dot of a mail that is tried again."""
    received = bytearray()
    over = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.greet()
        await wire.hear_commands(then_deaf=True)
        await asyncio.sleep(0.02)
        with socket.socket(fileno=os.dup(wire.writer.get_extra_info("socket").fileno())) as peer:
            peer.setblocking(False)
            received.extend(_taken(peer))
            if ends == "eof":
                peer.shutdown(socket.SHUT_WR)
            else:
                peer.send(b"what\r\n")
            await over.wait()
            with contextlib.suppress(ConnectionError):
                received.extend(_taken(peer))

    async with session_with_raw(script, SmtpTimeouts(), receive_bytes=4096) as (session, _):
        session._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32768)
        outcome = await session.send(Envelope("b@example.jp", "a@example.com", b"y" * 64_000))
        assert outcome.kind is (OutcomeKind.LOST_BEFORE_DOT if ends == "eof" else OutcomeKind.GARBLED_BEFORE_DOT)
        await asyncio.sleep(0.01)
        over.set()
        await asyncio.sleep(0.01)
        assert b"yyy" in received
        assert b"\r\n.\r\n" not in received


@pytest.mark.parametrize(("data_s", "dot_s", "accepted"), [(0.1, 5.0, True), (5.0, 0.1, False)])
async def test_send_each_stage_has_its_own_patience(data_s: float, dot_s: float, accepted: bool) -> None:
    """The reply to the dot may take longer than the others, or less long, as the timeouts say."""

    async def script(wire: Wire) -> None:
        await wire.greet()
        for _ in range(2):
            await wire.hear_commands()
            await wire.hear(b"\r\n.\r\n")
            await asyncio.sleep(0.25)
            await wire.say(b"250 kept\r\n")

    timeouts = SmtpTimeouts(5, data_s, data_s, data_s, data_s, dot_s, 0.2)
    async with session_with_raw(script, timeouts) as (session, _):
        for _ in range(2 if accepted else 1):
            outcome = await session.send(MAIL)
            assert outcome.kind is (OutcomeKind.ACCEPTED if accepted else OutcomeKind.TIMEOUT_AFTER_DOT)
            assert outcome.duration_s == pytest.approx(0.25 if accepted else 0.1, abs=0.08)


async def test_send_refused_in_the_middle_of_content_closed() -> None:
    """A refusal before the dot ends the mail at phase DATA and the connection with it."""

    async def script(wire: Wire) -> None:
        await wire.greet()
        await wire.hear_commands()
        await wire.reader.read(1000)
        await wire.say(b"552 5.3.4 too much\r\n")
        wire.reader._transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(5)

    async with session_with_raw(script, QUICK) as (session, _):
        outcome = await session.send(Envelope("b@example.jp", "a@example.com", b"y" * 30_000_000))
        assert (outcome.kind, outcome.phase) == (OutcomeKind.REJECTED, SmtpPhase.DATA)
        assert not session.usable


async def test_send_refused_content_nothing_written() -> None:
    """A content that could end early for a lenient server is refused before the first command."""
    async with session_with() as (session, mx):
        with pytest.raises(EnvelopeRefused):
            await session.send(
                Envelope("b@example.jp", "a@example.com", b"Subject: x\r\n\r\nhi\n.\r\nMAIL FROM:<x>\r\n")
            )
        assert (await session.send(MAIL)).accepted
        assert sum(command.startswith("MAIL") for command in mx.record.commands) == 1
