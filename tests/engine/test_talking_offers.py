"""Servers that do not keep what their EHLO reply offers: mail goes out once, or is safe to try again; it never bounces."""

import asyncio
from contextlib import AbstractAsyncContextManager

import pytest

from hayabin.domain.bounce_reason import BounceReason
from hayabin.domain.smtp_reply import SmtpPhase
from services.dispatcher.connect import TlsMode
from services.dispatcher.pipelining import MAX_SERVERS, MEMORY_S, BrokenOffers
from services.dispatcher.smtp_session import Envelope, Extensions, OutcomeKind, Peer, SmtpSession, SmtpTimeouts
from tests.support.raw_server import Wire, raw_server
from tests.support.scripted_mx import Listener, ScriptedMx
from tests.support.warm_session import warm_session

CONTENT = b"Message-ID: <1@example.jp>\r\n\r\nhello\r\n"
MAIL = Envelope("b@example.jp", "a@example.com", CONTENT)
EIGHT_BIT = Envelope("b@example.jp", "a@example.com", "Subject: 早便\r\n\r\n".encode())
EAI = Envelope("b@example.jp", "早便@example.com", CONTENT)
QUICK = SmtpTimeouts(5, 0.15, 0.15, 0.15, 0.15, 0.15, 0.2)
PIPELINED = Extensions(pipelining=True)


def session(port: int, tls: TlsMode = TlsMode.OPPORTUNISTIC) -> AbstractAsyncContextManager[SmtpSession]:
    """Open a session."""
    return warm_session(port, QUICK, tls)


@pytest.mark.parametrize("tls", ["", "; starttls"], ids=["plain", "tls"])
async def test_send_pipelined_gets_503_again_step_by_step(tls: str) -> None:
    """503 to what was pipelined is no refusal of the mail: it is offered again one command at a time, once."""
    async with ScriptedMx(Listener(manners="hasty-503" + tls)) as mx, session(mx.port) as opened:
        assert (await opened.send(MAIL)).accepted
        assert opened.conversation.said.count("the server offers PIPELINING and does not keep it") == 1
        tried = len(mx.record.commands)
        assert (await opened.send(MAIL)).accepted
        assert [line.split(" ")[0] for line in mx.record.commands[tried:]] == ["MAIL", "RCPT", "DATA"]
        assert len(mx.entries) == 2
        assert opened.transactions == 2


@pytest.mark.parametrize(
    ("manners", "kind", "reason"),
    [
        ("hasty-forget", OutcomeKind.TIMEOUT_BEFORE_DOT, BounceReason.NETWORK),
        ("hasty-554", OutcomeKind.GARBLED_BEFORE_DOT, BounceReason.PROTOCOL),
    ],
)
async def test_send_pipelined_lost_next_connection_step_by_step(
    manners: str, kind: OutcomeKind, reason: BounceReason
) -> None:
    """Where the connection is lost to pipelining, the mail is safe to try again, and the next connection does without."""
    async with ScriptedMx(Listener(manners=manners)) as mx:
        async with session(mx.port) as opened, asyncio.timeout(2):
            outcome = await opened.send(MAIL)
            assert outcome.kind is kind
            assert outcome.verdict is not None
            assert (outcome.verdict.permanent, outcome.verdict.reason) == (False, reason)
            assert not opened.usable
        async with session(mx.port) as opened:
            assert not opened.extensions.pipelining
            assert (await opened.send(MAIL)).accepted
        assert len(mx.entries) == 1


@pytest.mark.parametrize("reply", [b"554 SMTP synchronization error\r\n", b"503 5.5.0 Improper use of pipelining\r\n"])
async def test_send_refused_for_pipelining_and_closed_does_not_bounce(reply: bytes) -> None:
    """A 5yz that speaks of pipelining is about our manners, also at MAIL and also if the server then hangs up."""

    async def script(wire: Wire) -> None:
        await wire.greet()
        await wire.hear(b"\r\n")
        await wire.say(reply)
        wire.writer.write_eof()

    async with raw_server(script) as (port, _), session(port, TlsMode.NONE) as opened:
        outcome = await opened.send(MAIL)
        assert (outcome.kind, outcome.phase) == (OutcomeKind.GARBLED_BEFORE_DOT, SmtpPhase.MAIL)
        assert outcome.verdict is not None
        assert not outcome.verdict.permanent


