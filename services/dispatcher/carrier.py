"""One connection of a destination: it connects, lets mails through the gate in small groups, and carries them.

Promises: no SMTP transaction begins without the gate and without the lane's leave; a group takes about a quarter of a
second (a second with a far server), so a pause is quick and a crash leaves few ``unknown``; what the lane granted and
did not begin is given back; a claimed mail whose connection closed before it was offered goes over another one.
Fails: a surprise comes out of ``carry``; the mail at which it happened becomes ``unknown``, the others of its group go
over another connection.
"""

import asyncio
import time
from collections import deque
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from hayabin.crash_points import CrashPoint, reach
from hayabin.domain.address import bare_form
from hayabin.domain.errors import TemporaryFailure
from hayabin.domain.policy import DottedForm, Policy
from hayabin.domain.smtp_reply import SmtpPhase
from hayabin.telemetry.metrics import SMTP_CONNECTIONS, SMTP_SECONDS
from services.dispatcher import complaints, smtp_outcome
from services.dispatcher.batch import Job
from services.dispatcher.connecting import Connecting
from services.dispatcher.envelope import Envelope, EnvelopeRefused
from services.dispatcher.gate import admitted
from services.dispatcher.lanes import ConnectionSlot
from services.dispatcher.rates import NS
from services.dispatcher.reporting import Sent, Way
from services.dispatcher.settings import Source
from services.dispatcher.smtp_session import SmtpSession
from services.dispatcher.spans import transaction_span

if TYPE_CHECKING:
    from services.dispatcher.destination import Destination

GROUP_S = 0.25
"""A group of claimed mails should take no longer than this,"""
FAR_GROUP_S = 1.0
FAR_GROUP = 4
"""or this, where only so few are in it: to a far server each mail but the first of a group saves a round trip."""
MAX_GROUP = 16
LATE_S = 1.0
"""Where the gate took longer, the lane is asked anew: mails that all waited for it must not begin at once."""
LONGEST_WAIT_S = 1.0
"""A connection that would have to wait longer for its lane's rate is closed."""
MAX_FRESH_STARTS = 3


