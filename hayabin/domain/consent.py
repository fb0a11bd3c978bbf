"""What a person agreed to, and where that leaves them on a list.

Promises: ``TRANSITIONS`` with ``BY_ACTION`` is the only table of moves of a subscription; the statements of
``hayabin.database.subscriptions`` and the columns' CHECKs are made from it. Whoever unsubscribed, complained or has a
dead mailbox is subscribed again by an act of their own alone (``CONFIRM``).
Fails: ``may_become`` never raises; ``has_been`` says so of a moment that is yet to come.
"""

from datetime import datetime, timedelta
from enum import StrEnum

CLOCKS_DIFFER = timedelta(minutes=5)
"""How far ahead of ours a clock may be that says when somebody consented."""


class ConsentAction(StrEnum):
    """What somebody did with their consent; the values are stored, and part of the API."""

    OPT_IN = "opt_in"
    """Agreed to have mail: by a form, in writing, or by the word of whoever imports them."""
    CONFIRM = "confirm"
    """Confirmed it with their own hand: a link in a mail to the address, the preference centre, a signed paper."""
    OPT_OUT = "opt_out"
    """Wants no mail (any more)."""
    CHANGE = "change"
    """Neither: an address, a language, a pause; or a mailbox works again."""


class ConsentBasis(StrEnum):
    """How we know."""

    FORM = "form"
    """A page of ours: the source names the form, or the mail whose link was followed."""
    IMPORT = "import"
    """An import whose columns or settings say so."""
    API = "api"
    """A program of the sender says so."""
    WRITTEN = "written"
    """On paper or by mail, kept elsewhere; the note says where."""
    EXISTING_RELATIONSHIP = "existing_relationship"
    """A business relationship that the law lets stand for consent; the note says which."""
    UNSPECIFIED = "unspecified"
    """Nobody said. No evidence."""


class SubscriptionState(StrEnum):
    """Where a person stands with a list."""

    PENDING = "pending"  # asked for, not confirmed: no mail
    SUBSCRIBED = "subscribed"  # gets its mail
    UNSUBSCRIBED = "unsubscribed"  # does not want it
    BOUNCED = "bounced"  # the mailbox does not exist (any more)
    COMPLAINED = "complained"  # called it spam


S = SubscriptionState

NEW = frozenset({S.PENDING, S.SUBSCRIBED})
"""States in which somebody comes onto a list."""

TRANSITIONS: dict[SubscriptionState, frozenset[SubscriptionState]] = {
    S.PENDING: frozenset({S.SUBSCRIBED, S.UNSUBSCRIBED, S.BOUNCED, S.COMPLAINED}),
    S.SUBSCRIBED: frozenset({S.UNSUBSCRIBED, S.BOUNCED, S.COMPLAINED}),
    S.BOUNCED: frozenset({S.UNSUBSCRIBED, S.COMPLAINED}),
    S.UNSUBSCRIBED: frozenset({S.COMPLAINED}),
    S.COMPLAINED: frozenset(),
}
"""By whatever action: only towards less mail, but for what waits to be confirmed."""

BY_ACTION: dict[ConsentAction, dict[SubscriptionState, frozenset[SubscriptionState]]] = {
    ConsentAction.OPT_IN: {},
    ConsentAction.CONFIRM: dict.fromkeys((S.UNSUBSCRIBED, S.BOUNCED, S.COMPLAINED), frozenset({S.SUBSCRIBED})),
    ConsentAction.OPT_OUT: {},
    ConsentAction.CHANGE: {S.BOUNCED: frozenset({S.PENDING, S.SUBSCRIBED})},
}
"""What an action allows besides."""


def may_become(current: SubscriptionState | None, following: SubscriptionState, action: ConsentAction) -> bool:
    """Whether the tables have the move; ``current`` is None for who is not on the list."""
    if current is None:
        return following in NEW
    return following in TRANSITIONS[current] | BY_ACTION[action].get(current, frozenset())


def has_been(moment: datetime, now: datetime, ahead: timedelta = CLOCKS_DIFFER) -> datetime:
    """When somebody consented, by a clock that may be ``ahead`` of ours: what that is ahead counts as now.

    Raises:
        ValueError: nobody has consented yet by then.
    """
    if moment > now + ahead:
        raise ValueError("must not be in the future")
    return min(moment, now)


def sources_of(following: SubscriptionState, action: ConsentAction) -> frozenset[SubscriptionState]:
    """All states from which ``action`` may lead to ``following``."""
    return frozenset(state for state in SubscriptionState if may_become(state, following, action))
