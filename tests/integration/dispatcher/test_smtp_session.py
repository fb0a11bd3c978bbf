"""One connection against servers that behave and servers that do not, over real sockets on both loops."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from hayabin.domain.bounce_reason import BounceReason
from hayabin.domain.smtp_reply import SmtpPhase
from services.dispatcher.connect import Target, TlsMode, open_session
from services.dispatcher.pipelining import BROKEN_OFFERS
from services.dispatcher.smtp_session import (
    Envelope,
    EnvelopeRefused,
    OutcomeKind,
    SmtpSession,
    SmtpTimeouts,
)
from tests.support.raw_server import Script, Wire, raw_server
from tests.support.scripted_mx import Listener, ScriptedMx

CONTENT = b"From: a@example.jp\r\nMessage-ID: <1@example.jp>\r\n\r\nhello\r\n.dot\r\n"
MAIL = Envelope("bounce@example.jp", "a@example.com", CONTENT)
QUICK = SmtpTimeouts(5, 0.15, 0.15, 0.15, 0.15, 0.15, 0.2)
BOTH_TLS = pytest.mark.parametrize("tls", ["", "; starttls"], ids=["plain", "tls"])


@pytest.fixture(autouse=True)
def no_memory() -> Iterator[None]:
    """No test knows of another's servers."""
    BROKEN_OFFERS.until_s.clear()
    yield
    BROKEN_OFFERS.until_s.clear()


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


@pytest.mark.parametrize("manners", ["", "no-pipelining", "lf", "split", "split; lf; no-pipelining", "slow 0.01"])
@BOTH_TLS
async def test_send_accepting_server_journals_exact_mail(manners: str, tls: str) -> None:
    """Three mails on one connection arrive as they were, whatever the form of the replies, in clear and in TLS."""
    async with session_with(manners + tls) as (session, mx):
        for number in range(3):
            envelope = Envelope("b@example.jp", f"a..{number}@docomo.ne.jp", CONTENT)
            outcome = await session.send(envelope)
            assert (outcome.kind, outcome.phase) == (OutcomeKind.ACCEPTED, SmtpPhase.DOT)
            assert 0 < outcome.duration_s < 5
        await session.quit()
        assert [entry.rcpt_to for entry in mx.entries] == [f"a..{number}@docomo.ne.jp" for number in range(3)]
        assert {entry.size_bytes for entry in mx.entries} == {len(CONTENT)}
        assert {(entry.peer_ip, entry.ehlo, entry.tls) for entry in mx.entries} == {
            ("127.0.0.9", "mta.example.jp", bool(tls)),
        }
        assert mx.record.connections == 1
        assert mx.record.commands[-1] == "QUIT"
        assert "RSET" not in mx.record.commands


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "dot"])
@pytest.mark.parametrize("pipelining", ["", "no-pipelining"])
async def test_send_refused_then_next_mail_accepted(stage: str, pipelining: str) -> None:
    """A refusal names its phase, the connection stays good, and RSET clears what the server may still hold."""
    recipients = {"bad@example.com": f"reject {stage} 550 5.7.1 no"} if stage != "mail" else {}
    manners = f"{pipelining}; defer 1 mail 550 5.7.1 no" if stage == "mail" else pipelining
    async with session_with(manners, recipients) as (session, mx):
        first = await session.send(Envelope("b@example.jp", "bad@example.com", CONTENT))
        assert (first.kind, first.phase) == (OutcomeKind.REJECTED, SmtpPhase(stage))
        assert first.reply is not None
        assert first.reply.code == 550
        assert session.usable
        second = await session.send(Envelope("b@example.jp", "a@example.com", CONTENT))
        assert second.accepted
        assert mx.record.commands.count("RSET") == (0 if stage == "dot" else 1)
        assert [entry.rcpt_to for entry in mx.entries] == ["a@example.com"]


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "dot"])
async def test_send_421_refused_and_closed(stage: str) -> None:
    """421 at any stage is a temporary refusal, and the connection is not used again."""
    manners = "reject mail 421 4.3.2 bye" if stage == "mail" else ""
    async with session_with(manners, {"*": f"reject {stage} 421 4.3.2 bye"}) as (session, mx):
        outcome = await session.send(MAIL)
        assert (outcome.kind, outcome.phase) == (OutcomeKind.REJECTED, SmtpPhase(stage))
        assert outcome.verdict is not None
        assert not outcome.verdict.permanent
        assert not session.usable
        assert mx.entries == []


