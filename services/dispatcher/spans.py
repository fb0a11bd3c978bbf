"""Spans of the dispatcher: one for each batch, one for each sampled message.

Promises: a span costs nothing for a message that is not sampled; a sampled one's says state and reply code.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from opentelemetry.trace import Span, Status, StatusCode

from hayabin.domain.message import MessageState
from hayabin.telemetry import tracing
from hayabin.telemetry.logging import address_hash
from services.dispatcher.batch import Job
from services.dispatcher.reporting import Way
from services.dispatcher.smtp_outcome import Outcome

SpanEnd = Callable[[MessageState, Outcome], None]


class Sampling:
    """Which messages have a span: those whose ledger id falls into the ratio, the same ones in every service."""

    ratio = 0.01

    @classmethod
    def takes(cls, message_id: int) -> bool:
        """Whether this message is sampled."""
        return (message_id * 2654435761 & 0xFFFFFFFF) < cls.ratio * 2**32


def _nothing(_state: MessageState, _end: Outcome) -> None:
    return


@contextmanager
def transaction_span(job: Job, way: Way) -> Iterator[SpanEnd]:
    """A span around one SMTP transaction, in the trace of its batch; call what it yields with the end."""
    if not Sampling.takes(job.message_id):
        yield _nothing
        return
    attributes: dict[str, str | int] = {
        "hayabin.message_id": job.message_id,
        "hayabin.campaign_id": job.batch.campaign_id,
        "hayabin.attempt": job.attempt + 1,
        "hayabin.lane": job.batch.lane,
        "hayabin.recipient_hash": address_hash(job.recipient),
        "server.address": way.mx or "",
        "hayabin.source_ip": way.source_ip or "",
    }
    with tracing.tracer().start_as_current_span(
        "smtp.transaction", context=job.batch.context, attributes=attributes
    ) as span:
        yield lambda state, end: _finish(span, state, end)


def _finish(span: Span, state: MessageState, end: Outcome) -> None:
    span.set_attribute("hayabin.state", state.value)
    span.set_attribute("smtp.phase", end.phase.value)
    if end.reply is not None:
        span.set_attribute("smtp.reply_code", end.reply.code)
    if state not in (MessageState.ACCEPTED, MessageState.DEFERRED):
        span.set_status(Status(StatusCode.ERROR, state.value))
