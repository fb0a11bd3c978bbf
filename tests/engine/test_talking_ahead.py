"""The next mail's commands behind the final dot, in one write: no mail is lost, doubled or taken for another by that."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from hayabin.domain.smtp_reply import SmtpPhase
from services.dispatcher.connect import TlsMode
from services.dispatcher.pipelining import BROKEN_OFFERS
from services.dispatcher.smtp_parameters import SessionParameters
from services.dispatcher.smtp_session import Envelope, Extensions, OutcomeKind, Peer, SmtpSession, SmtpTimeouts
from tests.support.raw_server import GO, Script, Wire, raw_server
from tests.support.scripted_mx import Listener, ScriptedMx
from tests.support.warm_session import warm_session

QUICK = SmtpTimeouts(5, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3)


def mail(name: str) -> Envelope:
    """A mail to somebody of that name; the body names him too."""
    return Envelope("b@example.jp", f"{name}@example.com", f"Subject: to {name}\r\n\r\n.hi {name}\r\n".encode())


A, B, C = mail("a"), mail("b"), mail("c")
ANNOUNCED = b"\r\n.\r\nMAIL FROM:<b@example.jp>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n"


def session(port: int, tls: TlsMode = TlsMode.OPPORTUNISTIC) -> AbstractAsyncContextManager[SmtpSession]:
    """Open a session."""
    return warm_session(port, QUICK, tls)


@contextlib.asynccontextmanager
async def talk(script: Script) -> AsyncIterator[tuple[SmtpSession, list[Wire]]]:
    """Open a session with a server that does what ``script`` says after it took the first mail's content."""

    async def whole(wire: Wire) -> None:
        await wire.greet()
        await wire.hear_commands()
        await script(wire)

    async with raw_server(whole) as (port, wires), session(port, TlsMode.NONE) as opened:
        yield opened, wires


@pytest.mark.parametrize("manners", ["", "no-pipelining", "lf", "split", "slow 0.01"])
@pytest.mark.parametrize("tls", ["", "; starttls"], ids=["plain", "tls"])
async def test_send_announced_mails_arrive_each_once_in_order(manners: str, tls: str) -> None:
    """Five mails, each announcing the next, whatever the form of the replies, in clear and in TLS."""
    mails = [mail(f"n{number}") for number in range(5)]
    async with ScriptedMx(Listener(manners=manners + tls)) as mx:
        async with session(mx.port) as opened:
            for envelope, then in zip(mails, [*mails[1:], None], strict=True):
                assert (await opened.send(envelope, then)).accepted
                assert opened.conversation.said.count(len(envelope.content) + 1) == 1  # stuffed with a dot
                assert str(opened.conversation.said).count("RCPT") == 1
        assert [entry.rcpt_to for entry in mx.entries] == [envelope.recipient for envelope in mails]
        assert [entry.size_bytes for entry in mx.entries] == [len(envelope.content) for envelope in mails]
        assert mx.record.connections == 1
        assert mx.record.commands[-1] == "QUIT"


async def test_send_announced_commands_come_with_the_dot_and_content_waits_for_its_reply() -> None:
    """One write holds content, dot and the next commands; the next content is not sent before the dot is answered."""
    seen: list[bytes] = []

    async def script(wire: Wire) -> None:
        await wire.hear(ANNOUNCED)
        await asyncio.sleep(0.1)
        seen.append(bytes(wire.received))
        await wire.say(b"250 kept\r\n" + GO)
        await wire.hear(b"\r\n.\r\n")
        await wire.say(b"250 kept\r\n")

    async with talk(script) as (opened, wires):
        assert (await opened.send(A, B)).accepted
        assert (await opened.send(B)).accepted
        assert b"hi b" not in seen[0]
        assert wires[0].received.count(b"\r\n..hi b\r\n.\r\n") == 1


