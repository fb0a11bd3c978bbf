"""One destination: the MX hosts that some domains share, the mails that wait for it, the connections that serve it.

Promises: no SMTP transaction begins without the gate; mails are claimed in small groups, as many as a quarter of a
second takes, so that a pause is quick and a crash leaves few ``unknown``; a claimed mail whose connection closed before
it was offered goes over another one; a destination that cannot be reached defers what waits and rests; what waits
longer than ``max_wait_s`` goes back to the ledger unattempted, so a slow destination holds nobody else's place.
Fails: nothing comes out of a connection's task; a surprise is logged and the mails it had claimed become ``unknown``.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hayabin.domain.errors import TemporaryFailure
from hayabin.domain.retry import RetrySchedule
from hayabin.domain.smtp_reply import SmtpPhase
from hayabin.telemetry.logging import get_logger
from hayabin.telemetry.metrics import LANE_POSTPONED, SMTP_CONNECTIONS, SMTP_SECONDS
from services.dispatcher import smtp_outcome
from services.dispatcher.batch import Job
from services.dispatcher.connect import ConnectFailure, Target, open_session
from services.dispatcher.envelope import Envelope, EnvelopeRefused
from services.dispatcher.gate import Gate, admitted
from services.dispatcher.lanes import ConnectionSlot, LaneLimits
from services.dispatcher.outcomes import OutcomeWriter, Postponement
from services.dispatcher.policy import Policy
from services.dispatcher.reporting import Refusal, Reporter, Way
from services.dispatcher.resolver import Route
from services.dispatcher.settings import Source
from services.dispatcher.smtp_session import SmtpSession
from services.dispatcher.spans import transaction_span

GROUP_S = 0.25
"""A group of claimed mails should take no longer than this."""
MAX_GROUP = 16
FIRST_GROUP = 4
JOBS_PER_CONNECTION = 4
"""Another connection is opened for every so many mails that wait."""
REST_S = 30.0
MAX_FRESH_STARTS = 3


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every destination of a dispatcher shares."""

    gate: Gate
    writer: OutcomeWriter
    reporter: Reporter
    limits: LaneLimits
    sources: tuple[Source, ...]
    smtp_port: int
    max_wait_s: float
    idle_s: float
    stopping: asyncio.Event
    connections: asyncio.Semaphore  # of the whole process


