"""The names of what can happen next, as a counterexample prints them."""

from enum import Enum
from typing import NamedTuple


class Kind(Enum):
    """Every step there is; ``{d}`` is a dispatcher, ``{m}`` a message, ``{note}`` what else there is to say."""

    # what the system does by itself: only these may be needed to come out of a state
    DELIVERED = "d{d} takes m{m} at attempt {note} from the belt"
    GRANTED = "d{d} asks; the gate lets m{m} through as attempt {note}"
    RECOGNISED = "d{d} asks again; m{m} is claimed in its name, so it takes it for granted as attempt {note}"
    REFUSED = "d{d} asks; the gate refuses m{m}"
    RULED_OUT = "d{d} asks; the gate makes m{m} {note}"
    ENDED = "d{d} sends m{m}: {note}"
    WRITTEN = "d{d} writes the outcome of m{m}: {note}"
    POSTPONED = "d{d} gives m{m} back unattempted, with a time"
    FED_AGAIN = "the feeder feeds m{m} again at attempt {note}"
    LEASE_ENDED = "the reconciler ends the lease {note} and feeds what waits without a time"
    LEASE_DROPPED = "the reconciler drops the lease {note}: nobody waits for it"
    GIVEN_UP = "the reconciler gives the claim of m{m} up, its owner is gone: {note}"
    TAKEN_FOR_DEAD = "the reconciler takes d{d}, which pauses, for dead: m{m} becomes {note}"
    RESENT = "the policy sends m{m} once more: unknown -> due"
    COMPLETED = "the campaign is completed"
    REOPENED = "the reconciler opens the campaign again: a row of it is open"
    ROWS_CANCELLED = "the reconciler cancels the rows that wait"
    CLOSED = "the cancelled campaign has its completion time"
    RESUMED = "an operator resumes the campaign"
    RELEASED = "an operator releases the hold"
    # what the system does, but must not be counted on
    GRANT_UNHEARD = "d{d} asks; the gate lets m{m} through as attempt {note}, and the answer is lost"
    ASK_FAILED = "d{d} asks for m{m}; the statement fails, and d{d} cannot know that"
    WRITTEN_UNHEARD = "d{d} writes the outcome of m{m}: {note}; the answer of the commit is lost"
    SENT_UNASKED = "d{d} sends m{m} unasked: accepted"
    FORGOTTEN = "d{d} loses m{m} by a surprise of its own, and lives on"
    CRASHED = "d{d} crashes, and a new process takes its place"
    LOST = "the belt loses m{m} at attempt {note} (acknowledged, purged, or its lease is over)"
    RENDER_FAILED = "the renderer cannot make m{m}"
    SUPPRESSED = "the address of m{m} is suppressed"
    PAUSED = "an operator pauses the campaign"
    CANCELLED = "an operator cancels the campaign"
    HELD = "the installation is held"
    RESTORED = "the database is taken back to the launch"
    RESOLVED = "an operator says that m{m} was accepted"
    RESENT_BY_HAND = "an operator sends m{m} again"
    REPORTED = "a report arrives of m{m}: {note}"


WORK = frozenset(list(Kind)[: list(Kind).index(Kind.RELEASED) + 1])
"""Steps that may be counted on: what the system does, the end of a process that pauses, and an operator's "go on"."""


class Step(NamedTuple):
    """One step."""

    kind: Kind
    d: int = 0
    m: int = 0
    note: object = ""

    def __str__(self) -> str:
        return self.kind.value.format(d=self.d, m=self.m, note=self.note)