@pytest.mark.parametrize("stage", ["rcpt", "data", "dot"])
async def test_send_refusals_of_announced_mails_are_theirs_and_the_others_go(stage: str) -> None:
    """Every other mail is refused, at each stage: outcomes are those of the right mail, and RSET clears what is open."""
    mails = [mail(("bad" if number % 2 else "good") + str(number)) for number in range(6)]
    rules = {f"bad{number}@example.com": f"reject {stage} 550 5.7.1 no bad{number}" for number in range(6)}
    async with ScriptedMx(Listener(recipients=rules)) as mx:
        async with session(mx.port) as opened:
            for envelope, then in zip(mails, [*mails[1:], None], strict=True):
                outcome = await opened.send(envelope, then)
                if envelope.recipient.startswith("good"):
                    assert outcome.accepted
                else:
                    assert (outcome.kind, outcome.phase) == (OutcomeKind.REJECTED, SmtpPhase(stage))
                    assert outcome.reply is not None
                    assert envelope.recipient.split("@")[0] in outcome.reply.text
        assert [entry.rcpt_to for entry in mx.entries] == [m.recipient for m in mails if m.recipient.startswith("good")]
        assert mx.record.connections == 1


@pytest.mark.parametrize("last", [b"", b"421 4.3.2 bye\r\n", b"250 ok\r\n", b"250 ok\r\n250 ok\r\n", GO])
async def test_send_server_closes_behind_the_dots_reply_next_mail_was_not_sent(last: bytes) -> None:
    """The first mail is accepted; the second's content never left, however far its commands got."""

    async def script(wire: Wire) -> None:
        await wire.hear(ANNOUNCED)
        await wire.say(b"250 kept\r\n" + last)
        wire.writer.close()

    async with talk(script) as (opened, wires):
        assert (await opened.send(A, B)).accepted
        await asyncio.sleep(0.05)
        assert not opened.usable
        outcome = await opened.send(B)
        if last.startswith(b"421"):
            assert (outcome.kind, outcome.phase) == (OutcomeKind.REJECTED, SmtpPhase.MAIL)
        else:
            assert outcome.kind is OutcomeKind.LOST_BEFORE_DOT
        assert not outcome.unknown
        assert b"hi b" not in wires[0].received


@pytest.mark.parametrize("ends", ["closed", "silent"])
async def test_send_dots_reply_lost_first_is_unknown_and_next_was_not_sent(ends: str) -> None:
    """What was announced does not change what is known of the mail before it."""

    async def script(wire: Wire) -> None:
        await wire.hear(ANNOUNCED)
        if ends == "closed":
            wire.writer.close()
        else:
            await asyncio.sleep(5)

    async with talk(script) as (opened, wires):
        assert (await opened.send(A, B)).unknown
        assert not opened.usable
        assert b"hi b" not in wires[0].received


async def test_send_server_that_forgets_what_follows_the_dot_is_not_asked_so_again() -> None:
    """Input dropped behind the dot: the mail is safe to try again, and the next connection goes step by step."""

    async def script(wire: Wire) -> None:
        await wire.hear(ANNOUNCED)
        await wire.say(b"250 kept\r\n")
        await asyncio.sleep(5)

    async with talk(script) as (opened, wires):
        assert (await opened.send(A, B)).accepted
        outcome = await opened.send(B)
        assert (outcome.kind, outcome.phase) == (OutcomeKind.TIMEOUT_BEFORE_DOT, SmtpPhase.MAIL)
        assert b"hi b" not in wires[0].received
        assert BROKEN_OFFERS.without(opened.peer, Extensions(pipelining=True), 0.0) == Extensions()


