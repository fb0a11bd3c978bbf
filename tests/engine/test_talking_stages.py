"""Every stage of a transaction against servers that stall, say 421, drone or hang up there, with PIPELINING and without."""

import asyncio
import dataclasses
from contextlib import AbstractAsyncContextManager

import pytest

from hayabin.domain.smtp_reply import SmtpPhase
from services.dispatcher.smtp_session import Envelope, OutcomeKind, SmtpSession, SmtpTimeouts
from tests.support.raw_server import Wire, raw_server
from tests.support.scripted_mx import Listener, ScriptedMx
from tests.support.warm_session import warm_session

CONTENT = b"Message-ID: <1@example.jp>\r\n\r\nhello\r\n"
MAIL = Envelope("b@example.jp", "a@example.com", CONTENT)
PATIENT = SmtpTimeouts(5, 5, 5, 5, 5, 5, 0.2)
PIPELINING = pytest.mark.parametrize("pipelining", ["", "no-pipelining"], ids=["pipelined", "step-by-step"])


def session(port: int, timeouts: SmtpTimeouts = PATIENT) -> AbstractAsyncContextManager[SmtpSession]:
    """Open a session."""
    return warm_session(port, timeouts)


def at(stage: str, verb: str, words: str = "") -> Listener:
    """A server that does this at that stage to everybody."""
    line = f"{verb} {stage} {words}".strip()
    return Listener(manners=line) if stage == "mail" else Listener(recipients={"*": line})


@PIPELINING
@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "dot"])
async def test_send_stall_left_at_the_timeout_of_that_stage(stage: str, pipelining: str) -> None:
    """Only the timeout of the stage that stalls ends it: the others are far longer."""
    listener = at(stage, "stall")
    listener = dataclasses.replace(listener, manners=f"{listener.manners};{pipelining}")
    timeouts = dataclasses.replace(PATIENT, **{f"{stage}_s": 0.15})
    async with ScriptedMx(listener) as mx, session(mx.port, timeouts) as opened, asyncio.timeout(3):
        outcome = await opened.send(MAIL)
        assert outcome.phase == stage
        assert outcome.kind is (OutcomeKind.TIMEOUT_AFTER_DOT if stage == "dot" else OutcomeKind.TIMEOUT_BEFORE_DOT)
        assert 0.14 < outcome.duration_s < 1.5
        assert not opened.usable


async def test_send_content_not_taken_left_at_the_block_timeout() -> None:
    """A server that stops reading in the middle of the content has the time of one block, not of the reply to the dot."""

    async def script(wire: Wire) -> None:
        await wire.greet()
        await wire.hear_commands(then_deaf=True)
        await asyncio.sleep(5)

    timeouts = dataclasses.replace(PATIENT, block_s=0.15)
    async with raw_server(script) as (port, _), session(port, timeouts) as opened, asyncio.timeout(3):
        outcome = await opened.send(Envelope("b@example.jp", "a@example.com", b"y" * 30_000_000))
        assert (outcome.kind, outcome.phase) == (OutcomeKind.TIMEOUT_BEFORE_DOT, SmtpPhase.DATA)
        written = next(item for item in opened.conversation.said if isinstance(item, int))
        assert 0 < written < 30_000_000


def test_timeouts_by_default_are_those_of_the_rfc() -> None:
    """RFC 5321 §4.5.3.2: 5 minutes for the greeting, MAIL and RCPT, 2 for DATA, 3 for a block, 10 after the dot."""
    timeouts = SmtpTimeouts()
    assert (timeouts.greeting_s, timeouts.mail_s, timeouts.rcpt_s) == (300, 300, 300)
    assert (timeouts.data_s, timeouts.block_s, timeouts.dot_s) == (120, 180, 600)


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "dot"])
async def test_send_421_step_by_step_refused_and_closed(stage: str) -> None:
    """421 instead of any reply is that stage's temporary refusal, also without PIPELINING."""
    listener = at(stage, "reject", "421 4.7.0 too much for today")
    listener = dataclasses.replace(listener, manners=f"{listener.manners};no-pipelining")
    async with ScriptedMx(listener) as mx, session(mx.port) as opened:
        outcome = await opened.send(MAIL)
        assert (outcome.kind, outcome.phase) == (OutcomeKind.REJECTED, stage)
        assert outcome.verdict is not None
        assert not outcome.verdict.permanent
        assert not opened.usable


@PIPELINING
async def test_send_421_to_the_second_mail_first_stands(pipelining: str) -> None:
    """421 after some mails: those are accepted, and the next one is refused for now."""
    listener = Listener(manners=pipelining, recipients={"second@*": "reject rcpt 421 4.7.0 enough"})
    async with ScriptedMx(listener) as mx, session(mx.port) as opened:
        assert (await opened.send(MAIL)).accepted
        outcome = await opened.send(Envelope("b@example.jp", "second@example.com", CONTENT))
        assert (outcome.kind, outcome.phase) == (OutcomeKind.REJECTED, SmtpPhase.RCPT)
        assert [entry.rcpt_to for entry in mx.entries] == ["a@example.com"]


