"""Failures in the SMTP session, as the dispatchers report them: events and suppressions.

Promises: one statement for a batch; an event that arrives again changes nothing.
Fails: ``PoisonMessage`` for a batch that is none, ``TemporaryFailure`` with Postgres away.
"""

from datetime import datetime

from hayabin.broker import Delivery
from hayabin.contracts.event_pb2 import DeliveryEvent, Event
from hayabin.crash_points import CrashPoint, reach
from hayabin.database.engine import Pool
from hayabin.domain.errors import PoisonMessage
from hayabin.domain.message import MessageState
from hayabin.telemetry import tracing
from services.bounce.away import database_may_be_away
from services.bounce.effects import Refusal, refuse
from services.bounce.facts import BIGINT_MAX, events_of
from services.bounce.quarantine import storable

_DETAIL_MAX_CHARS = 100


class Refusals:
    """Consumes ``events.delivery``."""

    def __init__(self, pool: Pool) -> None:
        """Write by ``pool``."""
        self._pool = pool

    async def handle(self, delivery: Delivery) -> None:
        """Project one batch."""
        refusals = [
            _refusal(event, event.delivery, occurred_at)
            for event, occurred_at in events_of(delivery.body, "delivery")
            if event.delivery.state == MessageState.BOUNCED
        ]
        if not refusals:
            return
        with tracing.tracer().start_as_current_span(
            "delivery.project",
            context=tracing.extract(delivery.headers),
            attributes={"hayabin.events": len(refusals)},
        ) as span:
            with database_may_be_away():
                async with self._pool.acquire() as connection, connection.transaction():
                    launches = await refuse(connection, refusals)
            reach(CrashPoint.REFUSALS_PROJECTED)
            for link in (link for launch in launches for link in tracing.link_of(launch)):
                span.add_link(link.context)


def _refusal(event: Event, fact: DeliveryEvent, occurred_at: datetime) -> Refusal:
    if fact.message_id > BIGINT_MAX:
        raise PoisonMessage("out_of_range", f"message {fact.message_id}")
    return Refusal(
        event.event_id, fact.message_id, storable(fact.reason, _DETAIL_MAX_CHARS), fact.suppress, occurred_at
    )
