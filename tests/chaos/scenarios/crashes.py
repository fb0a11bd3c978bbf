"""A crash between any two steps of a message's way, each once; then faults at random.

13. Every ``CrashPoint`` is armed in one replica, which dies there by SIGKILL; nothing is lost, nothing twice.
"""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hayabin.broker import Outgoing, connect
from hayabin.broker.topology import RENDER
from hayabin.crash_points import CrashPoint
from hayabin.database.audience import FIRST_PAGE_ROWS
from hayabin.domain.token import UnsubscribeClaim
from tests.chaos.fleet import Replica
from tests.chaos.judge import Allowed, Launch
from tests.chaos.people import Acts, act_for_ever, missing, unsubscribe
from tests.chaos.scenario import Result, Scale, clock_s, ended, finished
from tests.chaos.world import GREY, NOBODY, ChaosWorld
from tests.support.system import Service

SERVICE = {
    "api": "api", "schedule": "scheduler", "fill": "scheduler", "feed": "scheduler", "relay": "scheduler",
    "reconcile": "scheduler", "render": "renderer", "dispatch": "dispatcher", "gate": "dispatcher", "smtp": "dispatcher",
    "outcome": "dispatcher", "park": "renderer", "track": "tracker", "unsubscribe": "tracker", "bounce": "bounce",
    "refusals": "bounce",
}  # fmt: skip
DEATH_WITHIN_S = 60.0
AGAIN_S = 8.0
"""If a campaign is through and somebody lives still, there is another one."""
SAMPLE = 6
"""Points of a short run, chosen by its seed."""
MIXED = ("d0.example", "d1.example", GREY, NOBODY)


