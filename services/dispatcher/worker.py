"""The dispatcher's work: batches from the belt, by domain to their destinations, acknowledged when they are safe.

Promises: one slow domain holds up neither the others of its batch nor other batches, whether its DNS, its MX or its
lane is slow; a batch whose lease ended is dropped (its rows were fed again); on stop, claimed mails are finished and
the rest goes back to the belt.
Fails: undecodable batches are parked by ``hayabin.broker.consumer``.
"""

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from opentelemetry.trace import set_span_in_context

from hayabin.broker import Delivery
from hayabin.contracts.codec import decode
from hayabin.contracts.dispatch_pb2 import MailBatch
from hayabin.crash_points import CrashPoint, reach
from hayabin.database.clock import DatabaseClock
from hayabin.domain.errors import TemporaryFailure
from hayabin.domain.smtp_reply import SmtpPhase
from hayabin.telemetry import tracing
from hayabin.telemetry.metrics import LANE_POSTPONED, TAKEN_OVER
from services.dispatcher.batch import BatchInHand, Job, take_in_hand
from services.dispatcher.destination import Destination, refuse
from services.dispatcher.intake import SPAN_S, Intake
from services.dispatcher.mta_sts import MtaSts
from services.dispatcher.outcomes import Postponement
from services.dispatcher.postponing import let_go
from services.dispatcher.reporting import Refusal, Way
from services.dispatcher.resolver import Resolver
from services.dispatcher.route import Route, RoutingFailure
from services.dispatcher.saturation import PATIENCE_S
from services.dispatcher.sts_policy import StsPolicy
from services.dispatcher.surroundings import Surroundings

FORGET_DESTINATION_S = 300.0
TICK_S = 0.5
DNS_PAUSE_S = 30.0
NEARLY_ALL = 0.9
"""From this part of what is sent on, slow destinations are all that is served."""