@pytest.mark.parametrize(
    ("manners", "recipient", "asked"),
    [
        ("", "reject rcpt 503 5.5.1 not now", 2),
        ("no-pipelining", "reject rcpt 503 5.5.1 not now", 1),
        ("", "reject data 502 5.5.1 not now", 2),
        ("", "reject rcpt 550 5.5.0 mailbox unavailable", 1),
        ("", "reject data 554 5.7.1 no", 1),
    ],
)
async def test_send_refusal_that_stands_reported(manners: str, recipient: str, asked: int) -> None:
    """A refusal that a second try without pipelining meets again is the outcome; any other is not tried twice."""
    async with ScriptedMx(Listener(manners=manners, recipients={"*": recipient})) as mx, session(mx.port) as opened:
        outcome = await opened.send(MAIL)
        assert outcome.kind is OutcomeKind.REJECTED
        assert str(outcome.reply) in recipient
        assert sum(line.startswith("RCPT") for line in mx.record.commands) == asked
        assert opened.usable


async def test_send_size_offered_not_known_left_out() -> None:
    """A server that offers SIZE and refuses the parameter gets MAIL without it, on the same connection."""
    async with ScriptedMx(Listener(manners="no-parameters")) as mx, session(mx.port) as opened:
        assert (await opened.send(MAIL)).accepted
        assert (await opened.send(MAIL)).accepted
        mails = [line for line in mx.record.commands if line.startswith("MAIL")]
        assert mails == [f"MAIL FROM:<b@example.jp> SIZE={len(CONTENT)}", *["MAIL FROM:<b@example.jp>"] * 2]
        assert mx.record.connections == 1


@pytest.mark.parametrize(
    ("manners", "envelope", "reply"),
    [
        ("no-parameters", EIGHT_BIT, "555 5.5.4 Unsupported option"),
        ("smtputf8; no-parameters", EAI, "555 5.5.4 Unsupported option"),
        ("smtputf8; reject rcpt 553 5.6.7 no such alphabet", EAI, "553 5.6.7 no such alphabet"),
        ("size 100000; reject mail 552 5.3.4 too big", MAIL, "552 5.3.4 too big"),
        ("size 100000; reject dot 552 5.3.4 too big", MAIL, "552 5.3.4 too big"),
    ],
)
async def test_send_needed_extension_not_kept_refused(manners: str, envelope: Envelope, reply: str) -> None:
    """What the mail cannot do without is not left out: the server's refusal is the outcome, and nothing is journalled."""
    async with ScriptedMx(Listener(manners=manners)) as mx, session(mx.port) as opened:
        outcome = await opened.send(envelope)
        assert (outcome.kind, str(outcome.reply)) == (OutcomeKind.REJECTED, reply)
        assert mx.entries == []


async def test_send_eai_without_smtputf8_refused_5_6_7() -> None:
    """An address of non-ASCII characters is refused with 5.6.7, and the server never hears of it."""
    async with ScriptedMx(Listener()) as mx, session(mx.port) as opened:
        outcome = await opened.send(EAI)
        assert outcome.reply is not None
        assert outcome.reply.enhanced == "5.6.7"
        assert outcome.verdict is not None
        assert outcome.verdict.reason is BounceReason.EAI_UNSUPPORTED
        assert len(mx.record.commands) == 1


