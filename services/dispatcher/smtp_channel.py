"""What goes over one SMTP connection: commands and content out, replies in, each taken for the command that it answers.

Promises: runs inside the protocol's callbacks, so a task is woken once per mail, and no timer is armed per mail. Every
stage has its timeout by RFC 5321 §4.5.3.2; writes stop while the transport's buffer is full. A connection on which
anything unforeseen happened is not ``usable`` afterwards, so replies can never be paired with the wrong mail, nor with
a command that was not yet written.
Fails: nothing comes out of a callback; how the mail under way ends is the result of its waiter.
"""

import asyncio
import socket
from typing import Final

from hayabin.crash_points import CrashPoint, reach
from hayabin.domain.smtp_reply import ProtocolError, Reply, ReplyParser, SmtpPhase
from services.dispatcher.announced import Announced
from services.dispatcher.egress import acknowledge_at_once, nothing_leaves
from services.dispatcher.moving_deadline import MovingDeadline
from services.dispatcher.smtp_outcome import Interruption, Outcome, broken_off
from services.dispatcher.smtp_parameters import SmtpTimeouts
from services.dispatcher.smtp_transaction import LONE_DOT, Step, Transaction
from services.dispatcher.transcript import Said

# Content goes to the transport in pieces of this size, so that a full buffer is noticed.
_PIECE_BYTES: Final = 64 * 1024
# Looked up once: they are compared for every reply.
_WAIT, _CONTENT, _DONE, _DONE_CLOSE = Step.WAIT, Step.CONTENT, Step.DONE, Step.DONE_CLOSE
_GARBAGE_BYTES: Final = 100  # of what is no reply, for the transcript
_RECORDS_BYTES: Final = 512  # what TLS may add to the commands behind a final dot


