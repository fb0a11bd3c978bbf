"""From what happened on the wire to what the ledger is told.

Promises: a 2yz to the final dot is ``accepted``; a lost reply to it is ``unknown``; a permanent refusal is ``bounced``;
all else is ``deferred`` with its next time, or ``expired`` when the schedule is over.
"""

import random
from dataclasses import dataclass
from datetime import UTC, datetime

from hayabin.database.ledger import Outcome
from hayabin.domain.bounce_reason import Verdict
from hayabin.domain.message import MessageState
from hayabin.domain.retry import RetrySchedule
from hayabin.domain.smtp_reply import Reply, SmtpPhase
from services.dispatcher import smtp_outcome
from services.dispatcher.batch import Job
from services.dispatcher.outcomes import OutcomeWriter, Report


@dataclass(frozen=True, slots=True)
class Way:
    """Where an attempt went."""

    provider: str
    source_ip: str | None = None
    mx: str | None = None
    tls: bool | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """An attempt that ended before a transaction: no route, or no connection."""

    phase: SmtpPhase
    verdict: Verdict
    reply: Reply | None
    detail: str


class Reporter:
    """Turns ends of attempts into outcomes and hands them to the writer."""

    def __init__(self, writer: OutcomeWriter) -> None:
        """Report to ``writer``."""
        self._writer = writer

    def sent(self, job: Job, way: Way, schedule: RetrySchedule, end: smtp_outcome.Outcome) -> MessageState:
        """Report a transaction; returns the state that the row takes."""
        verdict = end.verdict
        if end.accepted:
            state, next_at, reason = MessageState.ACCEPTED, None, None
        elif verdict is None:
            state, next_at, reason = MessageState.UNKNOWN, None, end.kind.value
        else:
            state, next_at, reason = _refused(job, schedule, verdict)
        self._put(
            job,
            way,
            Outcome(
                job.message_id,
                job.attempt + 1,
                state,
                next_at,
                reason,
                end.phase.value,
                None if end.reply is None else end.reply.code,
                None if end.reply is None else end.reply.enhanced,
                None if end.reply is None else end.reply.text,
                way.source_ip,
                way.mx,
                job.batch.lane,
                way.tls,
                int(end.duration_s * 1000),
            ),
            suppress=verdict is not None and verdict.suppress,
        )
        return state

    def refused(self, job: Job, way: Way, schedule: RetrySchedule, refusal: Refusal) -> None:
        """Report an attempt without a transaction."""
        state, next_at, reason = _refused(job, schedule, refusal.verdict)
        reply = refusal.reply
        self._put(
            job,
            way,
            Outcome(
                job.message_id,
                job.attempt + 1,
                state,
                next_at,
                reason,
                refusal.phase.value,
                None if reply is None else reply.code,
                None if reply is None else reply.enhanced,
                refusal.detail if reply is None else reply.text,
                way.source_ip,
                way.mx,
                job.batch.lane,
                way.tls,
            ),
            suppress=refusal.verdict.suppress,
        )

    def _put(self, job: Job, way: Way, outcome: Outcome, *, suppress: bool) -> None:
        self._writer.put(Report(outcome, way.provider, suppress, job.settle))


def _refused(job: Job, schedule: RetrySchedule, verdict: Verdict) -> tuple[MessageState, datetime | None, str]:
    if verdict.permanent:
        return MessageState.BOUNCED, None, verdict.reason.value
    next_at = schedule.next_attempt(job.attempt + 1, job.batch.launched_at, datetime.now(UTC), random.random())  # noqa: S311
    if next_at is None:
        return MessageState.EXPIRED, None, verdict.reason.value
    return MessageState.DEFERRED, next_at, verdict.reason.value