@dataclass(slots=True, eq=False)
class Worker:
    """See the module; ``mta_sts`` is None where recipients' policies are not looked up.

    ``grace_s`` is how long transactions under way may take when the process stops; those that have sent their final dot
    are awaited beyond it.
    """

    around: Surroundings
    resolver: Resolver
    clock: DatabaseClock
    mta_sts: MtaSts | None = None
    grace_s: float = 15.0
    destinations: dict[object, Destination] = field(default_factory=dict)
    in_hand: set[BatchInHand] = field(default_factory=set)
    intake: Intake = field(default_factory=Intake)
    urgent_intake: Intake = field(default_factory=Intake)  # transactional mail does not wait behind bulk
    learnt: dict[str, str] = field(default_factory=dict)  # domain → provider, for the renderers

    async def handle(self, delivery: Delivery) -> None:
        """Deliver a batch; returns when the ledger has all of it, or this process has taken over what waits.

        Raises:
            PoisonMessage: it cannot be decoded.
            TemporaryFailure: the process stops; the rest is for the next one.
        """
        batch = decode(MailBatch, delivery.body)
        if batch.lease_expires_ms < self.clock.now_s() * 1000 or not batch.mails:
            return
        reach(CrashPoint.DISPATCH_RECEIVED)
        intake = self.urgent_intake if batch.lane.startswith("transactional-") else self.intake
        await intake.enter(len(batch.mails))
        attributes: dict[str, str | int] = {
            "hayabin.campaign_id": batch.campaign_id,
            "hayabin.lane": batch.lane,
            "hayabin.attempt": batch.attempt + 1,
            "messaging.batch.message_count": len(batch.mails),
        }
        with tracing.tracer().start_as_current_span(
            "dispatch.batch", context=tracing.extract(delivery.headers), attributes=attributes
        ) as span:
            jobs = take_in_hand(delivery, batch, set_span_in_context(span), time.monotonic(), intake)
            in_hand = jobs[0].batch
            self.in_hand.add(in_hand)
            try:
                self._spread(jobs)
                await in_hand.all_settled.wait()
            finally:
                self.in_hand.discard(in_hand)
        if in_hand.given_back:
            raise TemporaryFailure("stopping")
        reach(CrashPoint.DISPATCH_BEFORE_ACK)

    def _spread(self, jobs: list[Job]) -> None:
        by_domain: dict[str, list[Job]] = defaultdict(list)
        for job in jobs:
            by_domain[job.recipient.rpartition("@")[2].lower()].append(job)
        known_ways: dict[Destination, list[Job]] = defaultdict(list)  # many domains share one
        for domain, mine in by_domain.items():
            known = self._known(domain)
            if known is None:
                self.around.aside(self._route(domain, mine))
            else:
                known_ways[self._destination_of(domain, *known)].extend(mine)
        for destination, mine in known_ways.items():
            destination.put(mine)

    def _known(self, domain: str) -> tuple[Route, StsPolicy | None] | None:
        """Give what needs no look-up, as for nearly all mails; a task for each domain of a batch would cost more."""
        route = self.resolver.kept(domain)
        sts = (None,) if self.mta_sts is None else self.mta_sts.kept(domain)
        return None if route is None or sts is None else (route, sts[0])

    def _destination_of(self, domain: str, route: Route, sts: StsPolicy | None) -> Destination:
        if route.provider and len(self.learnt) < 10_000:
            self.learnt[domain] = route.provider
        return self._destination(route, sts)

    async def _route(self, domain: str, jobs: list[Job]) -> None:
        looking = asyncio.create_task(self._look_up(domain))
        done, _ = await asyncio.wait({looking}, timeout=PATIENCE_S)
        if not done:
            jobs = self._taken_over(jobs)
            if not await self._done_before_stop(looking):
                let_go(jobs, self.around.writer)
                return
        try:
            route, sts = await looking
        except RoutingFailure as failure:
            delays_s = self.around.control.policies.get(None).retry_delays_s
            refusal = Refusal(SmtpPhase.CONNECT, failure.verdict, failure.reply, str(failure.reply))
            await refuse(jobs, self.around, Way("other"), delays_s, refusal)
            return
        if jobs:
            self._destination_of(domain, route, sts).put(jobs)

    async def _look_up(self, domain: str) -> tuple[Route, StsPolicy | None]:
        if self.mta_sts is None:
            return await self.resolver.route(domain), None
        route, sts = await asyncio.gather(self.resolver.route(domain), self.mta_sts.policy(domain))
        return route, sts

    async def _done_before_stop(self, looking: asyncio.Task[tuple[Route, StsPolicy | None]]) -> bool:
        """Wait for a look-up, but not when the process stops."""
        stopping = asyncio.create_task(self.around.stopping.wait())
        await asyncio.wait({looking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not looking.done():
            looking.cancel()
        return looking.done()

    def _taken_over(self, jobs: list[Job]) -> list[Job]:
        """Take mails over from their batch while the DNS is slow; what there is no room for comes again later."""
        kept = [job for job in jobs if job.detach(self.around.taken_over)]
        until = datetime.now(UTC) + timedelta(seconds=DNS_PAUSE_S)
        for job in jobs:
            if not job.detached:
                LANE_POSTPONED.labels("dns").inc()
                self.around.writer.put(Postponement(job.message_id, job.attempt, until, "dns", job.settle))
        return kept

    def _destination(self, route: Route, sts: StsPolicy | None) -> Destination:
        key = (route.provider, frozenset((host.name, host.secure) for host in route.hosts), sts)
        found = self.destinations.get(key)
        if found is None:
            name = min(route.hosts, key=lambda host: (host.preference, host.name)).name  # the same for equals each time
            found = self.destinations[key] = Destination(name, route, sts, self.around)
        else:
            found.route = route  # addresses may have changed
        return found

    async def tick_for_ever(self) -> None:
        """Let go of what cannot go soon, let lanes recover, and forget destinations that nobody needs."""
        while True:
            await asyncio.sleep(TICK_S)
            now_s = time.monotonic()
            self.around.lanes.tick()
            TAKEN_OVER.set(self.around.taken_over.mails)
            all_per_s = slow_per_s = 0.0
            for key, destination in list(self.destinations.items()):
                destination.tick(now_s)
                per_s = destination.tempo.per_s(SPAN_S)
                all_per_s += per_s
                slow_per_s += per_s if destination.saturation.now else 0.0
                if destination.idle and now_s - destination.used_s > FORGET_DESTINATION_S:
                    del self.destinations[key]
            self.intake.all_slow = slow_per_s > all_per_s * NEARLY_ALL

    async def drain(self) -> None:
        """Finish what is claimed and give back the rest; the subscriptions must be cancelled and ``stopping`` set."""
        for intake in (self.intake, self.urgent_intake):
            intake.end()
        for destination in self.destinations.values():
            destination.give_back()
        end_s = time.monotonic() + self.grace_s
        while any(not destination.idle for destination in self.destinations.values()):
            await asyncio.sleep(0.05)
            if time.monotonic() > end_s:
                for destination in self.destinations.values():
                    destination.cut_short()
        await self.around.finished()
        await self.around.writer.flushed()
        if self.mta_sts is not None:
            await self.mta_sts.close()
        await self.resolver.close()
        while self.in_hand:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
