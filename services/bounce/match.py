"""Finds the attempt that a report is about, by our own signatures in it and by nothing else.

Promises: a ``BounceFact`` names a message whose return path or Message-ID we signed; whoever made the report had
received that mail. A report in which one signature of ours is wrong, or two name different messages, is refused whole.
Fails: never; a report that changes nothing is ``Unmatched`` with a reason. What the projection adds is the ledger's
word: the message exists and has been attempted.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from hayabin.domain.token import TokenInvalid, TokenProblem, TokenRing
from hayabin.domain.verp import VerpClaim, looks_like_return_path, read_message_id, read_return_path
from services.bounce.report import Action, Arf, AutoReply, Dsn, FeedbackType, OriginalMail, Report, Unrecognised


class FactKind(StrEnum):
    """What a report that holds says of a message."""

    BOUNCE = "bounce"
    """The message was accepted by a server, and then not delivered."""
    COMPLAINT = "complaint"
    """The recipient reported the message."""


class UnmatchedReason(StrEnum):
    """Why a report changes nothing."""

    FORGED = "forged"
    """A return path or Message-ID in our form that we did not sign."""
    RETIRED_KEY = "retired_key"
    """Signed with a key that is not in the ring: retired too early, or forged."""
    NO_REFERENCE = "no_reference"
    """Nothing in envelope or report names a message of ours."""
    CONFLICTING_REFERENCES = "conflicting_references"
    """Genuine signatures of different messages: glued together by somebody."""
    DELAYED = "delayed"
    """A warning: the other side still tries."""
    NOT_A_FAILURE = "not_a_failure"
    """A report of success: delivered, relayed or expanded."""
    NOT_A_COMPLAINT = "not_a_complaint"
    """Feedback that is no complaint of a recipient: not-spam, authentication, virus."""
    AUTO_REPLY = "auto_reply"
    """An out-of-office note or the like."""
    UNRECOGNISED = "unrecognised"
    """No report that we can read."""


@dataclass(frozen=True, slots=True)
class BounceFact:
    """A report that holds, as far as signatures tell."""

    message_id: int
    attempt: int | None
    """None where only the Message-ID, which is the same for every attempt, was there."""
    kind: FactKind
    status: str | None
    """Enhanced status code; None for complaints, and where a free-text report has none."""
    diagnostic: str
    """The remote server's words, bounded, for ``classify_status``; for complaints the feedback type."""


@dataclass(frozen=True, slots=True)
class Unmatched:
    """A report that changes nothing; to be counted by reason, and kept for a look."""

    reason: UnmatchedReason


_COMPLAINTS = frozenset({FeedbackType.ABUSE, FeedbackType.FRAUD, FeedbackType.OPT_OUT})


def match(parsed: Report, rcpt_to: str, ring: TokenRing) -> BounceFact | Unmatched:
    """The fact that a report, received for ``rcpt_to``, gives about one of our messages."""
    match parsed:
        case Dsn():
            return _match_dsn(parsed, rcpt_to, ring)
        case Arf():
            if parsed.feedback_type not in _COMPLAINTS:
                return Unmatched(UnmatchedReason.NOT_A_COMPLAINT)
            claim = _claim((rcpt_to, parsed.original_mail_from), parsed.original, ring)
            if isinstance(claim, UnmatchedReason):
                return Unmatched(claim)
            return BounceFact(*claim, FactKind.COMPLAINT, None, parsed.feedback_type.value)
        case AutoReply():
            return Unmatched(UnmatchedReason.AUTO_REPLY)
        case Unrecognised():
            return Unmatched(UnmatchedReason.UNRECOGNISED)
        case _:
            assert_never(parsed)


def _match_dsn(dsn: Dsn, rcpt_to: str, ring: TokenRing) -> BounceFact | Unmatched:
    """Our mails have one recipient each, so the first that failed is the one; later ones are where it was forwarded."""
    failed = next((status for status in dsn.recipients if status.action is Action.FAILED), None)
    if failed is None:
        delayed = any(status.action is Action.DELAYED for status in dsn.recipients)
        return Unmatched(UnmatchedReason.DELAYED if delayed else UnmatchedReason.NOT_A_FAILURE)
    claim = _claim((rcpt_to,), dsn.original, ring)
    if isinstance(claim, UnmatchedReason):
        return Unmatched(claim)
    return BounceFact(*claim, FactKind.BOUNCE, failed.status, failed.diagnostic)


def _claim(
    return_paths: tuple[str, ...], original: OriginalMail, ring: TokenRing
) -> tuple[int, int | None] | UnmatchedReason:
    """Message and attempt that every signature of ours in the report agrees on."""
    claims: set[VerpClaim] = set()
    message_ids: set[int] = set()
    try:
        for address in (*return_paths, original.return_path):
            if looks_like_return_path(address):
                claims.add(read_return_path(address, ring))
        message_ids = _message_ids(original.message_id, ring)
    except TokenInvalid as refusal:
        return UnmatchedReason.RETIRED_KEY if refusal.reason is TokenProblem.UNKNOWN_KEY else UnmatchedReason.FORGED
    named = message_ids | {claim.message_id for claim in claims}
    if not named:
        return UnmatchedReason.NO_REFERENCE
    if len(named) > 1 or len(claims) > 1:
        return UnmatchedReason.CONFLICTING_REFERENCES
    return named.pop(), claims.pop().attempt if claims else None


def _message_ids(text: str, ring: TokenRing) -> set[int]:
    """What the quoted Message-ID names; one in another system's form names nothing, and is no forgery."""
    try:
        return {read_message_id(text, ring)}
    except TokenInvalid as refusal:
        if refusal.reason is TokenProblem.MALFORMED:
            return set()
        raise
