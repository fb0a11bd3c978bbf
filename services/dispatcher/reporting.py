"""From what happened on the wire to what the ledger is told.

Promises: a 2yz to the final dot is ``accepted``; a lost reply to it is ``unknown``; a permanent refusal is ``bounced``;
all else is ``deferred`` with its next time, or ``expired`` when the schedule is over. Each attempt keeps where it went,
what TLS came to, and its transcript.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from hayabin.database.clock import DatabaseClock
from hayabin.database.ledger import Outcome
from hayabin.domain.bounce_reason import Verdict
from hayabin.domain.message import MessageState
from hayabin.domain.retry import RetrySchedule
from hayabin.domain.smtp_reply import Reply, SmtpPhase
from services.dispatcher import smtp_outcome
from services.dispatcher.batch import Job
from services.dispatcher.outcomes import OutcomeWriter, Report
from services.dispatcher.smtp_parameters import Peer
from services.dispatcher.transcript import Conversation, transcript, transcript_of_failure

SOON_S = 2.0
"""Pause before another IP of the pool tries."""


@dataclass(frozen=True, slots=True)
class Way:
    """Where an attempt went; ``peer`` where a connection stood, ``tried`` where none came about."""

    provider: str
    source_ip: str | None = None
    mx: str | None = None
    address: str | None = None
    peer: Peer | None = None
    tried: Peer | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """An attempt that ended before a transaction: no route, or no connection; ``soon``: another IP should try."""

    phase: SmtpPhase
    verdict: Verdict
    reply: Reply | None
    detail: str
    peer: Peer | None = None
    lines: tuple[str, ...] = ()
    soon: bool = False


@dataclass(frozen=True, slots=True)
class Sent:
    """A transaction's end, how a refusal was judged, what was said, and whether another IP should try soon."""

    end: smtp_outcome.Outcome
    verdict: Verdict | None = None
    said: Conversation | None = None
    soon: bool = False


@dataclass(frozen=True, slots=True)
class _Fate:
    state: MessageState
    next_at: datetime | None = None
    reason: str | None = None


class Reporter:
    """Turns ends of attempts into outcomes and hands them to the writer."""

    def __init__(self, writer: OutcomeWriter, clock: DatabaseClock | None = None) -> None:
        """Report to ``writer``; the next attempt's time is of ``clock``."""
        self._writer = writer
        self._clock = clock or DatabaseClock()

    def sent(self, job: Job, way: Way, schedule: RetrySchedule, sent: Sent) -> MessageState:
        """Report a transaction; returns the state that the row takes."""
        end = sent.end
        if end.accepted:
            fate = _Fate(MessageState.ACCEPTED)
        elif sent.verdict is None:
            fate = _Fate(MessageState.UNKNOWN, None, end.kind.value)
        else:
            fate = self._fate(job, schedule, sent.verdict, soon=sent.soon)
        said = None if sent.said is None else partial(transcript, sent.said, end)
        outcome = _outcome(job, way, fate, end.phase, end.reply, int(end.duration_s * 1000))
        self._put(job, way, outcome, said, suppress=sent.verdict is not None and sent.verdict.suppress)
        return fate.state

    def lost_sight(self, job: Job, way: Way) -> None:
        """Report a transaction that ended in a fault of ours: what the server has of it, nobody knows."""
        fate = _Fate(MessageState.UNKNOWN, None, "dispatcher_failed")
        self._put(job, way, _outcome(job, way, fate, SmtpPhase.DOT, None), None, suppress=False)

    def refused(self, job: Job, way: Way, schedule: RetrySchedule, refusal: Refusal) -> None:
        """Report an attempt without a transaction."""
        fate = self._fate(job, schedule, refusal.verdict, soon=refusal.soon)
        reply = refusal.reply or Reply(0, None, refusal.detail)
        said = None
        if refusal.peer is not None:
            way = replace(way, mx=refusal.peer.host, address=refusal.peer.address, tried=refusal.peer)
            said = partial(transcript_of_failure, refusal.peer, refusal.lines, refusal.detail)
        self._put(job, way, _outcome(job, way, fate, refusal.phase, reply), said, suppress=refusal.verdict.suppress)

    def _fate(self, job: Job, schedule: RetrySchedule, verdict: Verdict, *, soon: bool) -> _Fate:
        if verdict.permanent:
            return _Fate(MessageState.BOUNCED, None, verdict.reason.value)
        now = self._clock.now()
        next_at = schedule.next_attempt(job.attempt + 1, job.batch.launched_at, now, random.random())  # noqa: S311
        if next_at is None:
            return _Fate(MessageState.EXPIRED, None, verdict.reason.value)
        if soon:
            next_at = min(next_at, now + timedelta(seconds=SOON_S))
        return _Fate(MessageState.DEFERRED, next_at, verdict.reason.value)

    def _put(self, job: Job, way: Way, outcome: Outcome, said: Callable[[], str] | None, *, suppress: bool) -> None:
        self._writer.put(Report(outcome, way.provider, suppress, job.settle, said))


def _outcome(
    job: Job, way: Way, fate: _Fate, phase: SmtpPhase, reply: Reply | None, duration_ms: int | None = None
) -> Outcome:
    peer, plan = way.peer, way.peer or way.tried
    return Outcome(
        message_id=job.message_id,
        attempt=job.attempt + 1,
        state=fate.state,
        next_attempt_at=fate.next_at,
        reason=fate.reason,
        phase=phase.value,
        code=None if reply is None else reply.code or None,
        enhanced=None if reply is None else reply.enhanced,
        reply=None if reply is None else reply.text,
        source_ip=way.source_ip,
        mx=way.mx,
        lane=job.batch.lane,
        tls=None if peer is None else peer.tls is not None,
        duration_ms=duration_ms,
        address=way.address,
        tls_version=None if peer is None else peer.tls,
        tls_policy=None if plan is None else plan.tls_policy or None,
        tls_result=None if plan is None else plan.tls_result or None,
    )
