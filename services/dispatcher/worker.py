"""The dispatcher's work: batches from the belt, by domain to their destinations, acknowledged when the ledger has them.

Promises: one slow domain holds up neither the others of its batch nor other batches; a batch whose lease ended is
dropped (its rows were fed again); on stop, claimed mails are finished and the rest goes back to the belt.
Fails: undecodable batches are parked by ``hayabin.broker.consumer``.
"""

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass, field

from opentelemetry.trace import set_span_in_context

from hayabin.broker import Delivery
from hayabin.contracts.codec import decode
from hayabin.contracts.dispatch_pb2 import MailBatch
from hayabin.domain.errors import TemporaryFailure
from hayabin.domain.retry import RetrySchedule
from hayabin.domain.smtp_reply import SmtpPhase
from hayabin.telemetry import tracing
from services.dispatcher.batch import BatchInHand, Job, take_in_hand
from services.dispatcher.destination import Destination, Surroundings, refuse
from services.dispatcher.policy import Policies
from services.dispatcher.reporting import Refusal, Way
from services.dispatcher.resolver import Resolver, Route, RoutingFailure

FORGET_DESTINATION_S = 300.0


@dataclass(slots=True, eq=False)
class Worker:
    """See the module."""

    around: Surroundings
    resolver: Resolver
    policies: Policies
    retry_delays: tuple[int, ...]
    retry_max_age_s: int
    destinations: dict[tuple[str, ...], Destination] = field(default_factory=dict)
    in_hand: set[BatchInHand] = field(default_factory=set)
    learnt: dict[str, str] = field(default_factory=dict)  # domain → provider, for the renderers

    async def handle(self, delivery: Delivery) -> None:
        """Deliver a batch; returns when the ledger has all of it.

        Raises:
            PoisonMessage: it cannot be decoded.
            TemporaryFailure: the process stops; the rest is for the next one.
        """
        batch = decode(MailBatch, delivery.body)
        if batch.lease_expires_ms < time.time() * 1000 or not batch.mails:
            return
        attributes: dict[str, str | int] = {
            "hayabin.campaign_id": batch.campaign_id,
            "hayabin.lane": batch.lane,
            "hayabin.attempt": batch.attempt + 1,
            "messaging.batch.message_count": len(batch.mails),
        }
        with tracing.tracer().start_as_current_span(
            "dispatch.batch", context=tracing.extract(delivery.headers), attributes=attributes
        ) as span:
            jobs = take_in_hand(delivery, batch, set_span_in_context(span), time.monotonic())
            in_hand = jobs[0].batch
            self.in_hand.add(in_hand)
            try:
                await self._spread(jobs)
                await in_hand.all_settled.wait()
            finally:
                self.in_hand.discard(in_hand)
        if in_hand.given_back:
            raise TemporaryFailure("stopping")

    async def _spread(self, jobs: list[Job]) -> None:
        by_domain: dict[str, list[Job]] = defaultdict(list)
        for job in jobs:
            by_domain[job.mail.recipient.rpartition("@")[2].lower()].append(job)
        await asyncio.gather(*(self._route(domain, mine) for domain, mine in by_domain.items()))

    async def _route(self, domain: str, jobs: list[Job]) -> None:
        try:
            route = await self.resolver.route(domain)
        except RoutingFailure as failure:
            schedule = self._schedule(self.policies.get(None).retry_delays_s)
            refusal = Refusal(SmtpPhase.CONNECT, failure.verdict, failure.reply, str(failure.reply))
            await refuse(jobs, self.around, Way("other"), schedule, refusal)
            return
        if route.provider and len(self.learnt) < 10_000:
            self.learnt[domain] = route.provider
        self._destination(route).put(jobs)

    def _destination(self, route: Route) -> Destination:
        key = (route.provider or "", *sorted(host.name for host in route.hosts))
        found = self.destinations.get(key)
        if found is None:
            policy = self.policies.get(route.provider)
            found = Destination(
                name=route.hosts[0].name,
                route=route,
                policy=policy,
                schedule=self._schedule(policy.retry_delays_s),
                around=self.around,
            )
            self.destinations[key] = found
        else:
            found.route = route  # addresses may have changed
        return found

    def _schedule(self, delays_s: tuple[int, ...]) -> RetrySchedule:
        return RetrySchedule(self.retry_delays or delays_s, self.retry_max_age_s)

    async def tick_for_ever(self) -> None:
        """Give back what waits too long, and forget destinations that nobody needs."""
        while True:
            await asyncio.sleep(1)
            now_s = time.monotonic()
            for key, destination in list(self.destinations.items()):
                destination.tick(now_s)
                if destination.idle and now_s - destination.used_s > FORGET_DESTINATION_S:
                    del self.destinations[key]

    async def drain(self) -> None:
        """Finish what is claimed and give back the rest; the subscriptions must be cancelled and ``stopping`` set."""
        for destination in self.destinations.values():
            destination.give_back()
        while any(not destination.idle for destination in self.destinations.values()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        await self.around.writer.flushed()
        while self.in_hand:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