class Carrier:
    """See the module; ``begun_s`` is since when what it does now takes (for who estimates)."""

    __slots__ = (
        "_announced",
        "_around",
        "_destination",
        "_granted_ns",
        "_had_enough",
        "_session",
        "_slot",
        "begun_s",
        "busy",
        "connected",
        "lane",
        "source",
    )

    def __init__(self, destination: "Destination", slot: ConnectionSlot, source: Source) -> None:
        """Carry for ``destination`` on the lane of ``slot``, from ``source``."""
        self._destination = destination
        self._around = destination.around
        self._slot = slot
        self.lane = slot.lane
        self.source = source
        self.begun_s = time.monotonic()
        self.busy = True
        self.connected = False
        self._had_enough = False
        self._granted_ns = 0  # when the lane let the group begin
        self._session: SmtpSession | None = None
        self._announced: Envelope | None = None  # of the next mail of the group

    def cut_short(self) -> None:
        """End what is under way where that is safe: no final dot is out."""
        if self._session is not None:
            self._session.cut_short()

    @property
    def _policy(self) -> Policy:
        return self.lane.policy

    async def carry(self) -> None:
        """Connect and carry until nothing waits, the connection has had its share, or the lane closes."""
        try:
            async with AsyncExitStack() as place:
                async with self._around.connecting:
                    await place.enter_async_context(self._around.connections)
                    self.begun_s = time.monotonic()
                    session = await Connecting(self._destination, self.lane, self.source).session()
                if session is not None:
                    await self._use_and_quit(session)
        finally:
            self.busy = False
            self._slot.release()

    async def _use_and_quit(self, session: SmtpSession) -> None:
        self.connected = True
        self._session = session
        self._destination.reached(self.source)
        SMTP_CONNECTIONS.labels(self._destination.provider).inc()
        try:
            await self._use(session)
        finally:
            SMTP_CONNECTIONS.labels(self._destination.provider).dec()
            await session.quit()

    # --- carrying

    def _has_room(self, session: SmtpSession) -> int:
        """Tell how many more mails this connection may carry."""
        policy = self._policy
        most = min(policy.messages_per_connection, policy.recipients_per_session or policy.messages_per_connection)
        return most - session.transactions

    def _goes_on(self, session: SmtpSession) -> bool:
        return session.usable and not self._had_enough and self._has_room(session) > 0

    async def _use(self, session: SmtpSession) -> None:
        while self._goes_on(session):
            group = await self._claimed_group(session)
            if not group:
                return
            size = len(group)
            begun_s = max(self.begun_s, time.monotonic() - GROUP_S)  # a database that was away is no slow destination
            while group:
                if not self._goes_on(session):
                    self.lane.give_back(len(group), self._granted_ns)
                    self._destination.again(group)
                    return
                job = group.popleft()
                try:
                    await self._send(session, job, group[0] if group else None)
                except Exception:
                    peer = session.peer
                    way = Way(self._destination.provider, peer.source_ip, peer.host, peer.address, peer)
                    self._around.reporter.lost_sight(job, way)
                    self.lane.give_back(len(group), self._granted_ns)
                    self._destination.again(group)
                    raise
            self._destination.tempo.cycled((time.monotonic() - begun_s) / size)

    async def _claimed_group(self, session: SmtpSession) -> deque[Job]:
        """The next mails that may go out now; empty when there are none, the lane closes or the process stops."""
        destination, lane = self._destination, self.lane
        while self._goes_on(session) and destination.serves(self.source):
            self.busy = False
            urgent = lane.closed() is not None  # then only what is transactional may go, if that
            waiting = destination.waiting.pressing if urgent else len(destination.waiting)
            size = min(_group_of(destination.tempo.transaction_s), self._has_room(session), waiting)
            granted = lane.grant(size, urgent=urgent) if size else 0
            if granted:
                self.busy, self.begun_s, self._granted_ns = True, time.monotonic(), lane.used_ns
                group = await self._through_the_gate(destination.waiting.take(granted))
                if group is None:
                    break
                if lane.now_ns() - self._granted_ns > LATE_S * NS:
                    lane.give_back(len(group), self._granted_ns)
                    destination.again(group)
                elif group:
                    return group
            elif size:
                wait_s = lane.wait_s()
                if lane.closed(urgent=urgent) is not None or wait_s > LONGEST_WAIT_S:
                    break
                await asyncio.sleep(max(wait_s, 0.001))
            elif self._around.stopping.is_set() or urgent or not await destination.something_arrives():
                break
        return deque()

    async def _through_the_gate(self, jobs: list[Job]) -> deque[Job] | None:
        """Claim mails; None where the gate is closed, as it will not open again."""
        group: list[Job] = []
        try:
            await self._around.writer.room()
            group = await admitted(self._around.gate, jobs)
        except TemporaryFailure:  # the process stops: the rows are not ours
            self._destination.again(jobs)
            return None
        except BaseException:
            self._destination.again(jobs)
            raise
        finally:
            self.lane.give_back(len(jobs) - len(group), self._granted_ns)
        return deque(group)

    async def _send(self, session: SmtpSession, job: Job, following: Job | None) -> None:
        destination, peer = self._destination, session.peer
        self.begun_s = started_s = time.monotonic()
        way = Way(destination.provider, peer.source_ip, peer.host, peer.address, peer)
        with transaction_span(job, way) as span:
            try:
                reach(CrashPoint.SMTP_BEFORE_MAIL)
                envelope, self._announced = self._announced or self._envelope(job), None
                if following is not None:
                    self._announced = self._possible_envelope(following)
                end = await session.send(envelope, self._announced)
            except EnvelopeRefused as error:
                end = smtp_outcome.never_offered(str(error))
            self._had_enough = _has_enough_of_us(session, end)
            if (self._had_enough or _was_closed_before(session, end)) and job.fresh_starts < MAX_FRESH_STARTS:
                job.fresh_starts += 1
                self.lane.give_back(1, self._granted_ns)
                destination.again([job])
                return
            destination.tempo.took(time.monotonic() - started_s)
            SMTP_SECONDS.labels(destination.provider).observe(end.duration_s)
            schedule = self._around.retrying.schedule(self._policy.retry_delays_s)
            judged = None
            if end.accepted:
                reach(CrashPoint.SMTP_REPLIED)
                if self.lane.accepted():
                    destination.grow()
            elif end.verdict is not None:
                judged = complaints.take(end.reply, end.phase, end.verdict, self.lane, self._around.control.suspensions)
            soon = judged is not None and judged.other_ip and destination.open_by_another(self.lane)
            verdict = None if judged is None else judged.verdict
            state = self._around.reporter.sent(job, way, schedule, Sent(end, verdict, session.conversation, soon=soon))
            span(state, end)

    def _possible_envelope(self, job: Job) -> Envelope | None:
        try:
            return self._envelope(job)
        except EnvelopeRefused:  # it comes to that when its turn comes
            return None

    def _envelope(self, job: Job) -> Envelope:
        """The envelope in the form that the provider takes; the mailbox is that of the ledger.

        Raises: EnvelopeRefused where it is not.
        """
        if job.misaddressed:
            raise EnvelopeRefused("the mail is addressed to another mailbox than the ledger says")
        bare = self._policy.dotted_local_part is DottedForm.BARE
        return Envelope(job.return_path, bare_form(job.recipient) if bare else job.recipient, job.content)


def _group_of(transaction_s: float) -> int:
    """Give how many mails are claimed at once."""
    near, far = int(GROUP_S / transaction_s), int(FAR_GROUP_S / transaction_s)
    return min(max(1, near, min(far, FAR_GROUP)), MAX_GROUP)


def _was_closed_before(session: SmtpSession, end: smtp_outcome.Outcome) -> bool:
    """The server had closed a used connection before this mail was offered: that is not this mail's attempt."""
    if session.usable or session.transactions <= 1 or end.phase is not SmtpPhase.MAIL:
        return False
    return end.reply is None or end.reply.code == 421


def _has_enough_of_us(session: SmtpSession, end: smtp_outcome.Outcome) -> bool:
    """The server takes no more mails on this connection, and says so to MAIL instead of closing (OpenSMTPD does)."""
    if session.transactions <= 1 or end.phase is not SmtpPhase.MAIL or end.reply is None:
        return False
    return end.reply.is_temporary and (end.reply.enhanced == "4.5.3" or "too many messages" in end.reply.text.lower())
