"""What everybody but the dispatchers does: scheduler, belt, operators, receivers that report later, restored backups.

Promises: every next state of one world that they make.
"""

from hayabin.domain.campaign import CampaignState
from hayabin.domain.message import OPEN, WAITING, MessageState
from tests.chaos.model.promises import is_first_doubt
from tests.chaos.model.rules import Rules, Scope
from tests.chaos.model.sending import Next, moved
from tests.chaos.model.step import Kind, Step
from tests.chaos.model.world import GONE, Hold, Lease, Row, World, members

S = MessageState
C = CampaignState


def scheduler_steps(world: World, rules: Rules, scope: Scope) -> Next:
    """Feeder, reconciler, completion."""
    for m, row in enumerate(world.rows):
        if row.state in WAITING and row.timed and world.campaign is C.SENDING:
            yield Step(Kind.FED_AGAIN, 0, m, row.attempt), _fed(world, m, rules)
        if row.state is S.CLAIMED and _is_leased(world, m, row):
            kind = Kind.GIVEN_UP if row.owner == GONE else Kind.TAKEN_FOR_DEAD
            target = S.UNKNOWN if rules.lost_claim_becomes_unknown else S.DUE
            yield Step(kind, max(row.owner, 0), m, target), moved(world, m, target, lawless=target is S.DUE)
        if _is_resent(world, row, scope):
            yield Step(Kind.RESENT, 0, m), moved(world, m, S.DUE, timed=True, resends=row.resends + 1)
    for lease in world.leases:
        yield from _lease_steps(world, lease, rules)
    yield from _completion(world, rules, scope)


def _is_leased(world: World, m: int, row: Row) -> bool:
    return any(lease.attempt == row.attempt - 1 and m in members(lease.ids) for lease in world.leases)


def _is_resent(world: World, row: Row, scope: Scope) -> bool:
    return scope.resend_once and world.campaign in (C.SENDING, C.PAUSED) and is_first_doubt(row, scope)


def _fed(world: World, m: int, rules: Rules) -> World:
    row = world.rows[m]
    if not rules.gate_asks_for_suppression and row.suppressed:
        return moved(world, m, S.SUPPRESSED)
    if not rules.feeding_keeps_attempt:
        row = row._replace(attempt=0)
    return world.with_row(m, row).fed(Lease(row.attempt, 1 << m))


def _lease_steps(world: World, lease: Lease, rules: Rules) -> Next:
    """``drop_finished`` and ``refeed_expired`` of hayabin/database/feeds.py."""
    untimed, waits, claimed = 0, False, False
    for m in members(lease.ids):
        row = world.rows[m]
        if row.state in WAITING and row.attempt == lease.attempt:
            waits = True
            untimed |= 0 if row.timed else 1 << m
        claimed = claimed or (row.state is S.CLAIMED and row.attempt == lease.attempt + 1)
    name = f"{{{', '.join(f'm{m}' for m in members(lease.ids))}}} at attempt {lease.attempt}"
    if not waits and not claimed:
        yield Step(Kind.LEASE_DROPPED, note=name), world.without_lease(lease)
    if world.campaign is not C.SENDING:
        return
    stays = claimed or (rules.lease_stays_while_rows_wait and waits)
    after = world if stays else world.without_lease(lease)
    if untimed:
        after = after.fed(Lease(lease.attempt, untimed))
    if after != world:
        yield Step(Kind.LEASE_ENDED, note=name), after


