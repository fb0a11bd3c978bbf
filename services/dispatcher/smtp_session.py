"""One warm SMTP connection: mails in, outcomes out, one after the other.

Promises: ``send`` always returns an ``Outcome`` in bounded time, whatever the peer does; every stage has its timeout by
RFC 5321 §4.5.3.2; writes stop while the transport's buffer is full. A connection on which anything unforeseen happened
is not ``usable`` afterwards, so replies can never be paired with the wrong mail.
Fails: ``send`` raises ``EnvelopeRefused`` before anything is written. If its task is cancelled, the connection is
aborted and the mail may have been taken if the dot was out: its claim must become ``unknown``.

The machine runs inside the protocol's callbacks: a task is woken once per mail, and no timer is armed per mail (one
timer follows a deadline that moves).
"""

import asyncio
import contextlib
from time import perf_counter
from typing import Final, cast

from hayabin.domain.smtp_reply import ProtocolError, Reply, ReplyParser, SmtpPhase
from services.dispatcher.envelope import Envelope, EnvelopeRefused, wire_content
from services.dispatcher.smtp_outcome import Interruption, Outcome, OutcomeKind, broken_off
from services.dispatcher.smtp_parameters import Peer, SessionParameters, SmtpTimeouts
from services.dispatcher.smtp_transaction import LONE_DOT, Extensions, Step, Transaction

__all__ = [
    "Envelope",
    "EnvelopeRefused",
    "Extensions",
    "Outcome",
    "OutcomeKind",
    "Peer",
    "SessionParameters",
    "SmtpSession",
    "SmtpTimeouts",
]

# Content goes to the transport in pieces of this size, so that a full buffer is noticed.
_PIECE_BYTES: Final = 64 * 1024


