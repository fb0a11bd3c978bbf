"""One mail transaction as a state machine without I/O: replies in, the next thing to write or the outcome out.

Promises: the outcome follows from the replies alone, in order; content goes out only after MAIL and RCPT were both
accepted and DATA got 354; ``left_open`` tells when the next transaction must begin with RSET.
It does not fail: a reply that does not fit gives a ``garbled`` outcome and an unusable connection.

With PIPELINING the commands MAIL, RCPT, DATA go in one write and all their replies are read (RFC 2920 §3.1); a server
that answers 354 although it refused the recipient gets a lone dot, whose reply means nothing. Where the server refused
MAIL but took RCPT, a lone dot could deliver an empty mail, so the connection is given up instead. ``concession`` tells
refusals of the mail from those of an extension that the server had offered.
"""

import re
from dataclasses import dataclass, replace
from enum import Enum, IntEnum
from typing import Final

from hayabin.domain.smtp_reply import Reply, SmtpPhase
from services.dispatcher.envelope import Envelope
from services.dispatcher.smtp_outcome import Interruption, Outcome, OutcomeKind, broken_off

LONE_DOT: Final = b".\r\n"


class Step(Enum):
    """What the connection must do after a reply."""

    WAIT = "wait"  # for the next reply
    WRITE = "write"  # ``command``
    CONTENT = "content"  # write content and final dot, then call ``dot_sent``
    DONE = "done"  # ``outcome`` is known, the connection is good
    DONE_CLOSE = "done_close"  # ``outcome`` is known, the connection is not to be used again


class _Stage(IntEnum):
    """Whose reply is awaited."""

    RESET = 0
    MAIL = 1
    RCPT = 2
    DATA = 3
    DOT = 4
    DISCARD = 5


# Looked up once: the comparisons below run for every reply.
_RESET, _MAIL, _RCPT, _DATA, _DOT = _Stage.RESET, _Stage.MAIL, _Stage.RCPT, _Stage.DATA, _Stage.DOT
_PHASES: Final = (
    SmtpPhase.MAIL,
    SmtpPhase.MAIL,
    SmtpPhase.RCPT,
    SmtpPhase.DATA,
    SmtpPhase.DOT,
    SmtpPhase.DATA,
)
# What servers answer to commands that they take for out of order, or did not await yet.
_OUT_OF_ORDER: Final = frozenset({500, 502, 503})
_ABOUT_PIPELINING: Final = re.compile("pipelin|synchroni[sz]ation", re.IGNORECASE)
_BAD_PARAMETER: Final = frozenset({501, 504, 555})


@dataclass(frozen=True, slots=True)
class Extensions:
    """What the server's EHLO reply offered and we make use of; sizes in bytes, 0 = no limit stated."""

    pipelining: bool = False  # RFC 2920
    eight_bit_mime: bool = False  # RFC 6152
    smtputf8: bool = False  # RFC 6531
    size: bool = False  # RFC 1870
    size_limit_bytes: int = 0

    def refusal(self, envelope: Envelope) -> Outcome | None:
        """Give the refusal that is certain before anything is sent, if there is one.

        Source: RFC 1870 §6.1, RFC 6152 §3, RFC 6531 §3.4.
        """
        if self.size_limit_bytes and len(envelope.content) > self.size_limit_bytes:
            return _refused_here(552, "5.3.4", "the mail is larger than the server's SIZE")
        if not self.smtputf8 and envelope.needs_smtputf8:
            return _refused_here(553, "5.6.7", "the address needs SMTPUTF8, which the server lacks")
        if not self.eight_bit_mime and not envelope.content.isascii():
            return _refused_here(554, "5.6.3", "the mail needs 8BITMIME, which the server lacks")
        return None


def _refused_here(code: int, enhanced: str, text: str) -> Outcome:
    return Outcome(SmtpPhase.MAIL, OutcomeKind.REJECTED, Reply(code, enhanced, f"{text} (nothing was sent)"))


