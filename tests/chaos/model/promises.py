"""What must hold in every reachable state, and what must stay within reach of each.

Promises: ``broken_promise`` names the first promise that a state breaks; ``settled`` says whether nothing is open any
more: every message is final, or held as ``unknown``, or everything is held for a person.
"""

from hayabin.domain.campaign import CampaignState
from hayabin.domain.message import OPEN, MessageState
from tests.chaos.model.rules import Scope
from tests.chaos.model.world import Hold, Phase, Row, World

S = MessageState
KNOWS_OF_MAIL = frozenset({S.CLAIMED, S.ACCEPTED, S.UNKNOWN, S.BOUNCED, S.COMPLAINED})
"""What the ledger may say of a mail that the receiver has, unless it was sent again on purpose."""


def broken_promise(world: World, scope: Scope) -> str:
    """The promise that does not hold here, or nothing."""
    if world.broken:
        return world.broken
    for m, row in enumerate(world.rows):
        if word := _of_mail(row, restored=world.hold is Hold.RESTORED):
            return f"m{m}: {word}"
        under_way = [hand.attempt for mine in world.hands if (hand := mine[m]).phase in (Phase.GRANTED, Phase.ENDED)]
        if len(under_way) > len(set(under_way)):
            return f"m{m}: two transactions of one attempt"
    return _of_campaign(world, scope)


def _of_mail(row: Row, *, restored: bool) -> str:
    if row.received > 1 + row.resends:
        return f"the receiver has it {row.received} times after {row.resends} resends"
    if restored:
        return ""
    if row.state is S.ACCEPTED and not row.received and not row.taken_as_accepted:
        return "accepted, and nobody has it"
    if row.received and not row.resends and row.state not in KNOWS_OF_MAIL:
        return f"the receiver has it, and the ledger says {row.state}"
    return ""


def _of_campaign(world: World, scope: Scope) -> str:
    if world.hold is Hold.RESTORED:
        return ""
    completed = world.campaign is CampaignState.COMPLETED
    if (completed or world.closed) and any(row.state is S.DUE for row in world.rows):
        return "the campaign is over, and a row is due"
    if scope.resend_once and completed and any(is_first_doubt(row, scope) for row in world.rows):
        return "the campaign is completed, and what the policy sends again was not sent again"
    return ""


def is_first_doubt(row: Row, scope: Scope) -> bool:
    """Whether the policy would send it again, within what is explored."""
    return row.state is S.UNKNOWN and not row.resends and row.attempt < scope.attempts


def settled(world: World) -> bool:
    """Whether every message is final or held with a reason."""
    return world.hold is Hold.RESTORED or not any(row.state in OPEN for row in world.rows)
