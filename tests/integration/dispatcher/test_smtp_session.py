"""One connection against servers that behave and servers that do not, over real sockets on both loops."""

import asyncio

import pytest

from hayabin.domain.smtp_reply import SmtpPhase
from services.dispatcher.connect import open_session
from services.dispatcher.smtp_session import Envelope, OutcomeKind
from tests.integration.dispatcher.sessions import BOTH_TLS, CONTENT, MAIL, QUICK, session_with, session_with_raw, target
from tests.support.raw_server import Wire
from tests.support.scripted_mx import Listener, ScriptedMx


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


async def test_send_server_closes_after_n_next_session_needed() -> None:
    """A server that closes after some mails makes the session unusable; a send then is safe to repeat."""
    async with session_with("close-after 2") as (session, mx):
        assert (await session.send(MAIL)).accepted
        assert (await session.send(MAIL)).accepted
        await asyncio.sleep(0.05)
        assert not session.usable
        assert (await session.send(MAIL)).kind is OutcomeKind.LOST_BEFORE_DOT
        assert len(mx.entries) == 2


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