class Transaction:
    """One envelope on its way over one connection; ``command`` is what to write first, and at each ``Step.WRITE``."""

    __slots__ = (
        "_dot_sent",
        "_later",
        "_offers",
        "_pipelined",
        "_rcpt_taken",
        "_refused",
        "_reset",
        "_stage",
        "command",
        "outcome",
    )

    def __init__(self, envelope: Envelope, extensions: Extensions, *, reset: bool) -> None:
        """Prepare the first write; ``reset`` if the last transaction left the server with an envelope."""
        self._stage: _Stage = _RESET if reset else _MAIL
        self._offers = extensions
        self._reset = reset
        self._pipelined = extensions.pipelining
        self._refused: Outcome | None = None
        self._rcpt_taken = False
        self._dot_sent = False
        self.outcome: Outcome | None = None
        mail = f"MAIL FROM:<{envelope.return_path}>{_parameters(envelope, extensions)}\r\n"
        rcpt = f"RCPT TO:<{envelope.recipient}>\r\n"
        if self._pipelined:
            self._later: list[bytes] = []
            start = "RSET\r\n" if reset else ""
            self.command = f"{start}{mail}{rcpt}DATA\r\n".encode()
        else:
            self._later = [b"DATA\r\n", rcpt.encode(), mail.encode()]
            self.command = b"RSET\r\n" if reset else self._later.pop()

    @property
    def phase(self) -> SmtpPhase:
        """Where the transaction stands."""
        return SmtpPhase.DATA if self._stage is _DOT and not self._dot_sent else _PHASES[self._stage]

    @property
    def left_open(self) -> bool:
        """True if the server may still hold the envelope of this transaction.

        Source: RFC 5321 §4.1.1.4 (the final dot clears all buffers, whatever its reply).
        """
        return self._stage is not _DOT

    @property
    def dot_is_out(self) -> bool:
        """True if the final dot was handed to the transport."""
        return self._dot_sent

    def dot_sent(self) -> None:
        """Take note that the final dot was handed to the transport."""
        self._dot_sent = True

    def take(self, reply: Reply) -> Step:
        """Take the next reply and tell what to do."""
        code, stage = reply.code, self._stage
        if code == 421:
            # The server closes the channel (RFC 5321 §3.8); no other reply will come.
            self.outcome = self._refused or Outcome(self.phase, OutcomeKind.REJECTED, reply)
            return Step.DONE_CLOSE
        if stage is _MAIL or stage is _RCPT:
            return self._take_envelope(reply)
        if stage is _DATA:
            return self._take_data(reply)
        if stage is _DOT:
            return self._take_dot(reply)
        if stage is _RESET:
            if not 200 <= code < 300:
                return self._garbled()
            self._stage = _MAIL
            return self._next_command()
        self.outcome = self._refused  # the lone dot's reply
        return Step.DONE

    def interrupted(self, cause: Interruption) -> Outcome:
        """Give the outcome if no further reply can come; a refusal that came before stands."""
        return self._refused or broken_off(cause, self.phase, dot_sent=self._dot_sent)

    def concession(self, outcome: Outcome, *, behind_dot: bool = False) -> Extensions | None:
        """Give what to make use of instead if the server did not keep what it offered; None if that is not why.

        ``behind_dot``: the commands followed the final dot of the mail before in one write.
        No content was sent then, so that the same mail may be offered again.
        Source: RFC 2920 §3.2, RFC 1870 §5 (a client may leave SIZE out), RFC 5321 §4.1.1.11 (555).
        """
        offers, stage, reply = self._offers, self._stage, outcome.reply
        if stage is _DOT or outcome.kind not in (OutcomeKind.REJECTED, OutcomeKind.TIMEOUT_BEFORE_DOT):
            return None
        behind_another = behind_dot or outcome.phase is not SmtpPhase.MAIL or (self._reset and stage is not _RESET)
        if reply is None:  # it answered to the first of our commands and then waits for others, as we do
            return replace(offers, pipelining=False) if offers.pipelining and behind_another else None
        out_of_order = behind_another and reply.code in _OUT_OF_ORDER
        if offers.pipelining and (out_of_order or _ABOUT_PIPELINING.search(reply.text)):
            return replace(offers, pipelining=False)
        if offers.size and outcome.phase is SmtpPhase.MAIL and reply.code in _BAD_PARAMETER:
            return replace(offers, size=False)
        return None

    def _next_command(self) -> Step:
        if self._pipelined:
            return Step.WAIT
        self.command = self._later.pop()
        return Step.WRITE

    def _take_envelope(self, reply: Reply) -> Step:
        stage = self._stage
        if 200 <= reply.code < 300:
            self._rcpt_taken = stage is _RCPT
        elif reply.code < 400:
            return self._garbled()
        elif self._refused is None:
            self._refused = Outcome(_PHASES[stage], OutcomeKind.REJECTED, reply)
            if not self._pipelined:
                self.outcome = self._refused
                return Step.DONE
        self._stage = _RCPT if stage is _MAIL else _DATA
        return self._next_command()

    def _take_data(self, reply: Reply) -> Step:
        if reply.code == 354:
            if self._refused is None:
                self._stage = _DOT
                return Step.CONTENT
            if self._rcpt_taken:
                self.outcome = self._refused
                return Step.DONE_CLOSE
            self._stage = _Stage.DISCARD
            self.command = LONE_DOT
            return Step.WRITE
        if reply.code < 400:
            return self._garbled()
        self.outcome = self._refused or Outcome(SmtpPhase.DATA, OutcomeKind.REJECTED, reply)
        return Step.DONE

    def _take_dot(self, reply: Reply) -> Step:
        if reply.code >= 400:
            self.outcome = Outcome(self.phase, OutcomeKind.REJECTED, reply)
            return Step.DONE if self._dot_sent else Step.DONE_CLOSE
        if 200 <= reply.code < 300 and self._dot_sent:
            self.outcome = Outcome(SmtpPhase.DOT, OutcomeKind.ACCEPTED, reply)
            return Step.DONE
        # "Accepted" in the middle of the content, or another 354: nobody knows what the server has.
        self.outcome = broken_off(Interruption.GARBLED, self.phase, dot_sent=True)
        return Step.DONE_CLOSE

    def _garbled(self) -> Step:
        self.outcome = self.interrupted(Interruption.GARBLED)
        return Step.DONE_CLOSE


def _parameters(envelope: Envelope, extensions: Extensions) -> str:
    """Give the parameters of MAIL; each only where the server offers its extension (``refusal`` saw to the others)."""
    parameters = f" SIZE={len(envelope.content)}" if extensions.size else ""
    if not envelope.content.isascii():
        parameters += " BODY=8BITMIME"
    if envelope.needs_smtputf8:
        parameters += " SMTPUTF8"
    return parameters