async def every_crash_point(world: ChaosWorld, scale: Scale) -> Result:
    """Arm each point once; several in a round, one in each kind of service."""
    points = world.random.sample(list(CrashPoint), SAMPLE) if scale.short else list(CrashPoint)
    left = {kind: [point for point in points if _service(point) == kind] for kind in sorted(set(SERVICE.values()))}
    left["scheduler"].sort(
        key=lambda point: point is not CrashPoint.RECONCILE_BEFORE_COMMIT
    )  # last: it needs lost claims
    acts, ids, survivors, in_flight = Acts(), list[int](), list[str](), 0
    async with _one_scheduler(world):
        while any(left.values()):
            armed = [
                (these.pop(), replica) for kind, these in left.items() for replica in _living(world, kind) if these
            ]
            for point, replica in armed:
                in_flight += await world.in_flight(world.fleet.kill(replica))
                world.fleet.revive(replica, crash_at=point)
            points_now = {point for point, _ in armed}
            dying = asyncio.create_task(_die(world, armed, survivors))  # from now on: who dies is counted and revived
            await _up_or_dead([replica for _, replica in armed])
            in_flight += await _drive(world, scale, points_now, Traffic(dying, armed, acts, ids))
            in_flight += await dying
    lost = await missing(world, acts, within_s=40)
    result = await finished(
        world, "a crash at every boundary", ids, in_flight=in_flight,
        allowed=Allowed(bounced_later=frozenset(acts.sent_back)),
    )  # fmt: skip
    result.hold("no confirmed act is lost", holds=not any(lost.values()), but=lost)
    result.hold("some acts were confirmed", holds=bool(acts.opened or acts.returned))
    result.hold("each armed point was reached", holds=not survivors, but=survivors)
    result.more["crash_points"] = sorted(set(points) - set(survivors))
    return result


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a round is driven until, who is armed still, and what comes of it."""

    dying: asyncio.Task[int]
    armed: list[tuple[CrashPoint, Replica]]
    acts: Acts
    campaigns: list[int]


async def _up_or_dead(replicas: Sequence[Replica]) -> None:
    """Wait until each of these lives is ready or over: a point is reached only by who has work."""
    for service in [replica.service for replica in replicas if replica.service is not None]:
        while service.process.poll() is None and not await asyncio.to_thread(_is_ready, service):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


def _is_ready(service: Service) -> bool:
    return service.ready


async def _drive(world: ChaosWorld, scale: Scale, points: AbstractSet[CrashPoint], traffic: Traffic) -> int:
    """Send, and let recipients act, until every armed replica died and some act was confirmed; gives what was in flight.

    What was in flight is that of the dispatcher which is killed for the reconciler's sake.
    """
    in_flight = 0
    people = max(scale.small, FIRST_PAGE_ROWS + 200) if CrashPoint.FILL_BEFORE_COMMIT in points else scale.small
    end_s = clock_s() + DEATH_WITHIN_S
    while clock_s() < end_s and not (traffic.dying.done() and (traffic.acts.opened or traffic.acts.returned)):
        campaign = await world.launch(people, domains=MIXED)
        traffic.campaigns.extend([campaign, *await _provoke(world, points, campaign)])
        if CrashPoint.RECONCILE_BEFORE_COMMIT in points and not in_flight:
            in_flight = await _lose_claims(world, {replica.name for _, replica in traffic.armed})
        acting = asyncio.create_task(act_for_ever(world, campaign, traffic.acts))
        await asyncio.wait({traffic.dying}, timeout=AGAIN_S)
        if traffic.dying.done():
            await asyncio.sleep(1.0)  # a last act or two
        await ended(acting)
    return in_flight


async def _lose_claims(world: ChaosWorld, armed: AbstractSet[str]) -> int:
    """Kill a dispatcher that has claims open, and is not to die by itself, so that there is something to reconcile."""
    others = [replica for replica in world.fleet.of("dispatcher") if replica.name not in armed]
    if not others:
        return 0
    victim = others[0]
    for _ in range(100):
        if await world.in_flight(victim.instance):
            break
        await asyncio.sleep(0.05)
    lost = await world.in_flight(world.fleet.kill(victim))
    world.fleet.revive(victim)
    return lost


def _living(world: ChaosWorld, kind: str) -> list[Replica]:
    """Who may be armed at once; of the API one, so that another answers who asks until there is an answer."""
    living = [replica for replica in world.fleet.of(kind) if replica.service is not None]
    return living[:1] if kind == "api" else living


def _service(point: CrashPoint) -> str:
    return SERVICE[point.partition(".")[0]]


@contextlib.asynccontextmanager
async def _one_scheduler(world: ChaosWorld) -> AsyncIterator[None]:
    """Let the first scheduler have all the work, so that it comes to each of its points."""
    others = world.fleet.of("scheduler")[1:]
    for replica in others:
        world.fleet.kill(replica)
        replica.service = None
    yield
    for replica in others:
        world.fleet.revive(replica)


async def _provoke(world: ChaosWorld, points: AbstractSet[CrashPoint], campaign: int) -> list[int]:
    """Do what leads to points that a plain campaign does not come to; returns campaigns that were made for it."""
    if CrashPoint.PARK_PUBLISHED in points:
        async with connect(world.rabbitmq.url, name="poisoner") as broker:
            await broker.publish([Outgoing(RENDER, "bulk", b"\xff" * 9)] * 8)  # they go to every renderer
    if CrashPoint.UNSUBSCRIBE_COMMITTED in points:
        rows = await world.query(
            "SELECT r.message_id, r.contact_id, c.list_id FROM recipients r JOIN campaigns c ON c.id = r.campaign_id "
            "WHERE r.campaign_id = $1 ORDER BY r.message_id DESC LIMIT 6",
            campaign,
        )
        for row in rows:
            claim = UnsubscribeClaim(world.tenant_id, row["list_id"], row["contact_id"], row["message_id"])
            await unsubscribe(world, claim, 0.0, Acts())
    made_for_it = []
    if points & {CrashPoint.API_BEFORE_COMMIT, CrashPoint.API_COMMITTED}:  # each goes to either replica
        made_for_it = [await world.launch(20) for _ in range(5)]
    if CrashPoint.SCHEDULE_BEFORE_COMMIT in points:
        made, addresses = await world.campaign(50)
        at = datetime.now(UTC) + timedelta(seconds=1.5)
        answer = await world.call(
            "POST",
            f"/v1/campaigns/{made}/schedule",
            json={"schedule_at": at.isoformat(), "allow_unverified_domain": True},
        )
        if answer.status_code != 200:
            raise RuntimeError(answer.text)
        world.launches.append(Launch(made, addresses))
        made_for_it.append(made)
    return made_for_it


async def _die(world: ChaosWorld, armed: list[tuple[CrashPoint, Replica]], survivors: list[str]) -> int:
    """Wait for the deaths; each victim lives again, and is not in ``armed`` any more. Returns what was in flight."""
    in_flight = 0
    end_s = clock_s() + DEATH_WITHIN_S
    while armed and clock_s() < end_s:
        await asyncio.sleep(0.1)
        for point, replica in list(armed):
            if replica.service is not None and replica.service.process.poll() == -signal.SIGKILL:
                armed.remove((point, replica))
                life = world.fleet.kill(replica)
                in_flight += await world.in_flight(life)
                world.fleet.revive(replica)
    for point, replica in armed:
        survivors.append(point.value)
        world.fleet.kill(replica)
        world.fleet.revive(replica)
    return in_flight
