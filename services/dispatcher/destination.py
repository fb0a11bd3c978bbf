"""One destination: the MX hosts that some domains share, the mails that wait for it, the connections that serve it.

Promises: a slow, dead or closed destination holds up nobody else. What a slow one cannot take within a second or so is
taken over from its batch (``Job.detach``), as much as it takes in ``KEEP_S``; the rest goes back to the ledger
unattempted, with the reason and the time at which the lane will have room. What cannot be reached is deferred, and
rests. Claimed mails are never given back unattempted.
Fails: nothing comes out of a connection's task; a surprise is logged and the mails it had claimed become ``unknown``.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hayabin.domain.bounce_kinds import BounceReason
from hayabin.domain.bounce_reason import Verdict
from hayabin.domain.smtp_reply import SmtpPhase
from hayabin.telemetry.logging import get_logger
from services.dispatcher.batch import Job
from services.dispatcher.carrier import Carrier
from services.dispatcher.fair_queue import FairQueue
from services.dispatcher.gate import admitted
from services.dispatcher.lane import Closed, Lane, LaneState
from services.dispatcher.postponing import BUSY, Postponing, let_go
from services.dispatcher.reporting import Refusal, Way
from services.dispatcher.resting import Rests
from services.dispatcher.route import Route
from services.dispatcher.saturation import KEEP_S, Saturation
from services.dispatcher.settings import Source
from services.dispatcher.sts_policy import StsPolicy
from services.dispatcher.surroundings import Surroundings
from services.dispatcher.tempo import Tempo

DRAIN_S = 0.05
"""Another connection is worth it where what waits takes longer than this by those that there are."""
MOVED_AFTER = timedelta(seconds=12)
"""Renderers know by then that the campaigns of a removed pool have another one."""


@dataclass(slots=True, eq=False)
class Destination:
    """See the module; ``name`` is the first MX host, ``sts`` the MTA-STS policy that its domains share."""

    name: str
    route: Route
    sts: StsPolicy | None
    around: Surroundings
    waiting: FairQueue = field(default_factory=FairQueue)
    tempo: Tempo = field(default_factory=Tempo)
    used_s: float = field(default_factory=time.monotonic)
    saturation: Saturation = field(init=False)
    _carriers: dict[asyncio.Task[None], Carrier] = field(default_factory=dict)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _rests: Rests = field(default_factory=Rests)
    _refusal: tuple[Refusal, Way] | None = None  # why it rests
    _lanes: tuple[object, list[Lane]] = (None, [])
    _postponing: Postponing = field(init=False)

    def __post_init__(self) -> None:
        """Begin with nobody connected."""
        around, control = self.around, self.around.control
        self.saturation = Saturation(self.waiting, self.tempo, around.taken_over, around.patience.max_wait_s)
        self._postponing = Postponing(around.writer, lambda: control.open_elsewhere(self.limit_key))

    @property
    def provider(self) -> str:
        """The provider, for metrics and events."""
        return self.route.provider or "other"

    @property
    def limit_key(self) -> str:
        """Whose limits count: a provider as a whole, any other destination by itself."""
        return self.route.provider or f"mx:{self.name}"

    @property
    def idle(self) -> bool:
        """Nothing waits and nobody serves."""
        return not self.waiting and not self._carriers

    def lanes(self) -> list[Lane]:
        """Give the lanes that lead there now: one for each of our source IPs that the policy and the addresses let."""
        control = self.around.control
        version = (control.generation, self.route.hosts)
        if self._lanes[0] != version:
            policy = control.policies.get(self.route.provider)
            families = {":" in address for host in self.route.hosts for address in host.addresses}
            usable = [
                (source.ip, of_source)
                for source in control.sources
                if (":" in source.ip) in families and (of_source := policy.of_source(source.ip)) is not None
            ]
            self._lanes = (version, [self.around.lanes.get(self.limit_key, ip, of) for ip, of in usable])
        return self._lanes[1]

    def closed(self, *, urgent: bool = False) -> Closed | None:
        """Tell why no lane takes anything now, with the earliest time at which one may; None if one does."""
        first: Closed | None = None
        for lane in self.lanes():
            closed = lane.closed(urgent=urgent)
            if closed is None:
                return None
            if first is None or _time_of(closed) < _time_of(first):
                first = closed
        if first is None and self.around.control.pool_removed:  # its campaigns were moved to another pool
            first = Closed(LaneState.SUSPENDED, "the pool was removed", datetime.now(UTC) + MOVED_AFTER)
        return first or Closed(LaneState.SUSPENDED, "no source IP of the pool may go there", None)

    def open_by_another(self, lane: Lane) -> bool:
        """Tell whether another source IP of the pool may go there now, here or in another dispatcher."""
        if any(other is not lane and other.closed() is None for other in self.lanes()):
            return True
        return self.around.control.open_elsewhere(self.limit_key)

    # --- what comes

    def put(self, jobs: Sequence[Job]) -> None:
        """Take mails for this destination, or tell at once when they can go."""
        self.used_s = time.monotonic()
        if self.around.stopping.is_set():
            let_go(jobs, self.around.writer)
            return
        if self._refusal is not None and self.resting_until() is not None:
            self.around.aside(self._refuse(list(jobs), *self._refusal))
            return
        self._admit(jobs)
        self._arrived.set()
        self.grow()

    def _admit(self, jobs: Sequence[Job]) -> None:
        closed, closed_to_urgent = self.closed(), self.closed(urgent=True)
        for job in jobs:
            why_not = closed_to_urgent if job.batch.transactional else closed
            if why_not is not None:
                self._postpone([job], why_not)
            else:
                if self.saturation.now:
                    job.detach(self.around.taken_over)
                self.waiting.put(job)
        if self.saturation.now:  # whoever has the most mails here gives way, not whoever comes last
            self._postpone(self.saturation.excess(), BUSY)

    def _postpone(self, jobs: Sequence[Job], why: Closed) -> None:
        if not jobs:
            return
        lanes = self.lanes()
        rate = 0.0
        if self.around.gate.failed_within(2 * KEEP_S):  # what did not go meanwhile says nothing of the destination
            rate = sum(lane.capacity_per_s(self.tempo.cycle_s) for lane in lanes)
        rate = rate or self.tempo.per_s(KEEP_S)
        if rate == 0:
            expected_s = self.tempo.expected_s(carrier.begun_s for carrier in self._carriers.values() if carrier.busy)
            rate = sum(lane.capacity_per_s(expected_s) for lane in lanes)
        self._postponing.postpone(jobs, why, self.limit_key, lanes, rate)

    # --- what carriers ask and tell

    def again(self, jobs: Iterable[Job]) -> None:
        """Take back mails that did not go; nothing new waits where the process stops."""
        self.waiting.put_back(jobs)
        if self.around.stopping.is_set():
            self.give_back()
        self._arrived.set()

    async def something_arrives(self) -> bool:
        """Wait for mails; False if none came in the time that an idle connection is kept."""
        self._arrived.clear()
        try:
            async with asyncio.timeout(self.around.patience.idle_s):
                await self._arrived.wait()
        except TimeoutError:
            return False
        return True

    def serves(self, source: Source) -> bool:
        """Tell whether a connection from this source IP may go on."""
        return source in self.around.control.sources or self.around.stopping.is_set()

    def reached(self, source: Source) -> None:
        """Take note that a connection came about."""
        self._rests.end(source.ip)
        self._refusal = None

    def not_reached(self, lane: Lane, source: Source, refusal: Refusal | None) -> None:
        """Take note that a connection did not come about: one too many, or this source IP does not get through."""
        if any(c.connected and c.lane is lane for c in self._carriers.values()):
            lane.crowded()
            return
        self._rests.begin(source.ip)
        if refusal is not None and self.resting_until() is not None:
            way = Way(self.provider, source.ip, self.name)
            self._refusal = (refusal, way)
            jobs = [*self.waiting.take_claimed(), *self.waiting.take_urgent(), *self.waiting.take_bulk()]
            self.around.aside(self._refuse(jobs, refusal, way))

    def resting_until(self) -> datetime | None:
        """Tell when the first source IP tries again, if none gets through now."""
        left_s = self._rests.of_all(lane.source_ip for lane in self.lanes())
        return datetime.fromtimestamp(time.time() + left_s, UTC) if left_s > 0 else None

    async def _refuse(self, jobs: list[Job], refusal: Refusal, way: Way) -> None:
        policy = self.around.control.policies.get(self.route.provider)
        await refuse(jobs, self.around, way, policy.retry_delays_s, refusal)

    # --- connections

    def grow(self) -> None:
        """Open as many connections as what waits is worth."""
        while self.waiting and (not self.around.stopping.is_set() or self.waiting.claimed):
            busy = len(self._carriers)
            if busy and len(self.waiting) * self.tempo.cycle_s / busy < DRAIN_S:
                return
            if sum(1 for carrier in self._carriers.values() if not carrier.connected) >= len(self.waiting):
                return
            awake = [lane for lane in self.lanes() if self._rests.left_s(lane.source_ip) == 0]
            slot = self.around.lanes.connection(awake, urgent=self.waiting.pressing > 0)
            if slot is None:
                return
            source = next(s for s in self.around.control.sources if s.ip == slot.lane.source_ip)
            carrier = Carrier(self, slot, source)
            task = asyncio.create_task(carrier.carry())
            self._carriers[task] = carrier
            task.add_done_callback(self._served)

    def _served(self, task: asyncio.Task[None]) -> None:
        carrier = self._carriers.pop(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            get_logger().error("connection_task_failed", mx=self.name, error=repr(error), exc_info=error)
            if not carrier.connected:  # or it would be tried, and fail, ten times a second
                self.not_reached(carrier.lane, carrier.source, _refusal("the dispatcher failed to connect"))
        if self.waiting:
            asyncio.get_running_loop().call_later(0.1, self.grow)

    # --- twice a second

    def tick(self, now_s: float) -> None:
        """Let go of what cannot go soon, and open connections."""
        if self.waiting and (closed := self.closed()) is not None:
            self._postpone(self.waiting.take_bulk(), closed)
        if self.waiting and (closed := self.closed(urgent=True)) is not None:
            self._postpone(self.waiting.take_urgent(), closed)
            if not self._carriers:
                self._end_claimed(f"the lane closed: {closed.reason}")
        self._postpone(self.saturation.look(now_s), BUSY)
        self.grow()

    def _end_claimed(self, why: str) -> None:
        """A claim cannot be taken back: the attempt ends here, without a transaction."""
        if self.waiting.claimed:
            way = Way(self.provider, None, self.name)
            self.around.aside(self._refuse(self.waiting.take_claimed(), _refusal(why), way))

    def give_back(self) -> None:
        """Let go of what is not claimed (the process stops)."""
        let_go([*self.waiting.take_urgent(), *self.waiting.take_bulk()], self.around.writer)
        self._arrived.set()

    def cut_short(self) -> None:
        """End what takes too long (the process stops): connecting, transactions before their dot, claims that wait."""
        for task, carrier in self._carriers.items():
            if carrier.connected:
                carrier.cut_short()
            else:
                task.cancel()
        self._end_claimed("the dispatcher stopped before its turn came")


def _refusal(why: str) -> Refusal:
    """Give the end of an attempt without a connection, for a reason of ours: to be tried again."""
    verdict = Verdict(permanent=False, hard=False, reason=BounceReason.NETWORK, suppress=False)
    return Refusal(SmtpPhase.CONNECT, verdict, None, why)


def _time_of(closed: Closed) -> float:
    return float("inf") if closed.ready_at is None else closed.ready_at.timestamp()


async def refuse(jobs: list[Job], around: Surroundings, way: Way, delays_s: tuple[int, ...], refusal: Refusal) -> None:
    """Count an attempt without a transaction for jobs that share a failure: through the gate, as every attempt."""
    schedule = around.retrying.schedule(delays_s)
    for start in range(0, len(jobs), 500):
        for job in await admitted(around.gate, jobs[start : start + 500]):
            await around.writer.room()
            around.reporter.refused(job, way, schedule, refusal)