class SmtpChannel(asyncio.Protocol):
    """See the module; whoever sends sets ``_transaction`` and ``_waiter``, writes the first command and waits."""

    def __init__(self, transport: asyncio.Transport, timeouts: SmtpTimeouts) -> None:
        """Take over ``transport``, which must be idle; bytes already read go to ``data_received``."""
        self.goodbye: Reply | None = None  # a 421, or whatever the server said when nobody asked
        self._said: list[Said] = []  # for the mail at hand; references only, as this runs for every mail
        self._timeouts = timeouts
        self._patience_s = {"mail": timeouts.mail_s, "rcpt": timeouts.rcpt_s, "data": timeouts.data_s}
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._socket: socket.socket | None = transport.get_extra_info("socket")
        self._parser = ReplyParser()
        self._transaction: Transaction | None = None
        self._next: Announced | None = None  # to be written behind the final dot of the mail at hand
        self._ahead: Announced | None = None  # written so
        self._waiter: asyncio.Future[Outcome] | None = None
        self._content = b""
        self._rest: memoryview | None = None  # content not yet handed to the transport
        self._reset = self._closing = self._paused = self._quitting = False
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._deadline = MovingDeadline(self._loop, self._timed_out)
        transport.set_protocol(self)
        transport.set_write_buffer_limits(high=_PIECE_BYTES)  # a TLS transport would buffer eight times that

    @property
    def usable(self) -> bool:
        """True if another mail may be sent; not where a reply has begun that nobody asked for."""
        unasked = self._parser.pending and self._waiter is None and self._ahead is None
        return not (self._closing or self._transport.is_closing() or unasked)

    def cut_short(self) -> None:
        """End a transaction whose final dot is not out: nothing was taken. One whose dot is out goes on."""
        if self._transaction is not None and not self._transaction.dot_is_out:
            self._break_off(Interruption.LOST)

    def abort(self) -> None:
        """Drop the connection without a word."""
        self._closing = True
        self._deadline.stop()
        self._drop()

    def _drop(self) -> None:
        if not self._closed.done():  # asyncio's TLS transport (before 3.11.4) fails where there is nothing to abort
            self._transport.abort()

    # --- callbacks of the transport

    def data_received(self, data: bytes) -> None:
        """Take bytes of the server."""
        try:
            replies = self._parser.feed(data)
        except ProtocolError:
            self._garbled(data)
            return
        waiter, transaction = self._waiter, self._transaction  # neither changes until the task runs again
        step = None
        for number, reply in enumerate(replies, 1):
            if waiter is None or transaction is None or waiter.done():
                self._take_ahead(reply)
                continue
            self._said.append(reply)
            step = transaction.take(reply)
            if step is not _WAIT:
                behind = replies[number] if number < len(replies) else None
                if not self._act(step, transaction, behind):
                    self._garbled(data)
                    return
        self._look_at_rest(data, transaction if step is _WAIT else None)

    def _look_at_rest(self, data: bytes, waiting: Transaction | None) -> None:
        """After the replies that have come: what has begun behind them, and what is still to come."""
        ahead = self._ahead
        if self._parser.broken is not None or (ahead is not None and ahead.step is not _WAIT and self._parser.pending):
            self._garbled(data)
        elif ahead is not None or waiting is not None:
            if waiting is not None and ahead is None:
                self._deadline.move(self._patience_s[waiting.phase])
            if ahead is None or ahead.step is _WAIT:
                acknowledge_at_once(self._socket)  # the next reply did not come with the others

    def _act(self, step: Step, transaction: Transaction, behind: Reply | None) -> bool:
        """Do what a reply calls for, ``behind`` which another has come; False where the server is not to be trusted."""
        if step is _DONE or step is _DONE_CLOSE:
            self._finish(transaction, transaction.outcome)
            if step is _DONE_CLOSE:
                self._shut()
        elif behind is not None or self._parser.pending or self._parser.broken is not None:
            # The server answers what was not yet written: taken for the reply to the dot, that could lose a mail.
            return behind is not None and behind.code == 421
        else:
            self._go_on(step, transaction)
        return True

    def _take_ahead(self, reply: Reply) -> None:
        """Take a reply when no mail is under way: to what was written behind the last final dot, or to nothing."""
        ahead = self._ahead
        if ahead is None or not ahead.take(reply):
            self._unasked(reply)
        elif ahead.step is _DONE_CLOSE:
            self._shut()

    def _garbled(self, data: bytes) -> None:
        # Not behind content, which the server could repeat.
        if self._waiter is not None and self._rest is None and LONE_DOT not in self._said:
            self._said.append(f"the server does not keep to SMTP: {data[:_GARBAGE_BYTES]!r}")
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
        if self._rest is not None and self._transaction is not None:
            self._write_pieces(self._rest, self._transaction)

    # --- the machine

    def _go_on(self, step: Step, transaction: Transaction) -> None:
        if step is _CONTENT:
            self._write_content(transaction)
        else:
            self._deadline.move(self._patience_s[transaction.phase])
            self._write(transaction.command)

    def _write(self, command: bytes) -> None:
        self._said.append(command)
        self._transport.write(command)

    def _write_content(self, transaction: Transaction) -> None:
        if len(self._content) <= _PIECE_BYTES and not self._paused:
            following, self._next = self._next, None
            if following is None:
                self._transport.writelines((self._content, LONE_DOT))
            else:
                self._transport.writelines((self._content, LONE_DOT, following.transaction.command))
                self._ahead = following
            self._dot_sent(transaction)
        else:
            self._rest = memoryview(self._content)
            self._write_pieces(self._rest, transaction)

    def _write_pieces(self, rest: memoryview, transaction: Transaction) -> None:
        while rest and not self._paused:
            self._transport.write(rest[:_PIECE_BYTES])
            rest = rest[_PIECE_BYTES:]
        if rest or self._paused:
            self._rest = rest
            self._deadline.move(self._timeouts.block_s)
            return
        self._rest = None
        self._transport.write(LONE_DOT)
        self._dot_sent(transaction)

    def _dot_sent(self, transaction: Transaction) -> None:
        self._said += (len(self._content), LONE_DOT)
        transaction.dot_sent()
        reach(CrashPoint.SMTP_DOT_SENT)
        self._deadline.move(self._timeouts.dot_s)

    def _finish(self, transaction: Transaction, outcome: Outcome | None) -> None:
        if self._rest is not None:
            self._said.append(len(self._content) - len(self._rest))
            self._rest = None
        self._reset = transaction.left_open
        if outcome is not None and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(outcome)

    def _interrupt(self, cause: Interruption) -> None:
        """End the transaction under way, if any."""
        transaction = self._transaction
        if transaction is None or self._waiter is None or self._waiter.done():
            return
        outcome = transaction.interrupted(cause)
        behind_dot = 0 if self._ahead is None else len(self._ahead.transaction.command) + _RECORDS_BYTES
        if outcome.unknown and self._transport.get_write_buffer_size() > behind_dot and nothing_leaves(self._socket):
            # The end of the content, and so the dot, never left this process, and never will.
            outcome = broken_off(cause, SmtpPhase.DATA, dot_sent=False)
        self._finish(transaction, outcome)

    def _break_off(self, cause: Interruption) -> None:
        """End the transaction under way, if any, and the connection.

        Not at once: a TLS transport calls us in the middle of its own reading, and must not be closed there.
        """
        self._interrupt(cause)
        self._closing = True
        self._deadline.stop()
        self._loop.call_soon(self._drop)

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

    def _timed_out(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._interrupt(Interruption.TIMEOUT)
            self.abort()