@pytest.mark.parametrize(
    ("line", "kind", "phase"),
    [
        ("drop mail", OutcomeKind.LOST_BEFORE_DOT, SmtpPhase.MAIL),
        ("drop rcpt", OutcomeKind.LOST_BEFORE_DOT, SmtpPhase.RCPT),
        ("drop data", OutcomeKind.LOST_BEFORE_DOT, SmtpPhase.DATA),
        ("drop dot", OutcomeKind.LOST_AFTER_DOT, SmtpPhase.DOT),
        ("drop dot journalled", OutcomeKind.LOST_AFTER_DOT, SmtpPhase.DOT),
        ("stall mail", OutcomeKind.TIMEOUT_BEFORE_DOT, SmtpPhase.MAIL),
        ("stall rcpt", OutcomeKind.TIMEOUT_BEFORE_DOT, SmtpPhase.RCPT),
        ("stall data", OutcomeKind.TIMEOUT_BEFORE_DOT, SmtpPhase.DATA),
        ("stall dot", OutcomeKind.TIMEOUT_AFTER_DOT, SmtpPhase.DOT),
        ("shout mail 1000000", OutcomeKind.GARBLED_BEFORE_DOT, SmtpPhase.MAIL),
        ("shout rcpt 1000000", OutcomeKind.GARBLED_BEFORE_DOT, SmtpPhase.RCPT),
        ("shout dot 1000000", OutcomeKind.GARBLED_AFTER_DOT, SmtpPhase.DOT),
        ("babble rcpt", OutcomeKind.GARBLED_BEFORE_DOT, SmtpPhase.RCPT),
        ("babble data", OutcomeKind.GARBLED_BEFORE_DOT, SmtpPhase.DATA),
        ("babble dot", OutcomeKind.GARBLED_AFTER_DOT, SmtpPhase.DOT),
        ("reject data 250 what", OutcomeKind.GARBLED_BEFORE_DOT, SmtpPhase.DATA),
        ("reject rcpt 354 what", OutcomeKind.GARBLED_BEFORE_DOT, SmtpPhase.RCPT),
        ("reject dot 354 what", OutcomeKind.GARBLED_AFTER_DOT, SmtpPhase.DOT),
    ],
)
@BOTH_TLS
async def test_send_broken_off_kind_and_phase(line: str, kind: OutcomeKind, phase: SmtpPhase, tls: str) -> None:
    """A break before the dot is safe to try again; one after it is unknown, and never called refused or accepted."""
    in_session = line if " mail" in line else ""
    async with session_with(in_session + tls, {"*": "accept" if in_session else line}, QUICK) as (session, mx):
        async with asyncio.timeout(3):
            outcome = await session.send(MAIL)
        assert (outcome.kind, outcome.phase, outcome.reply) == (kind, phase, None)
        assert outcome.unknown == (phase is SmtpPhase.DOT)
        assert (outcome.verdict is None) == outcome.unknown
        assert not session.usable
        assert len(mx.entries) == ("journalled" in line)


async def test_send_refusal_then_stall_refusal_stands() -> None:
    """If the recipient was refused and the server then says no more, the refusal is the outcome."""

    async def script(wire: Wire) -> None:
        await wire.greet()
        await wire.hear(b"DATA\r\n")
        await wire.say(b"250 ok\r\n550 5.1.1 no\r\n")

    async with session_with_raw(script, QUICK) as (session, _):
        outcome = await session.send(MAIL)
        assert (outcome.kind, outcome.phase) == (OutcomeKind.REJECTED, SmtpPhase.RCPT)
        assert not session.usable