@pytest.mark.parametrize(
    ("ehlo", "until", "replies", "kind", "phase"),
    [
        # the reply to the dot comes along with 354: it answers nothing that was written
        (b"PIPELINING", b"DATA\r\n", b"250 a\r\n250 b\r\n354 c\r\n250 kept\r\n", "garbled_before_dot", SmtpPhase.DATA),
        (b"PIPELINING", b"DATA\r\n", b"250 a\r\n250 b\r\n354 c\r\n550 no\r\n", "garbled_before_dot", SmtpPhase.DATA),
        (b"PIPELINING", b"DATA\r\n", b"250 a\r\n250 b\r\n354 c\r\n2", "garbled_before_dot", SmtpPhase.DATA),
        (b"PIPELINING", b"DATA\r\n", b"250 a\r\n250 b\r\n354 c\r\nwhat\r\n", "garbled_before_dot", SmtpPhase.DATA),
        (b"PIPELINING", b"DATA\r\n", b"250 a\r\n250 b\r\n354 c\r\n421 bye\r\n", "rejected", SmtpPhase.DATA),
        (b"HELP", b"MAIL", b"250 a\r\n250 b\r\n", "garbled_before_dot", SmtpPhase.RCPT),
        (b"HELP", b"MAIL", b"250 a\r\n421 bye\r\n", "rejected", SmtpPhase.RCPT),
    ],
)
async def test_send_reply_before_its_command_never_taken(
    ehlo: bytes, until: bytes, replies: bytes, kind: str, phase: SmtpPhase
) -> None:
    """A reply that came before its command was written is not taken for its answer, and no content goes out."""

    async def script(wire: Wire) -> None:
        await wire.greet(b"250-mx.example.jp\r\n250 " + ehlo + b"\r\n")
        await wire.hear(until)
        await wire.say(replies)

    async with raw_server(script) as (port, wires), session(port, TlsMode.NONE) as opened:
        outcome = await opened.send(MAIL)
        assert (outcome.kind, outcome.phase) == (kind, phase)
        assert not opened.usable
        await asyncio.sleep(0.02)
        assert b"hello" not in wires[0].received


async def test_session_reply_begun_out_of_turn_not_usable() -> None:
    """The first bytes of a reply that nobody asked for make the session unusable, before it could answer the next mail."""

    async def script(wire: Wire) -> None:
        await wire.greet()
        await wire.hear_commands()
        await wire.hear_content(b"250 kept\r\n25")

    async with raw_server(script) as (port, _), session(port, TlsMode.NONE) as opened:
        assert (await opened.send(MAIL)).accepted
        assert not opened.usable
        assert (await opened.send(MAIL)).kind is OutcomeKind.LOST_BEFORE_DOT


async def test_send_one_reply_for_three_commands_times_out() -> None:
    """A server that answers a pipelined group once is left at the timeout, before the dot."""

    async def script(wire: Wire) -> None:
        await wire.greet()
        await wire.hear_commands(b"250 ok\r\n")

    async with raw_server(script) as (port, _), session(port, TlsMode.NONE) as opened:
        outcome = await opened.send(MAIL)
        assert (outcome.kind, outcome.phase) == (OutcomeKind.TIMEOUT_BEFORE_DOT, SmtpPhase.RCPT)
        assert not opened.extensions.pipelining


def test_broken_offers_remembered_for_an_hour_and_bounded() -> None:
    """A server is trusted again after an hour, and many servers do not fill the memory."""
    offers = BrokenOffers()
    peer = Peer("mx.example.jp", "192.0.2.1", 25, None, None)
    offers.note(peer, 1000.0)
    assert not offers.without(peer, PIPELINED, 1000.0 + MEMORY_S - 1).pipelining
    assert offers.without(peer, PIPELINED, 1000.0 + MEMORY_S).pipelining
    assert offers.without(Peer("mx", "192.0.2.2", 25, None, None), PIPELINED, 1000.0) == PIPELINED
    for number in range(MAX_SERVERS + 10):
        offers.note(Peer("mx", str(number), 25, None, None), 1001.0)
    assert len(offers.until_s) == MAX_SERVERS
    assert offers.without(peer, PIPELINED, 1002.0).pipelining