@dataclass(slots=True, eq=False)
class Destination:
    """See the module; ``name`` is the first MX host."""

    name: str
    route: Route
    policy: Policy
    schedule: RetrySchedule
    around: Surroundings
    waiting: deque[Job] = field(default_factory=deque)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    rests_until_s: float = 0.0
    transaction_s: float = GROUP_S / FIRST_GROUP  # moving average
    live: int = 0  # connections that are past EHLO
    used_s: float = field(default_factory=time.monotonic)

    @property
    def provider(self) -> str:
        """The provider that the limits hold for."""
        return self.route.provider or "other"

    @property
    def limit_key(self) -> str:
        """Whose limits count: a provider as a whole, any other destination by itself."""
        return self.route.provider or f"mx:{self.name}"

    @property
    def idle(self) -> bool:
        """Nothing waits and nobody serves."""
        return not self.waiting and not self.tasks

    def put(self, jobs: Iterable[Job]) -> None:
        """Take mails for this destination."""
        if self.around.stopping.is_set():
            for job in jobs:
                job.give_back()
            return
        self.waiting.extend(jobs)
        self.used_s = time.monotonic()
        self.arrived.set()
        self.grow()

    def grow(self) -> None:
        """Open as many connections as what waits is worth."""
        if time.monotonic() < self.rests_until_s:
            return
        if self.around.stopping.is_set() and not any(job.claimed for job in self.waiting):
            return
        wanted = min(-(-len(self.waiting) // JOBS_PER_CONNECTION), self.policy.connections * len(self.around.sources))
        while len(self.tasks) < wanted:
            slot = self.around.limits.connection(
                self.limit_key, self.policy, [source.ip for source in self.around.sources]
            )
            if slot is None:
                return
            task = asyncio.create_task(self._serve(slot))
            self.tasks.add(task)
            task.add_done_callback(self._served)

    def _served(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            get_logger().error("connection_task_failed", mx=self.name, error=repr(error), exc_info=error)
        if self.waiting:
            asyncio.get_running_loop().call_later(0.1, self.grow)

    def tick(self, now_s: float) -> None:
        """Give back what waited too long; called every second."""
        resting = now_s < self.rests_until_s
        while self.waiting and now_s - self.waiting[0].arrived_s > self.around.max_wait_s:
            job = self.waiting.popleft()
            if job.claimed:  # it has its place; somebody will take it next
                self.waiting.appendleft(job)
                break
            self._postpone(job, "destination_resting" if resting else "lane_busy")
        self.grow()

    def give_back(self) -> None:
        """Let go of what is not claimed (the process stops)."""
        given = [job for job in self.waiting if not job.claimed]
        self.waiting = deque(job for job in self.waiting if job.claimed)
        for job in given:
            job.give_back()
        self.arrived.set()

    def _postpone(self, job: Job, reason: str) -> None:
        until = datetime.now(UTC) + timedelta(seconds=self.around.max_wait_s * (0.5 + random.random()))  # noqa: S311
        LANE_POSTPONED.labels(reason).inc()
        self.around.writer.put(Postponement(job.message_id, job.attempt, until, reason, job.settle))

    # --- one connection

    async def _serve(self, slot: ConnectionSlot) -> None:
        source = next(s for s in self.around.sources if s.ip == slot.source_ip)
        try:
            async with self.around.connections:
                session = await self._connect(source)
                if session is None:
                    return
                self.live += 1
                SMTP_CONNECTIONS.labels(self.provider).inc()
                try:
                    await self._use(session, slot)
                finally:
                    self.live -= 1
                    SMTP_CONNECTIONS.labels(self.provider).dec()
                    await session.quit()
        finally:
            slot.release()

    async def _connect(self, source: Source) -> SmtpSession | None:
        failure: ConnectFailure | None = None
        for host in self.route.hosts:
            for address in host.addresses:
                target = Target(
                    host=host.name,
                    address=address,
                    port=self.around.smtp_port,
                    ehlo_name=source.ehlo_name,
                    source_ip=source.ip,
                    tls=self.policy.tls,
                    connect_timeout_s=self.policy.connect_timeout_s,
                )
                try:
                    return await open_session(target)
                except ConnectFailure as error:
                    failure = error
                    get_logger().info("connect_failed", mx=host.name, source_ip=source.ip, detail=str(error)[:200])
        if self.live == 0:  # others are welcome: then only this connection was one too many
            await self._rest(source, failure)
        return None

    async def _rest(self, source: Source, failure: ConnectFailure | None) -> None:
        """Nobody gets through: defer what waits and stay away for a while."""
        self.rests_until_s = time.monotonic() + REST_S * (0.5 + random.random())  # noqa: S311
        if failure is None:
            return
        jobs = list(self.waiting)
        self.waiting.clear()
        refusal = Refusal(failure.phase, failure.verdict, failure.reply, failure.detail)
        way = Way(self.provider, source.ip, self.name)
        await refuse(jobs, self.around, way, self.schedule, refusal)

    async def _use(self, session: SmtpSession, slot: ConnectionSlot) -> None:
        while session.usable and session.transactions < self.policy.messages_per_connection:
            group = await self._claimed_group(session, slot)
            if not group:
                return
            while group:
                if not session.usable:
                    self._again(group)
                    return
                await self._send(session, group.popleft())

    async def _claimed_group(self, session: SmtpSession, slot: ConnectionSlot) -> deque[Job]:
        """The next mails that may go out now; empty when there are none or the process stops."""
        while session.usable:
            size = max(1, min(MAX_GROUP, slot.largest_group, int(GROUP_S / self.transaction_s)))
            size = min(size, self.policy.messages_per_connection - session.transactions)
            taken = [self.waiting.popleft() for _ in range(min(size, len(self.waiting)))]
            if taken:
                try:
                    await slot.tokens(len(taken))
                    await self.around.writer.room()
                    group = await self._through_the_gate(taken)
                except BaseException:
                    self._again(taken)
                    raise
                if group:
                    return group
                continue
            if self.around.stopping.is_set():
                break
            self.arrived.clear()
            try:
                async with asyncio.timeout(self.around.idle_s):
                    await self.arrived.wait()
            except TimeoutError:
                break
        return deque()

    async def _through_the_gate(self, jobs: list[Job]) -> deque[Job]:
        try:
            return deque(await admitted(self.around.gate, jobs))
        except TemporaryFailure:  # the process stops: the rows are not ours
            self.waiting.extendleft(reversed(jobs))
            return deque()

    async def _send(self, session: SmtpSession, job: Job) -> None:
        way = Way(self.provider, session.peer.source_ip, session.peer.host, session.peer.tls is not None)
        with transaction_span(job, way) as span:
            try:
                mail = job.mail
                end = await session.send(Envelope(mail.return_path, mail.recipient, mail.content))
            except EnvelopeRefused as error:
                end = smtp_outcome.never_offered(str(error))
            if self._was_closed_before(session, end) and job.fresh_starts < MAX_FRESH_STARTS:
                job.fresh_starts += 1
                self._again([job])
                return
            self.transaction_s += 0.1 * (end.duration_s - self.transaction_s)
            SMTP_SECONDS.labels(self.provider).observe(end.duration_s)
            state = self.around.reporter.sent(job, way, self.schedule, end)
            span(state, end)

    @staticmethod
    def _was_closed_before(session: SmtpSession, end: smtp_outcome.Outcome) -> bool:
        """The server had closed a used connection before this mail was offered: that is not this mail's attempt."""
        if session.usable or session.transactions <= 1 or end.phase is not SmtpPhase.MAIL:
            return False
        return end.reply is None or end.reply.code == 421

    def _again(self, jobs: Iterable[Job]) -> None:
        self.waiting.extendleft(reversed(list(jobs)))
        self.arrived.set()


async def refuse(jobs: list[Job], around: Surroundings, way: Way, schedule: RetrySchedule, refusal: Refusal) -> None:
    """Count an attempt without a transaction for jobs that share a failure: through the gate, as every attempt."""
    for start in range(0, len(jobs), 500):
        for job in await admitted(around.gate, jobs[start : start + 500]):
            await around.writer.room()
            around.reporter.refused(job, way, schedule, refusal)
