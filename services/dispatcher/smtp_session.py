"""One warm SMTP connection: mails in, outcomes out, one after the other.

Promises: ``send`` always returns an ``Outcome`` in bounded time, whatever the peer does. A server that does not keep
what it offered in EHLO is asked again without, as long as no content was sent. Where the server offers PIPELINING, the
commands of the next mail follow the final dot in one write (RFC 2920 §3.1: a group may begin with content), so that a
mail takes one round trip; its content waits for the replies to all of that.
Fails: ``send`` raises ``EnvelopeRefused`` before anything is written. If its task is cancelled, the connection is
aborted and the mail may have been taken if the dot was out: its claim must become ``unknown``.
"""

import asyncio
import contextlib
import time
from typing import Final

from hayabin.domain.smtp_reply import SmtpPhase
from services.dispatcher.announced import Announced
from services.dispatcher.envelope import Envelope, EnvelopeRefused, wire_content
from services.dispatcher.pipelining import BROKEN_OFFERS
from services.dispatcher.smtp_channel import SmtpChannel
from services.dispatcher.smtp_outcome import Interruption, Outcome, OutcomeKind, broken_off
from services.dispatcher.smtp_parameters import Peer, SessionParameters, SmtpTimeouts
from services.dispatcher.smtp_transaction import Extensions, Step, Transaction
from services.dispatcher.transcript import Conversation

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

_WAIT: Final = Step.WAIT  # looked up once: it is compared for every mail


class SmtpSession(SmtpChannel):
    """A connection past EHLO (and STARTTLS); made by ``connect.open_session``."""

    def __init__(self, transport: asyncio.Transport, parameters: SessionParameters) -> None:
        """Take over ``transport``, which must be idle; bytes already read go to ``data_received``."""
        super().__init__(transport, parameters.timeouts)
        self.peer = parameters.peer
        self.extensions = BROKEN_OFFERS.without(self.peer, parameters.extensions, time.monotonic())
        self.transactions = 0  # begun on this connection
        self._opening = parameters.opening

    @property
    def conversation(self) -> Conversation:
        """What was said for the last mail, or for the one under way."""
        return Conversation(self.peer, self.transactions, self._opening, self._said)

    async def send(self, envelope: Envelope, then: Envelope | None = None) -> Outcome:
        """Carry one mail through a transaction; ``then`` is what the next call will send, unless this one closes.

        Raises: EnvelopeRefused before anything is written; RuntimeError if a mail is already under way, or if another
            one was announced.
        """
        if self._waiter is not None:
            raise RuntimeError("one mail at a time")
        ahead = self._announced_as(envelope)
        self._said = []
        content = wire_content(envelope.content) if ahead is None else ahead.content
        if ahead is None and (refusal := self._refusal(envelope)) is not None:
            return refusal
        started = time.perf_counter()  # uvloop's own clock counts milliseconds
        self._content = content
        self.transactions += 1
        self._next = self._prepared(then)
        outcome: Outcome | None = None
        while outcome is None:
            transaction = (
                Transaction(envelope, self.extensions, reset=self._reset) if ahead is None else ahead.transaction
            )
            self._transaction = transaction
            self._waiter = self._loop.create_future()
            try:
                if ahead is None:
                    self._deadline.move(self._timeouts.mail_s)
                    self._write(transaction.command)
                else:
                    self._take_up(ahead)
                outcome = await self._waiter
            finally:
                if not self._waiter.done() or self._waiter.cancelled():
                    self.abort()
                self._waiter = self._transaction = self._rest = None
            if outcome.kind is not OutcomeKind.ACCEPTED:
                outcome = self._conceded(transaction, outcome, ahead=ahead is not None)
            ahead = None
        return Outcome(outcome.phase, outcome.kind, outcome.reply, time.perf_counter() - started)

    def _announced_as(self, envelope: Envelope) -> Announced | None:
        """What was written of this mail behind the last final dot.

        Raises: RuntimeError if it was another mail: the server would put one mail's content under another's envelope.
        """
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead.envelope is not envelope:
            self.abort()
            raise RuntimeError("another mail was announced")
        return ahead

    def _refusal(self, envelope: Envelope) -> Outcome | None:
        """Give the outcome of a mail that cannot be offered here."""
        return self.extensions.refusal(envelope) or (None if self.usable else self._without_connection())

    def _prepared(self, envelope: Envelope | None) -> Announced | None:
        """The transaction that may follow the final dot of the mail at hand."""
        offers = self.extensions
        if envelope is None or not offers.pipelining or offers.refusal(envelope) is not None:
            return None
        try:
            content = wire_content(envelope.content)
        except EnvelopeRefused:  # as it will be when its turn comes
            return None
        return Announced(envelope, content, Transaction(envelope, offers, reset=False))

    def _take_up(self, ahead: Announced) -> None:
        """Go on with a transaction from where it has come while nobody waited for it."""
        transaction, step, self._said = ahead.transaction, ahead.step, ahead.said
        if transaction.outcome is not None:
            self._finish(transaction, transaction.outcome)
        elif self._closing or self._transport.is_closing():
            self._finish(transaction, transaction.interrupted(Interruption.LOST))
        elif step is _WAIT:
            self._deadline.move(self._patience_s[transaction.phase])
        else:
            self._go_on(step, transaction)

    def _conceded(self, transaction: Transaction, outcome: Outcome, *, ahead: bool) -> Outcome | None:
        """Give the outcome, or None if the mail is to be offered again because of what the server does not keep."""
        fewer = transaction.concession(outcome, behind_dot=ahead)
        if fewer is None:
            return outcome
        lacking = "SIZE" if self.extensions.pipelining == fewer.pipelining else "PIPELINING"
        if lacking == "PIPELINING":
            BROKEN_OFFERS.note(self.peer, time.monotonic())
        self._next = None  # it was to be offered in the same way
        self._said.append(f"the server offers {lacking} and does not keep it")
        self.extensions = fewer
        if self.usable:
            return None
        refused_for_good = outcome.reply is not None and outcome.reply.is_permanent
        return broken_off(Interruption.GARBLED, outcome.phase, dot_sent=False) if refused_for_good else outcome

    async def quit(self) -> None:
        """Say QUIT, wait a little for the answer, and close; does nothing on a connection that is gone.

        Where a mail was announced that does not come, the server waits for its content: the connection is dropped.
        """
        if self.usable and self._waiter is None and self._ahead is None:
            self._closing = self._quitting = True
            self._transport.write(b"QUIT\r\n")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._timeouts.quit_s):
                    await asyncio.shield(self._closed)
        self.abort()

    def _without_connection(self) -> Outcome:
        """Give the outcome of a mail that found the connection closed by the server: nothing was sent."""
        if self.goodbye is not None and self.goodbye.code == 421:
            return Outcome(SmtpPhase.MAIL, OutcomeKind.REJECTED, self.goodbye)
        return broken_off(Interruption.LOST, SmtpPhase.MAIL, dot_sent=False)
