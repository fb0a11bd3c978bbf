"""What dispatchers do: take mails from the belt, ask the gate, send, write outcomes; and how each of it fails.

Promises: every next state of one world that a dispatcher makes; a row moves only by ``moved``, which knows the table.
"""

from collections.abc import Iterator
from typing import Any

from hayabin.domain.campaign import CampaignState
from hayabin.domain.message import WAITING, MessageState, may_become
from tests.chaos.model.rules import Rules, Scope
from tests.chaos.model.step import Kind, Step
from tests.chaos.model.world import EMPTY, GONE, NOBODY, Hand, Hold, Phase, Row, World, members

S = MessageState
Next = Iterator[tuple[Step, World]]


def moved(world: World, m: int, target: MessageState, *, lawless: bool = False, **changes: Any) -> World:
    """The world after a move of the table; ``lawless``: a mutation does what the table does not have."""
    row = world.rows[m]
    if not lawless and not may_become(row.state, target):
        return world._replace(broken=f"m{m}: {row.state} -> {target} is no move of the table")
    if target is not S.CLAIMED:
        changes |= {"owner": NOBODY, "answered": False}
    changes.setdefault("timed", False)
    return world.with_row(m, row._replace(state=target, **changes))


def dispatcher_steps(world: World, d: int, rules: Rules, scope: Scope) -> Next:
    """All that one dispatcher may do next."""
    for m, hand in enumerate(world.hands[d]):
        if hand.phase is Phase.IDLE:
            yield from _take(world, d, m, rules)
        elif hand.phase is Phase.IN_HAND or hand.phase is Phase.UNSURE:
            yield from _ask(world, d, m, rules, scope)
        elif hand.phase is Phase.GRANTED:
            yield from _send(world, d, m, scope)
        else:
            yield from _write(world, d, m, rules, scope)
        if scope.crashes and hand.phase in (Phase.GRANTED, Phase.ENDED):
            yield Step(Kind.FORGOTTEN, d, m), world.with_hand(d, m, EMPTY)
    if scope.crashes and any(hand is not EMPTY for hand in world.hands[d]):
        yield Step(Kind.CRASHED, d), _crashed(world, d, rules)


def _take(world: World, d: int, m: int, rules: Rules) -> Next:
    for mail in world.belt:
        if mail[0] != m:
            continue
        after = world.with_hand(d, m, Hand(Phase.IN_HAND, mail[1]))
        if not rules.lease_outlives_batch:
            after = after.without_mail(mail)
            for lease in world.leases:
                if lease.attempt == mail[1] and m in members(lease.ids):
                    after = after.without_lease(lease)
        yield Step(Kind.DELIVERED, d, m, mail[1]), after


def _ask(world: World, d: int, m: int, rules: Rules, scope: Scope) -> Next:
    hand, row = world.hands[d][m], world.rows[m]
    settled = world.with_hand(d, m, EMPTY)
    if hand.phase is Phase.IN_HAND:
        waits = row.state in WAITING and row.attempt == hand.attempt
        yield Step(Kind.POSTPONED, d, m), settled.with_row(m, row._replace(timed=row.timed or waits))
        if scope.lost_answers:
            yield Step(Kind.ASK_FAILED, d, m), world.with_hand(d, m, Hand(Phase.UNSURE, hand.attempt))
        if not rules.claim_comes_before_sending:
            sent = world.with_row(m, row._replace(received=row.received + 1))
            yield Step(Kind.SENT_UNASKED, d, m), sent.with_hand(d, m, Hand(Phase.UNSURE, hand.attempt))
    elif _recognises(row, hand, d, rules):
        granted = world.with_hand(d, m, Hand(Phase.GRANTED, hand.attempt + 1))
        yield Step(Kind.RECOGNISED, d, m, hand.attempt + 1), granted.with_row(m, row._replace(answered=True))
        return
    if not _lets_through(world, row, hand, rules):
        yield Step(Kind.REFUSED, d, m), settled
    elif row.suppressed and rules.gate_asks_for_suppression:
        yield Step(Kind.RULED_OUT, d, m, "suppressed"), moved(settled, m, S.SUPPRESSED)
    else:
        if scope.deadline:
            yield Step(Kind.RULED_OUT, d, m, "expired"), moved(settled, m, S.EXPIRED)
        yield from _granted(world, d, m, hand, scope)