async def test_send_server_that_answers_503_behind_the_dot_gets_the_mail_step_by_step() -> None:
    """Out of order, says the server: the same mail is offered again on the same connection, and once only."""

    async def script(wire: Wire) -> None:
        await wire.hear(ANNOUNCED)
        await wire.say(b"250 kept\r\n503 5.5.1 order\r\n503 5.5.1 order\r\n503 5.5.1 order\r\n")
        await wire.hear(b"RSET\r\n")
        await wire.say(b"250 ok\r\n")
        for answer in (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            await wire.hear(b"\r\n")
            await wire.say(answer)
        await wire.hear(b"\r\n.\r\n")
        await wire.say(b"250 kept\r\n")

    async with talk(script) as (opened, wires):
        assert (await opened.send(A, B)).accepted
        assert (await opened.send(B, C)).accepted
        assert not opened.extensions.pipelining
        assert wires[0].received.count(b"hi b") == 1
        assert b"RCPT TO:<c@" not in wires[0].received, "announced in a way that the server does not keep"


@pytest.mark.parametrize("extra", [b"250 kept too\r\n", b"250 kep"], ids=["whole", "begun"])
async def test_send_too_many_replies_behind_the_dot_nothing_more_is_sent(extra: bytes) -> None:
    """A fourth reply, or its beginning, cannot be to content that was not written: taken for one, it could lose a mail."""

    async def script(wire: Wire) -> None:
        await wire.hear(ANNOUNCED)
        await wire.say(b"250 kept\r\n" + GO + extra)
        await wire.hear(b"hi b")
        await wire.say(b"t too\r\n")

    async with talk(script) as (opened, wires):
        assert (await opened.send(A, B)).accepted
        outcome = await opened.send(B)
        assert not outcome.accepted
        assert not outcome.unknown
        assert b"hi b" not in wires[0].received


async def test_quit_where_content_was_announced_drops_the_connection() -> None:
    """A server that waits for content would take QUIT for it."""

    async def script(wire: Wire) -> None:
        await wire.hear(ANNOUNCED)
        await wire.say(b"250 kept\r\n" + GO)

    async with talk(script) as (opened, wires):
        assert (await opened.send(A, B)).accepted
        await asyncio.sleep(0.05)
        await opened.quit()
        await asyncio.sleep(0.05)
        assert b"QUIT" not in wires[0].received
        assert not opened.usable


async def test_send_another_mail_than_announced_is_an_error_of_ours() -> None:
    """The server would put one mail's content under another's envelope."""
    async with ScriptedMx(Listener()) as mx, session(mx.port) as opened:
        assert (await opened.send(A, B)).accepted
        with pytest.raises(RuntimeError, match="announced"):
            await opened.send(C)
        assert [entry.rcpt_to for entry in mx.entries] == [A.recipient]


async def test_send_announced_mail_that_must_not_go_is_not_announced() -> None:
    """What no server may be sent is found before its MAIL is written."""
    unsafe = Envelope("b@example.jp", "x@example.com", b"Subject: x\r\n\r\nhalf\n.\r\n")
    async with ScriptedMx(Listener()) as mx:
        async with session(mx.port) as opened:
            assert (await opened.send(A, unsafe)).accepted
            assert (await opened.send(B)).accepted
        assert not any("x@example.com" in command for command in mx.record.commands)


class StuckTransport(asyncio.Transport):
    """Takes all writes and says how much of them has not left."""

    def __init__(self, unsent_bytes: int, connection: socket.socket) -> None:
        super().__init__({"socket": connection})
        self.unsent_bytes, self.written = unsent_bytes, b""

    def write(self, data: Any) -> None:
        """Keep."""
        self.written += bytes(data)

    def get_write_buffer_size(self) -> int:
        """Bytes that have not left."""
        return self.unsent_bytes

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing to limit."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Nobody to call."""

    def is_closing(self) -> bool:
        """Never."""
        return False

    def abort(self) -> None:
        """Nothing to end."""


@pytest.mark.parametrize(("unsent_bytes", "unknown"), [(0, True), (20, True), (90, True), (5000, False)])
async def test_send_lost_with_only_the_announced_commands_unsent_is_unknown(unsent_bytes: int, unknown: bool) -> None:
    """Where the dot may have left, nobody says that it has not: what still waits may be the commands behind it."""
    with socket.socket() as gone:
        transport = StuckTransport(unsent_bytes, gone)
        peer = Peer("mx.example.jp", "127.0.0.1", 25, None, None)
        opened = SmtpSession(transport, SessionParameters(peer, Extensions(pipelining=True), SmtpTimeouts()))
        sending = asyncio.create_task(opened.send(Envelope("b@x.example", "a@x.example", b"y\r\n" * 9000), B))
        await asyncio.sleep(0)
        opened.data_received(GO)
        assert transport.written.endswith(ANNOUNCED)
        opened.connection_lost(None)
        assert (await sending).unknown is unknown