def _completion(world: World, rules: Rules, scope: Scope) -> Next:
    over = world.closed or world.campaign is C.COMPLETED
    if over and rules.campaign_reopens and any(row.state in OPEN for row in world.rows):
        campaign = C.SENDING if world.campaign is C.COMPLETED else world.campaign
        yield Step(Kind.REOPENED), world._replace(campaign=campaign, closed=False)
    if world.campaign is C.SENDING and not any(row.state in OPEN for row in world.rows):
        resends = any(_is_resent(world, row, scope) for row in world.rows)
        if not resends or not rules.completion_waits_for_resend:
            yield Step(Kind.COMPLETED), world._replace(campaign=C.COMPLETED)
    if world.campaign is C.CANCELLED and not world.closed:
        waiting = [m for m, row in enumerate(world.rows) if row.state in WAITING]
        if waiting:
            after = world
            for m in waiting:
                after = moved(after, m, S.CANCELLED)
            yield Step(Kind.ROWS_CANCELLED), after
        elif not any(row.state in OPEN for row in world.rows):
            yield Step(Kind.CLOSED), world._replace(closed=True)


def outside_steps(world: World, rules: Rules, scope: Scope) -> Next:
    """Belt, renderer, receivers, operators, and whoever restores a backup."""
    for mail in world.belt:
        m, attempt = mail
        if scope.losses:
            yield Step(Kind.LOST, 0, m, attempt), world.without_mail(mail)
        if scope.render_failures and world.rows[m].state in WAITING:
            yield Step(Kind.RENDER_FAILED, 0, m), moved(world, m, S.FAILED)
    for m, row in enumerate(world.rows):
        if scope.suppression and not row.suppressed and row.state in OPEN | {S.UNKNOWN}:
            yield Step(Kind.SUPPRESSED, 0, m), world.with_row(m, row._replace(suppressed=True))
        if scope.reports and row.received:
            for target in (S.BOUNCED, S.COMPLAINED, S.ACCEPTED):
                if row.state is S.UNKNOWN or (row.state is S.ACCEPTED is not target):
                    yield Step(Kind.REPORTED, 0, m, target), moved(world, m, target)
        if scope.operator and row.state is S.UNKNOWN:
            yield from _resolved(world, m, rules, scope)
    yield from _control(world, scope)


def _resolved(world: World, m: int, rules: Rules, scope: Scope) -> Next:
    row = world.rows[m]
    yield Step(Kind.RESOLVED, 0, m), moved(world, m, S.ACCEPTED, taken_as_accepted=True)
    if row.attempt < scope.attempts and (world.campaign is not C.CANCELLED or not rules.resend_asks_for_campaign):
        after = moved(world, m, S.DUE, timed=True, resends=row.resends + 1)
        if world.campaign is C.COMPLETED and rules.resend_asks_for_campaign:
            after = after._replace(campaign=C.SENDING)
        yield Step(Kind.RESENT_BY_HAND, 0, m), after


def _control(world: World, scope: Scope) -> Next:
    runs = world.campaign in (C.SENDING, C.PAUSED)
    if (scope.control or scope.holds) and world.campaign is C.PAUSED:
        yield Step(Kind.RESUMED), world._replace(campaign=C.SENDING)
    if scope.control and world.campaign is C.SENDING:
        yield Step(Kind.PAUSED), world._replace(campaign=C.PAUSED)
    if scope.control and runs:
        yield Step(Kind.CANCELLED), world._replace(campaign=C.CANCELLED)
    if scope.holds and world.hold is Hold.HELD:
        yield Step(Kind.RELEASED), world._replace(hold=Hold.NO)
    if scope.holds and world.hold is Hold.NO:
        paused = C.PAUSED if world.campaign is C.SENDING else world.campaign
        yield Step(Kind.HELD), world._replace(hold=Hold.HELD, campaign=paused)
        yield Step(Kind.RESTORED), _restored(world)


def _restored(world: World) -> World:
    """The rows are those of the launch; what was granted and received since is not forgotten by the world."""
    rows = tuple(
        Row(granted=r.granted, received=r.received, suppressed=r.suppressed, resends=r.resends) for r in world.rows
    )
    after = world._replace(campaign=C.SENDING, closed=False, hold=Hold.RESTORED, rows=rows, leases=())
    return after.fed(Lease(0, (1 << len(rows)) - 1))