async def test_send_421_to_rset_refused_for_now() -> None:
    """421 to the RSET that begins a transaction is no refusal for good."""

    async def script(wire: Wire) -> None:
        await wire.greet()
        await wire.hear_commands(b"250 ok\r\n550 5.1.1 no\r\n503 no\r\n")
        await wire.hear_commands(b"421 4.3.2 closing\r\n")

    async with raw_server(script) as (port, _), session(port) as opened:
        assert (await opened.send(MAIL)).phase is SmtpPhase.RCPT
        outcome = await opened.send(MAIL)
        assert (outcome.kind, outcome.phase, outcome.reply and outcome.reply.code) == (
            OutcomeKind.REJECTED,
            SmtpPhase.MAIL,
            421,
        )


@PIPELINING
@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "dot"])
async def test_send_reply_of_a_megabyte_in_lines_broken_off(stage: str, pipelining: str) -> None:
    """A reply that goes on for a megabyte in proper lines is cut off at the bound, and after the dot leaves a doubt."""
    listener = at(stage, "drone", "1000000")
    listener = dataclasses.replace(listener, manners=f"{listener.manners};{pipelining}")
    async with ScriptedMx(listener) as mx, session(mx.port) as opened, asyncio.timeout(3):
        outcome = await opened.send(MAIL)
        assert outcome.phase == stage
        assert outcome.kind is (OutcomeKind.GARBLED_AFTER_DOT if stage == "dot" else OutcomeKind.GARBLED_BEFORE_DOT)
        assert not opened.usable


@pytest.mark.parametrize("manners", ["no-pipelining", "no-pipelining; starttls", "split; lf"])
@pytest.mark.parametrize("line", ["drop dot", "drop dot journalled"])
async def test_send_dropped_after_dot_unknown(manners: str, line: str) -> None:
    """Whether the server kept the mail or not, we know neither, and say so."""
    async with ScriptedMx(Listener(manners=manners, recipients={"*": line})) as mx, session(mx.port) as opened:
        outcome = await opened.send(MAIL)
        assert (outcome.kind, outcome.phase, outcome.verdict) == (OutcomeKind.LOST_AFTER_DOT, SmtpPhase.DOT, None)
        assert outcome.unknown


@pytest.mark.parametrize("manners", ["split; lf", "split; no-pipelining", "lf; starttls"])
@pytest.mark.parametrize("stage", ["rcpt", "data", "dot"])
async def test_send_odd_replies_refusal_paired_with_its_mail(manners: str, stage: str) -> None:
    """However replies are cut and ended, each refusal is that of its own mail and stage."""
    rules = {"bad*@*": f"reject {stage} 450 4.2.0 later"}
    async with ScriptedMx(Listener(manners=manners, recipients=rules)) as mx, session(mx.port) as opened:
        for number in range(6):
            name = "bad" if number % 2 else "good"
            outcome = await opened.send(Envelope("b@example.jp", f"{name}{number}@example.com", CONTENT))
            assert outcome.accepted == (name == "good")
            assert (outcome.phase == stage) or name == "good"
        assert [entry.rcpt_to for entry in mx.entries] == [f"good{number}@example.com" for number in (0, 2, 4)]


@PIPELINING
async def test_session_commands_one_recipient_reset_between_clean_quit(pipelining: str) -> None:
    """Each mail has a transaction of its own with one recipient; RSET follows a refusal; the end is QUIT."""
    rules = {"bad@*": "reject rcpt 550 5.1.1 no"}
    async with ScriptedMx(Listener(manners=f"no-size; {pipelining}", recipients=rules)) as mx:
        async with session(mx.port) as opened:
            for name in ("one", "bad", "two"):
                await opened.send(Envelope("b@example.jp", f"{name}@example.com", CONTENT))
        in_vain = [] if pipelining else ["DATA"]  # it left together with RCPT
        assert mx.record.commands == [
            "EHLO mta.example.jp",
            *("MAIL FROM:<b@example.jp>", "RCPT TO:<one@example.com>", "DATA"),
            *("MAIL FROM:<b@example.jp>", "RCPT TO:<bad@example.com>", *in_vain),
            *("RSET", "MAIL FROM:<b@example.jp>", "RCPT TO:<two@example.com>", "DATA"),
            "QUIT",
        ]


@PIPELINING
async def test_send_server_closes_after_n_each_mail_once(pipelining: str) -> None:
    """Against a server that takes two mails a connection, five mails need three connections and arrive once each."""
    async with ScriptedMx(Listener(manners=f"close-after 2; {pipelining}")) as mx:
        left = [f"{number}@example.com" for number in range(5)]
        while left:
            async with session(mx.port) as opened:
                while left and (await opened.send(Envelope("b@example.jp", left[0], CONTENT))).accepted:
                    del left[0]
        assert [entry.rcpt_to for entry in mx.entries] == [f"{number}@example.com" for number in range(5)]
        assert mx.record.connections == 3
