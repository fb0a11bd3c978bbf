"""States of one recipient's row in the ledger, and every move between them.

Promises: ``TRANSITIONS`` is the only table of moves; the ledger's statements and the column's CHECK are made from it.
Fails: ``require_transition`` raises ``IllegalTransition`` for a move that is not in the table.
"""

from enum import StrEnum


class MessageState(StrEnum):
    """What is known of one recipient of one campaign."""

    DUE = "due"  # in the ledger, no attempt begun, or put back by an operator
    CLAIMED = "claimed"  # the gate let a dispatcher begin an SMTP transaction
    ACCEPTED = "accepted"  # the remote server answered 250 to the final dot; not "delivered"
    DEFERRED = "deferred"  # a temporary refusal; tried again at next_attempt_at
    BOUNCED = "bounced"  # a permanent refusal, in the session or by a later DSN
    UNKNOWN = "unknown"  # the reply to the final dot, or the dispatcher that waited for it, was lost
    SUPPRESSED = "suppressed"  # the address was suppressed at the moment of the claim
    CANCELLED = "cancelled"  # the campaign was cancelled before an attempt
    EXPIRED = "expired"  # the send-by deadline or the maximum age passed before it was accepted
    FAILED = "failed"  # our side could not make the mail (a merge field was missing)
    COMPLAINED = "complained"  # accepted, then reported as spam by a feedback loop


S = MessageState

TRANSITIONS: dict[MessageState, frozenset[MessageState]] = {
    S.DUE: frozenset({S.CLAIMED, S.SUPPRESSED, S.CANCELLED, S.EXPIRED, S.FAILED}),
    S.CLAIMED: frozenset({S.ACCEPTED, S.DEFERRED, S.BOUNCED, S.UNKNOWN, S.EXPIRED}),
    S.DEFERRED: frozenset({S.CLAIMED, S.SUPPRESSED, S.CANCELLED, S.EXPIRED, S.FAILED}),
    S.ACCEPTED: frozenset({S.BOUNCED, S.COMPLAINED}),
    S.UNKNOWN: frozenset({S.ACCEPTED, S.DEFERRED, S.BOUNCED, S.COMPLAINED, S.EXPIRED, S.DUE}),
    S.BOUNCED: frozenset(),
    S.SUPPRESSED: frozenset(),
    S.CANCELLED: frozenset(),
    S.EXPIRED: frozenset(),
    S.FAILED: frozenset(),
    S.COMPLAINED: frozenset(),
}

WAITING = frozenset({S.DUE, S.DEFERRED})
"""States from which the gate may claim a row."""

OPEN = frozenset({S.DUE, S.CLAIMED, S.DEFERRED})
"""States in which a campaign is not complete: work is due or under way."""


class IllegalTransition(Exception):
    """A row was asked to make a move that the table does not have."""


def may_become(current: MessageState, following: MessageState) -> bool:
    """Whether the table has the move from ``current`` to ``following``."""
    return following in TRANSITIONS[current]


def require_transition(current: MessageState, following: MessageState) -> None:
    """Pass silently where the move exists.

    Raises:
        IllegalTransition: the table has no such move.
    """
    if not may_become(current, following):
        raise IllegalTransition(f"{current} -> {following}")


def sources_of(following: MessageState) -> frozenset[MessageState]:
    """All states from which ``following`` may be reached; the ledger puts them in its WHERE clauses."""
    return frozenset(state for state, targets in TRANSITIONS.items() if following in targets)