def _recognises(row: Row, hand: Hand, d: int, rules: Rules) -> bool:
    """Whether a process that lost an answer takes the row for granted: ``claimed_by`` is its name."""
    mine = row.state is S.CLAIMED and row.owner == d and row.attempt == hand.attempt + 1
    return mine and not (row.answered and rules.answered_grant_is_not_recognised)


def _lets_through(world: World, row: Row, hand: Hand, rules: Rules) -> bool:
    return (
        row.state in WAITING
        and (row.attempt == hand.attempt or not rules.gate_asks_for_attempt)
        and world.campaign is CampaignState.SENDING
        and (world.hold is Hold.NO or not rules.gate_asks_for_hold)
    )


def _granted(world: World, d: int, m: int, hand: Hand, scope: Scope) -> Next:
    row, attempt = world.rows[m], hand.attempt + 1
    after = moved(
        world, m, S.CLAIMED, owner=d, answered=True, attempt=row.attempt + 1, granted=row.granted | 1 << attempt
    )
    if row.granted >> attempt & 1:
        after = after._replace(broken=f"m{m}: attempt {attempt} was granted twice")
    elif row.suppressed:
        after = after._replace(broken=f"m{m}: let through after its address was suppressed")
    elif world.hold is not Hold.NO:
        after = after._replace(broken=f"m{m}: let through while everything is held")
    yield Step(Kind.GRANTED, d, m, attempt), after.with_hand(d, m, Hand(Phase.GRANTED, attempt))
    if scope.lost_answers:
        unheard = after.with_row(m, after.rows[m]._replace(answered=False))
        unheard = unheard.with_hand(d, m, Hand(Phase.UNSURE, hand.attempt))
        yield Step(Kind.GRANT_UNHEARD, d, m, attempt), unheard


def _send(world: World, d: int, m: int, scope: Scope) -> Next:
    """What a transaction may come to; a crash in the middle of it is one before its outcome is written."""
    row, attempt = world.rows[m], world.hands[d][m].attempt
    has_it = world.with_row(m, row._replace(received=row.received + 1))
    refused = S.DEFERRED if attempt < scope.attempts else S.EXPIRED

    def ended(after: World, state: MessageState, words: str) -> tuple[Step, World]:
        return Step(Kind.ENDED, d, m, words), after.with_hand(d, m, Hand(Phase.ENDED, attempt, state))

    yield ended(has_it, S.ACCEPTED, "accepted")
    yield ended(has_it, S.UNKNOWN, "accepted, and the reply to the final dot is lost")
    yield ended(world, S.UNKNOWN, "the connection is lost at the final dot; the receiver has nothing")
    yield ended(world, refused, "refused for now")
    yield ended(world, S.BOUNCED, "refused for good")


def _write(world: World, d: int, m: int, rules: Rules, scope: Scope) -> Next:
    after = _recorded(world, m, world.hands[d][m], rules)
    words = str(after.rows[m].state) if after != world else "changes nothing"
    yield Step(Kind.WRITTEN, d, m, words), after.with_hand(d, m, EMPTY)
    if scope.lost_answers and after != world:
        yield Step(Kind.WRITTEN_UNHEARD, d, m, words), after


def _recorded(world: World, m: int, hand: Hand, rules: Rules) -> World:
    row, state = world.rows[m], MessageState(hand.result)
    right_attempt = row.attempt == hand.attempt or not rules.outcome_asks_for_attempt
    if not right_attempt or row.state not in (S.CLAIMED, S.UNKNOWN) or not may_become(row.state, state):
        return world
    return moved(world, m, state, timed=state is S.DEFERRED)


def _crashed(world: World, d: int, rules: Rules) -> World:
    after = world._replace(hands=(*world.hands[:d], (EMPTY,) * len(world.rows), *world.hands[d + 1 :]))
    for m, row in enumerate(world.rows):
        if row.state is S.CLAIMED and row.owner == d:
            if rules.crash_leaves_claims:
                after = after.with_row(m, row._replace(owner=GONE))
            else:
                after = moved(after, m, S.DUE, lawless=True)
    return after
