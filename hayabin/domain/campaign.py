"""States of a campaign, its class and its policies, and every move between states.

Promises: ``TRANSITIONS`` is the only table of moves.
Fails: ``require_transition`` raises ``IllegalTransition``, which the API reports as 409.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class CampaignState(StrEnum):
    """Where a campaign stands."""

    DRAFT = "draft"  # being edited; no recipients yet
    SCHEDULED = "scheduled"  # launches by itself at schedule_at
    SENDING = "sending"  # the audience is in the ledger, or enters it page by page; rows are due
    PAUSED = "paused"  # no new SMTP transaction begins; resume goes on with the rest
    COMPLETED = "completed"  # no row is open any more; sending again where what was unknown is due again
    CANCELLED = "cancelled"  # stopped for good; what was due became cancelled
    FAILED = "failed"  # could not be launched (held for a person); the reason is kept


class MessageClass(StrEnum):
    """Which belt a campaign takes; transactional mail never waits behind bulk."""

    BULK = "bulk"
    TRANSACTIONAL = "transactional"


CONFIRMATION = "confirmation"
"""The kind of a campaign whose mails ask somebody to confirm a sign-up or a new address; ``campaigns.kind``."""


class RenderBelt(StrEnum):
    """The ways to the renderers; each has a thread of its own in each of them, so none waits behind another."""

    BULK = "bulk"
    FIRST = "first"  # the first chunks of each bulk campaign, so that it begins at once and a small one is soon through
    TRANSACTIONAL = "transactional"


class MergePolicy(StrEnum):
    """What happens to a recipient for whom a merge field has no value."""

    FALLBACK = "fallback"  # an empty text takes its place
    SKIP = "skip"  # this recipient fails with the reason, the others go on
    BLOCK = "block"  # this recipient fails and the campaign is paused


class UnknownPolicy(StrEnum):
    """What the scheduler does with messages in state ``unknown``, by the class of their campaign."""

    HOLD = "hold"  # they stay until a sign of life or a person settles them
    RESEND_ONCE = "resend_once"  # the first time that a message becomes unknown it is sent again; then it is held


UNKNOWN_POLICIES: Mapping[MessageClass, UnknownPolicy] = MappingProxyType(
    {MessageClass.BULK: UnknownPolicy.HOLD, MessageClass.TRANSACTIONAL: UnknownPolicy.RESEND_ONCE}
)
"""What holds unless the scheduler's settings say otherwise."""

C = CampaignState

TRANSITIONS: dict[CampaignState, frozenset[CampaignState]] = {
    C.DRAFT: frozenset({C.SCHEDULED, C.SENDING, C.CANCELLED, C.FAILED}),
    C.SCHEDULED: frozenset({C.SENDING, C.DRAFT, C.CANCELLED, C.FAILED}),
    C.SENDING: frozenset({C.PAUSED, C.COMPLETED, C.CANCELLED}),
    C.PAUSED: frozenset({C.SENDING, C.CANCELLED}),
    C.COMPLETED: frozenset({C.SENDING}),
    C.CANCELLED: frozenset(),
    C.FAILED: frozenset({C.DRAFT}),
}

LAUNCHABLE = frozenset({C.DRAFT, C.SCHEDULED})
"""States from which the move to sending is a launch: the audience goes into the ledger, once.

From paused it is a resume, from completed a reopening."""


class IllegalTransition(Exception):
    """A campaign was asked to make a move that the table does not have."""

    def __init__(self, current: CampaignState, following: CampaignState) -> None:
        """Keep both states for the problem that the API answers with."""
        super().__init__(f"{current} -> {following}")
        self.current = current
        self.following = following


def require_transition(current: CampaignState, following: CampaignState) -> None:
    """Pass silently where the move exists.

    Raises:
        IllegalTransition: the table has no such move.
    """
    if following not in TRANSITIONS[current]:
        raise IllegalTransition(current, following)
