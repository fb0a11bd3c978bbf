"""How one SMTP transaction ended, in words that do not claim more than is known.

Promises: an outcome is ``accepted`` only with a 2yz reply to the final dot; where the dot left and no reply came, it is
``unknown`` and never counted as refused or as safe to send again.
It cannot fail.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from hayabin.domain.bounce_reason import BounceReason, Verdict, classify
from hayabin.domain.smtp_reply import Reply, SmtpPhase


class OutcomeKind(StrEnum):
    """The ways in which a transaction ends."""

    ACCEPTED = "accepted"  # 2yz to the final dot: the receiving system has taken responsibility
    REJECTED = "rejected"  # 4yz or 5yz, in ``reply``
    LOST_BEFORE_DOT = "lost_before_dot"  # the connection broke; safe to send again
    LOST_AFTER_DOT = "lost_after_dot"  # the connection broke and the mail may have been taken
    TIMEOUT_BEFORE_DOT = "timeout_before_dot"
    TIMEOUT_AFTER_DOT = "timeout_after_dot"
    GARBLED_BEFORE_DOT = "garbled_before_dot"  # the peer said what is no SMTP reply, or none that fits
    GARBLED_AFTER_DOT = "garbled_after_dot"


class Interruption(StrEnum):
    """What broke a transaction off."""

    LOST = "lost"
    TIMEOUT = "timeout"
    GARBLED = "garbled"


_UNKNOWN: Final = frozenset(
    {OutcomeKind.LOST_AFTER_DOT, OutcomeKind.TIMEOUT_AFTER_DOT, OutcomeKind.GARBLED_AFTER_DOT},
)
_NO_REPLY: Final = {
    OutcomeKind.LOST_BEFORE_DOT: BounceReason.NETWORK,
    OutcomeKind.TIMEOUT_BEFORE_DOT: BounceReason.NETWORK,
    OutcomeKind.GARBLED_BEFORE_DOT: BounceReason.PROTOCOL,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one transaction: where, how, with which reply, after how long."""

    phase: SmtpPhase
    kind: OutcomeKind
    reply: Reply | None
    duration_s: float = 0.0

    @property
    def accepted(self) -> bool:
        """True if the receiving system has taken the mail."""
        return self.kind is OutcomeKind.ACCEPTED

    @property
    def unknown(self) -> bool:
        """True if the mail may have been taken and nobody said so."""
        return self.kind in _UNKNOWN

    @property
    def verdict(self) -> Verdict | None:
        """Give what a refusal or a break means; None if the mail was accepted or its fate is unknown."""
        if self.kind is OutcomeKind.REJECTED and self.reply is not None:
            return classify(self.reply, self.phase)
        reason = _NO_REPLY.get(self.kind)
        return None if reason is None else Verdict(permanent=False, hard=False, reason=reason, suppress=False)


def broken_off(cause: Interruption, phase: SmtpPhase, *, dot_sent: bool) -> Outcome:
    """Give the outcome of a transaction that ended without its reply."""
    return Outcome(phase, OutcomeKind(f"{cause}_{'after' if dot_sent else 'before'}_dot"), None)


def never_offered(detail: str) -> Outcome:
    """Give the outcome of a mail that we must not write to any connection: refused for good, by ourselves."""
    return Outcome(SmtpPhase.MAIL, OutcomeKind.REJECTED, Reply(554, "5.6.0", detail))
