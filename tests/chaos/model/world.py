"""One state of the model: ledger rows, leases, belt, and what each dispatcher has in hand.

Time is left out: whatever has a time may come due at any moment, a lease may end at any moment, and a process may be
taken for dead at any moment, also while it only pauses. That is more than can happen, so what holds here holds there.
So are acknowledgements: the belt may forget any mail at any moment (acknowledged, purged, lost, its lease over) and may
deliver any mail again as long as it has it. The renderer is one more hop of that belt and is folded into it.

Promises: equal states are equal values; ``canonical`` gives one value for states that differ in names only.
"""

from collections.abc import Iterator
from enum import StrEnum
from itertools import permutations
from typing import Final, NamedTuple

from hayabin.domain.campaign import CampaignState
from hayabin.domain.message import MessageState

NOBODY: Final = -1
GONE: Final = -2
"""The owner of a claim whose process has ended; a new process has a new name."""


class Phase(StrEnum):
    """Where a mail in the hands of a dispatcher stands."""

    IDLE = "idle"  # nothing in hand
    IN_HAND = "in_hand"  # from the belt, not asked for yet
    UNSURE = "unsure"  # asked for; the answer was lost
    GRANTED = "granted"  # the gate let it through
    ENDED = "ended"  # the transaction came to something that is not written yet


class Hand(NamedTuple):
    """What one dispatcher has of one message; ``attempt`` counts the one under way from GRANTED on."""

    phase: Phase
    attempt: int = 0
    result: str = ""


EMPTY: Final = Hand(Phase.IDLE)


class Hold(StrEnum):
    """Whether the installation sends."""

    NO = ""
    HELD = "held"
    RESTORED = "restored"  # the database is that of the launch again, and processes know of a later pulse


class Row(NamedTuple):
    """A ledger row, and what the world knows of its message."""

    state: MessageState = MessageState.DUE
    attempt: int = 0
    timed: bool = False  # next_attempt_at is not NULL
    owner: int = NOBODY
    answered: bool = False  # the owner was told of this claim
    granted: int = 0  # a bit for each attempt number that was ever granted
    received: int = 0  # times that the receiver accepted it
    suppressed: bool = False
    resends: int = 0  # unknown → due
    taken_as_accepted: bool = False  # an operator said so


class Lease(NamedTuple):
    """A row of ``feeds``; ``ids`` is a bit for each message."""

    attempt: int
    ids: int


class World(NamedTuple):
    """Everything. ``belt`` has (message, attempts begun); ``hands`` are by dispatcher, then message."""

    campaign: CampaignState
    closed: bool  # cancelled, and completed_at is set
    hold: Hold
    rows: tuple[Row, ...]
    leases: tuple[Lease, ...]
    belt: tuple[tuple[int, int], ...]
    hands: tuple[tuple[Hand, ...], ...]
    broken: str = ""  # a promise that the last step broke

    def with_row(self, m: int, row: Row) -> "World":
        """The same world with another row."""
        rows = (*self.rows[:m], row, *self.rows[m + 1 :])  # _replace takes twice as long
        return World(self.campaign, self.closed, self.hold, rows, self.leases, self.belt, self.hands, self.broken)

    def with_hand(self, d: int, m: int, hand: Hand) -> "World":
        """The same world with something else in a hand."""
        mine = self.hands[d]
        mine = (*mine[:m], hand, *mine[m + 1 :])
        hands = (*self.hands[:d], mine, *self.hands[d + 1 :])
        return World(self.campaign, self.closed, self.hold, self.rows, self.leases, self.belt, hands, self.broken)

    def fed(self, lease: Lease) -> "World":
        """The same world with a lease, and its mails on the belt."""
        items = {(m, lease.attempt) for m in members(lease.ids)}
        return self._replace(leases=tuple(sorted({*self.leases, lease})), belt=tuple(sorted({*self.belt, *items})))

    def without_lease(self, lease: Lease) -> "World":
        """The same world without a lease."""
        return self._replace(leases=tuple(one for one in self.leases if one != lease))

    def without_mail(self, mail: tuple[int, int]) -> "World":
        """The same world after the belt forgot a mail."""
        return self._replace(belt=tuple(one for one in self.belt if one != mail))


def members(ids: int) -> Iterator[int]:
    """The messages of a set of bits."""
    return (m for m in range(ids.bit_length()) if ids >> m & 1)


def launched(messages: int, dispatchers: int) -> World:
    """A campaign just launched: all rows due, under one lease, on the belt."""
    world = World(
        campaign=CampaignState.SENDING,
        closed=False,
        hold=Hold.NO,
        rows=(Row(),) * messages,
        leases=(),
        belt=(),
        hands=((EMPTY,) * messages,) * dispatchers,
    )
    return world.fed(Lease(0, (1 << messages) - 1))


def canonical(world: World) -> World:
    """The least of the states that differ from this one only in which dispatcher, or which message, is which."""
    if len(world.rows) == 1:
        return _dispatchers_in_order(world)
    return min(_dispatchers_in_order(_turned(world, turn)) for turn in permutations(range(len(world.rows))))


def _dispatchers_in_order(world: World) -> World:
    """Sorted by all that there is to a dispatcher: what it has in hand and which claims are in its name."""
    hands, rows = world.hands, world.rows
    owners = [row.owner for row in rows]
    order = sorted(range(len(hands)), key=lambda d: (hands[d], [owner == d for owner in owners]))
    if order == list(range(len(hands))):
        return world
    if any(owner >= 0 for owner in owners):
        rows = tuple(row._replace(owner=order.index(row.owner)) if row.owner >= 0 else row for row in rows)
    return world._replace(hands=tuple(hands[d] for d in order), rows=rows)


def _turned(world: World, turn: tuple[int, ...]) -> World:
    """Message ``turn[i]`` becomes i."""
    new = {m: i for i, m in enumerate(turn)}
    return world._replace(
        rows=tuple(world.rows[m] for m in turn),
        leases=tuple(sorted(Lease(one.attempt, sum(1 << new[m] for m in members(one.ids))) for one in world.leases)),
        belt=tuple(sorted((new[m], attempt) for m, attempt in world.belt)),
        hands=tuple(tuple(mine[m] for m in turn) for mine in world.hands),
    )