async def test_send_rcpt_refused_but_354_lone_dot() -> None:
    """A server that takes DATA without a recipient gets a lone dot, and the next mail goes through after RSET."""

    async def script(wire: Wire) -> None:
        await wire.greet()
        await wire.hear(b"DATA\r\n")
        await wire.say(b"250 ok\r\n550 5.1.1 no\r\n354 go\r\n")
        await wire.hear(b".\r\n")
        await wire.say(b"554 no valid recipients\r\n")
        await wire.hear(b"DATA\r\n")
        await wire.say(b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n")
        await wire.hear(b"\r\n.\r\n")
        await wire.say(b"250 kept\r\n")

    async with session_with_raw(script, QUICK) as (session, wires):
        first = await session.send(MAIL)
        assert (first.phase, first.reply and first.reply.code) == (SmtpPhase.RCPT, 550)
        assert (await session.send(MAIL)).accepted
        assert b"DATA\r\n.\r\nRSET\r\nMAIL FROM" in wires[0].received
        assert wires[0].received.count(b"hello") == 1


async def test_send_mail_refused_but_rcpt_and_354_hangs_up() -> None:
    """Where a lone dot could deliver an empty mail, the connection is dropped without one."""

    async def script(wire: Wire) -> None:
        await wire.greet()
        await wire.hear(b"DATA\r\n")
        await wire.say(b"550 no\r\n250 ok\r\n354 go\r\n")

    async with session_with_raw(script, QUICK) as (session, wires):
        outcome = await session.send(MAIL)
        assert (outcome.kind, outcome.phase) == (OutcomeKind.REJECTED, SmtpPhase.MAIL)
        assert not session.usable
        await asyncio.sleep(0.05)
        assert wires[0].received.endswith(b"DATA\r\n")


async def test_send_reset_not_answered_well_next_mail_safe() -> None:
    """If RSET fails the next mail is not refused for it: it is safe to try again elsewhere."""

    async def script(wire: Wire) -> None:
        await wire.greet()
        await wire.hear(b"DATA\r\n")
        await wire.say(b"250 ok\r\n550 no\r\n503 no\r\n")
        await wire.hear(b"DATA\r\n")
        await wire.say(b"500 what\r\n")

    async with session_with_raw(script, QUICK) as (session, _):
        assert (await session.send(MAIL)).kind is OutcomeKind.REJECTED
        outcome = await session.send(MAIL)
        assert outcome.kind is OutcomeKind.GARBLED_BEFORE_DOT
        assert outcome.verdict is not None
        assert outcome.verdict.reason is BounceReason.PROTOCOL


async def test_send_pipelined_envelope_in_one_write() -> None:
    """With PIPELINING the three commands arrive before any reply is given."""

    async def script(wire: Wire) -> None:
        await wire.greet()
        await wire.hear(b"DATA\r\n")
        await wire.say(b"250 ok\r\n250 ok\r\n354 go\r\n")
        await wire.hear(b"\r\n.\r\n")
        await wire.say(b"250 kept\r\n")

    async with session_with_raw(script, QUICK) as (session, wires):
        assert (await session.send(MAIL)).accepted
        assert b"MAIL FROM:<bounce@example.jp>\r\nRCPT TO:<a@example.com>\r\nDATA\r\n" in wires[0].received
        assert b"hello\r\n..dot\r\n.\r\n" in wires[0].received


async def test_send_dribbled_reply_does_not_extend_patience() -> None:
    """A server that sends a byte now and then is cut off at the timeout, not kept alive by it."""

    async def script(wire: Wire) -> None:
        await wire.greet()
        await wire.hear(b"DATA\r\n")
        while True:
            await wire.say(b"2")
            await asyncio.sleep(0.03)

    async with session_with_raw(script, QUICK) as (session, _):
        async with asyncio.timeout(1):
            outcome = await session.send(MAIL)
        assert outcome.kind in (OutcomeKind.TIMEOUT_BEFORE_DOT, OutcomeKind.GARBLED_BEFORE_DOT)


async def test_send_server_closes_after_n_next_session_needed() -> None:
    """A server that closes after some mails makes the session unusable; a send then is safe to repeat."""
    async with session_with("close-after 2") as (session, mx):
        assert (await session.send(MAIL)).accepted
        assert (await session.send(MAIL)).accepted
        await asyncio.sleep(0.05)
        assert not session.usable
        assert (await session.send(MAIL)).kind is OutcomeKind.LOST_BEFORE_DOT
        assert len(mx.entries) == 2


@pytest.mark.parametrize(("extra", "usable"), [(b"421 4.3.2 closing\r\n", False), (b"250 again\r\n", False)])
async def test_send_reply_out_of_turn_session_closed(extra: bytes, usable: bool) -> None:
    """A reply nobody asked for ends the session, so that it can never answer the next mail."""

    async def script(wire: Wire) -> None:
        await wire.greet()
        await wire.hear(b"DATA\r\n")
        await wire.say(b"250 ok\r\n250 ok\r\n354 go\r\n")
        await wire.hear(b"\r\n.\r\n")
        await wire.say(b"250 kept\r\n" + extra)

    async with session_with_raw(script, QUICK) as (session, _):
        assert (await session.send(MAIL)).accepted
        assert session.usable is usable
        assert session.goodbye is not None
        outcome = await session.send(MAIL)
        assert outcome.kind is (OutcomeKind.REJECTED if extra.startswith(b"421") else OutcomeKind.LOST_BEFORE_DOT)


async def test_session_bytes_after_ehlo_reply_not_lost() -> None:
    """What the server said right behind its EHLO reply reaches the session: it does not answer the first MAIL."""

    async def script(wire: Wire) -> None:
        await wire.say(b"220 mx.example.jp\r\n")
        await wire.hear(b"\r\n")
        await wire.say(b"250 mx.example.jp\r\n421 4.3.2 going down\r\n")

    async with session_with_raw(script, QUICK) as (session, wires):
        outcome = await session.send(MAIL)
        assert (outcome.kind, outcome.reply and outcome.reply.code) == (OutcomeKind.REJECTED, 421)
        await asyncio.sleep(0.02)
        assert b"MAIL" not in wires[0].received


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
        await wire.hear(b"DATA\r\n")
        wire.reader._transport.pause_reading()  # type: ignore[attr-defined]
        await wire.say(b"250 ok\r\n250 ok\r\n354 go\r\n")
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
        await wire.hear(b"DATA\r\n")
        wire.reader._transport.pause_reading()  # type: ignore[attr-defined]
        await wire.say(b"250 ok\r\n250 ok\r\n354 go\r\n")
        await asyncio.sleep(0.05)
        if ends == "eof":
            wire.writer.write_eof()
        await asyncio.sleep(5)

    async with session_with_raw(script, QUICK, receive_bytes=4096) as (session, _):
        session._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        outcome = await session.send(Envelope("b@example.jp", "a@example.com", b"y" * 64_000))
        kind = OutcomeKind.LOST_BEFORE_DOT if ends == "eof" else OutcomeKind.TIMEOUT_BEFORE_DOT
        assert (outcome.kind, outcome.phase) == (kind, SmtpPhase.DATA)


@pytest.mark.parametrize(("data_s", "dot_s", "accepted"), [(0.1, 5.0, True), (5.0, 0.1, False)])
async def test_send_each_stage_has_its_own_patience(data_s: float, dot_s: float, accepted: bool) -> None:
    """The reply to the dot may take longer than the others, or less long, as the timeouts say."""

    async def script(wire: Wire) -> None:
        await wire.greet()
        for _ in range(2):
            await wire.hear(b"DATA\r\n")
            await wire.say(b"250 ok\r\n250 ok\r\n354 go\r\n")
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
        await wire.hear(b"DATA\r\n")
        await wire.say(b"250 ok\r\n250 ok\r\n354 go\r\n")
        await wire.reader.read(1000)
        await wire.say(b"552 5.3.4 too much\r\n")
        wire.reader._transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(5)

    async with session_with_raw(script, QUICK) as (session, _):
        outcome = await session.send(Envelope("b@example.jp", "a@example.com", b"y" * 30_000_000))
        assert (outcome.kind, outcome.phase) == (OutcomeKind.REJECTED, SmtpPhase.DATA)
        assert not session.usable


@pytest.mark.parametrize(
    ("manners", "envelope", "code"),
    [
        ("size 50", MAIL, "5.3.4"),
        ("no-8bitmime", Envelope("b@example.jp", "a@example.com", "Subject: 早便\r\n\r\n".encode()), "5.6.3"),
        ("", Envelope("b@example.jp", "早便@example.com", CONTENT), "5.6.7"),
    ],
)
async def test_send_lacking_extension_refused_unsent(manners: str, envelope: Envelope, code: str) -> None:
    """What the server's EHLO rules out is refused with the right status, and nothing is written."""
    async with session_with(manners) as (session, mx):
        outcome = await session.send(envelope)
        assert (outcome.kind, outcome.reply and outcome.reply.enhanced) == (OutcomeKind.REJECTED, code)
        assert session.usable
        assert mx.record.commands == ["EHLO mta.example.jp"]


async def test_send_parameters_only_if_offered() -> None:
    """SIZE, BODY and SMTPUTF8 stand on MAIL if the server offers them and the mail needs them."""
    eai = Envelope("b@example.jp", "早便@example.com", "Subject: 早便\r\n\r\n".encode())
    async with session_with("smtputf8") as (session, mx):
        assert (await session.send(eai)).accepted
        assert f"MAIL FROM:<b@example.jp> SIZE={len(eai.content)} BODY=8BITMIME SMTPUTF8" in mx.record.commands
        assert mx.entries[0].rcpt_to == "早便@example.com"
    async with session_with("no-size; no-8bitmime") as (session, mx):
        assert (await session.send(Envelope("", '"a..b"@docomo.ne.jp', CONTENT))).accepted
        assert mx.record.commands[1:3] == ["MAIL FROM:<>", 'RCPT TO:<"a..b"@docomo.ne.jp>']


async def test_send_refused_content_nothing_written() -> None:
    """A content that could end early for a lenient server is refused before the first command."""
    async with session_with() as (session, mx):
        with pytest.raises(EnvelopeRefused):
            await session.send(
                Envelope("b@example.jp", "a@example.com", b"Subject: x\r\n\r\nhi\n.\r\nMAIL FROM:<x>\r\n")
            )
        assert (await session.send(MAIL)).accepted
        assert sum(command.startswith("MAIL") for command in mx.record.commands) == 1


async def test_send_cancelled_connection_aborted() -> None:
    """A cancelled send leaves no half transaction behind: the connection is gone."""
    async with session_with("", {"*": "stall rcpt"}) as (session, _):
        task = asyncio.create_task(session.send(MAIL))
        await asyncio.sleep(0.02)
        with pytest.raises(RuntimeError, match="one mail at a time"):
            await session.send(MAIL)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not session.usable


@BOTH_TLS
async def test_quit_polite_bounded_and_idempotent(tls: str) -> None:
    """QUIT is said once, and closing ends in bounded time also if the server does not answer."""
    async with session_with(tls) as (session, mx):
        await session.quit()
        await session.quit()
        assert mx.record.commands.count("QUIT") == 1
        assert not session.usable

    async def silent(wire: Wire) -> None:
        await wire.greet()
        await asyncio.sleep(5)

    async with session_with_raw(silent, QUICK) as (session, _), asyncio.timeout(1):
        await session.quit()


async def test_send_many_sessions_each_mail_once() -> None:
    """Twenty connections with refusals, greylisting and closing servers: accepted outcomes equal the journal."""
    rules = {"grey*@*": "greylist 1", "bad*@*": "reject rcpt 550 5.1.1 no", "full*@*": "reject dot 552 5.2.2 full"}
    async with ScriptedMx(Listener(manners="close-after 7", recipients=rules)) as mx:
        accepted: list[str] = []

        async def run(worker: int) -> None:
            session = await open_session(target(mx.port))
            for number in range(30):
                kind = ("ok", "grey", "bad", "full")[number % 4]
                recipient = f"{kind}{worker}.{number}@example.com"
                outcome = await session.send(Envelope("b@example.jp", recipient, CONTENT))
                if outcome.kind is OutcomeKind.LOST_BEFORE_DOT:
                    session = await open_session(target(mx.port))
                elif outcome.accepted:
                    accepted.append(recipient)
            await session.quit()

        await asyncio.gather(*(run(worker) for worker in range(20)))
        assert sorted(accepted) == sorted(entry.rcpt_to for entry in mx.entries)
        assert len(accepted) > 100