class SmtpSession(asyncio.Protocol):
    """A connection past EHLO (and STARTTLS); made by ``connect.open_session``."""

    def __init__(self, transport: asyncio.Transport, parameters: SessionParameters) -> None:
        """Take over ``transport``, which must be idle; bytes already read go to ``data_received``."""
        self.peer = parameters.peer
        self.extensions = parameters.extensions
        self.transactions = 0  # begun on this connection
        self.goodbye: Reply | None = None  # a 421, or whatever the server said when nobody asked
        self._timeouts = parameters.timeouts
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._parser = ReplyParser()
        self._transaction: Transaction | None = None
        self._waiter: asyncio.Future[Outcome] | None = None
        self._content = b""
        self._rest: memoryview | None = None  # content not yet handed to the transport
        self._reset = False
        self._closing = False
        self._paused = False
        self._quitting = False
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._deadline = 0.0
        self._alarm: asyncio.TimerHandle | None = None
        transport.set_protocol(self)
        transport.set_write_buffer_limits(high=_PIECE_BYTES)  # a TLS transport would buffer eight times that

    @property
    def usable(self) -> bool:
        """True if another mail may be sent."""
        return not self._closing and not self._transport.is_closing()

    async def send(self, envelope: Envelope) -> Outcome:
        """Carry one mail through a transaction.

        Raises: EnvelopeRefused before anything is written; RuntimeError if a mail is already under way.
        """
        if self._waiter is not None:
            raise RuntimeError("one mail at a time")
        refusal = self.extensions.refusal(envelope)
        if refusal is not None:
            return refusal
        content = wire_content(envelope.content)
        if not self.usable:
            return self._without_connection()
        started = perf_counter()  # uvloop's own clock counts milliseconds
        self._content = content
        self._transaction = Transaction(envelope, self.extensions, reset=self._reset)
        self.transactions += 1
        self._waiter = self._loop.create_future()
        self._await_reply(self._timeouts.mail_s)
        self._transport.write(self._transaction.command)
        try:
            outcome = await self._waiter
        finally:
            if not self._waiter.done() or self._waiter.cancelled():
                self.abort()
            self._waiter = self._transaction = self._rest = None
        return Outcome(outcome.phase, outcome.kind, outcome.reply, perf_counter() - started)

    async def quit(self) -> None:
        """Say QUIT, wait a little for the answer, and close; does nothing on a connection that is gone."""
        if self.usable and self._waiter is None:
            self._closing = self._quitting = True
            self._transport.write(b"QUIT\r\n")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._timeouts.quit_s):
                    await asyncio.shield(self._closed)
        self.abort()

    def abort(self) -> None:
        """Drop the connection without a word."""
        self._closing = True
        self._stop_alarm()
        self._transport.abort()

    def _without_connection(self) -> Outcome:
        """Give the outcome of a mail that found the connection closed by the server: nothing was sent."""
        if self.goodbye is not None and self.goodbye.code == 421:
            return Outcome(SmtpPhase.MAIL, OutcomeKind.REJECTED, self.goodbye)
        return broken_off(Interruption.LOST, SmtpPhase.MAIL, dot_sent=False)

    # --- callbacks of the transport

    def data_received(self, data: bytes) -> None:
        """Take bytes of the server."""
        try:
            replies = self._parser.feed(data)
        except ProtocolError:
            self._break_off(Interruption.GARBLED)
            return
        for reply in replies:
            if self._waiter is None or self._waiter.done():
                self._unasked(reply)
            else:
                self._step(cast("Transaction", self._transaction).take(reply))
        if self._parser.broken is not None:
            self._break_off(Interruption.GARBLED)

    def eof_received(self) -> None:
        """Take note that the server will say nothing more."""
        self._break_off(Interruption.LOST)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 — every way of losing it is the same
        """Take note that the connection is gone."""
        self._break_off(Interruption.LOST)
        if not self._closed.done():
            self._closed.set_result(None)

    def pause_writing(self) -> None:
        """Stop handing content to the transport."""
        self._paused = True

    def resume_writing(self) -> None:
        """Go on where writing stopped."""
        self._paused = False
        if self._rest is not None:
            self._write_pieces()

    # --- the machine

    def _step(self, step: Step) -> None:
        transaction = cast("Transaction", self._transaction)
        match step:
            case Step.CONTENT:
                self._write_content()
            case Step.DONE:
                self._finish(cast("Outcome", transaction.outcome))
            case Step.WAIT:
                self._await_reply(self._patience(transaction.phase))
            case Step.WRITE:
                self._await_reply(self._patience(transaction.phase))
                self._transport.write(transaction.command)
            case Step.DONE_CLOSE:
                self._finish(cast("Outcome", transaction.outcome))
                self._shut()

    def _patience(self, phase: SmtpPhase) -> float:
        match phase:
            case SmtpPhase.RCPT:
                return self._timeouts.rcpt_s
            case SmtpPhase.DATA:
                return self._timeouts.data_s
            case _:
                return self._timeouts.mail_s

    def _write_content(self) -> None:
        if len(self._content) <= _PIECE_BYTES and not self._paused:
            self._transport.writelines((self._content, LONE_DOT))
            cast("Transaction", self._transaction).dot_sent()
            self._await_reply(self._timeouts.dot_s)
        else:
            self._rest = memoryview(self._content)
            self._write_pieces()

    def _write_pieces(self) -> None:
        rest = cast("memoryview", self._rest)
        while rest and not self._paused:
            self._transport.write(rest[:_PIECE_BYTES])
            rest = rest[_PIECE_BYTES:]
        if rest or self._paused:
            self._rest = rest
            self._await_reply(self._timeouts.block_s)
            return
        self._rest = None
        self._transport.write(LONE_DOT)
        cast("Transaction", self._transaction).dot_sent()
        self._await_reply(self._timeouts.dot_s)

    def _finish(self, outcome: Outcome) -> None:
        self._rest = None
        self._reset = cast("Transaction", self._transaction).left_open
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(outcome)

    def _break_off(self, cause: Interruption) -> None:
        """End the transaction under way, if any, and the connection.

        Not at once: a TLS transport calls us in the middle of its own reading, and must not be closed there.
        """
        if self._waiter is not None and not self._waiter.done():
            self._finish(self._interrupted(cause))
        self._closing = True
        self._stop_alarm()
        self._loop.call_soon(self._transport.abort)

    def _interrupted(self, cause: Interruption) -> Outcome:
        outcome = cast("Transaction", self._transaction).interrupted(cause)
        if outcome.unknown and self._transport.get_write_buffer_size() > 0:
            # The end of the content, and so the dot, never left this process, and never will.
            return broken_off(cause, SmtpPhase.DATA, dot_sent=False)
        return outcome

    def _unasked(self, reply: Reply) -> None:
        """Take a reply that answers nothing of ours: 421 says why the server closes; anything else is out of step."""
        if self.goodbye is None and not self._quitting:
            self.goodbye = reply
        self._shut()

    def _shut(self) -> None:
        """Close; what the peer has not taken by now is dropped, as closing would wait for it for ever."""
        self._closing = True
        self._loop.call_soon(self._shut_now)

    def _shut_now(self) -> None:
        if self._transport.get_write_buffer_size() > 0:
            self.abort()
        else:
            self._transport.close()

    # --- one timer for a deadline that moves

    def _await_reply(self, timeout_s: float) -> None:
        self._deadline = deadline = self._loop.time() + timeout_s
        if self._alarm is None or deadline < self._alarm.when():
            self._stop_alarm()
            self._alarm = self._loop.call_at(deadline, self._look_at_clock)

    def _look_at_clock(self) -> None:
        self._alarm = None
        if self._waiter is None or self._waiter.done():
            return
        if self._loop.time() < self._deadline:
            self._alarm = self._loop.call_at(self._deadline, self._look_at_clock)
            return
        self._finish(self._interrupted(Interruption.TIMEOUT))
        self.abort()

    def _stop_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
