"""One connection against servers whose replies come at a wrong time, in a wrong number or not at all, on both loops."""

import asyncio

import pytest

from hayabin.domain.bounce_reason import BounceReason
from hayabin.domain.smtp_reply import SmtpPhase
from services.dispatcher.smtp_session import OutcomeKind
from tests.integration.dispatcher.sessions import MAIL, QUICK, session_with_raw
from tests.support.raw_server import Wire


async def test_send_refusal_then_stall_refusal_stands() -> None:
    """If the recipient was refused and the server then says no more, the refusal is the outcome."""

    async def script(wire: Wire) -> None:
        await wire.greet()
        await wire.hear_commands(b"250 ok\r\n550 5.1.1 no\r\n")

    async with session_with_raw(script, QUICK) as (session, _):
        outcome = await session.send(MAIL)
        assert (outcome.kind, outcome.phase) == (OutcomeKind.REJECTED, SmtpPhase.RCPT)
        assert not session.usable


async def test_send_rcpt_refused_but_354_lone_dot() -> None:
    """A server that takes DATA without a recipient gets a lone dot, and the next mail goes through after RSET."""

    async def script(wire: Wire) -> None:
        await wire.greet()
        await wire.hear_commands(b"250 ok\r\n550 5.1.1 no\r\n354 go\r\n")
        await wire.hear(b".\r\n")
        await wire.say(b"554 no valid recipients\r\n")
        await wire.hear_commands(b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n")
        await wire.hear_content()

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
        await wire.hear_commands(b"550 no\r\n250 ok\r\n354 go\r\n")

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
        await wire.hear_commands(b"250 ok\r\n550 no\r\n503 no\r\n")
        await wire.hear_commands(b"500 what\r\n")

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
        await wire.hear_commands()
        await wire.hear_content()

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


@pytest.mark.parametrize(("extra", "usable"), [(b"421 4.3.2 closing\r\n", False), (b"250 again\r\n", False)])
async def test_send_reply_out_of_turn_session_closed(extra: bytes, usable: bool) -> None:
    """A reply nobody asked for ends the session, so that it can never answer the next mail."""

    async def script(wire: Wire) -> None:
        await wire.greet()
        await wire.hear_commands()
        await wire.hear_content(b"250 kept\r\n" + extra)

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
