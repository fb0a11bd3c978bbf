"""Inbound mail onto the belt, before the sender is told that it was taken.

Promises: when ``Intake.take`` returns, the broker has the mail safely.
Fails: ``TemporaryFailure`` where the belt does not take it; the SMTP server says 451 and the sender keeps the mail.
"""

import secrets
import time

from hayabin.broker import Broker, Outgoing
from hayabin.broker.topology import EVENTS, EVENTS_BOUNCE
from hayabin.contracts.codec import encode
from hayabin.contracts.event_pb2 import BounceEvent, Event, EventBatch
from hayabin.crash_points import CrashPoint, reach
from hayabin.telemetry import tracing
from hayabin.telemetry.metrics import INBOUND_REFUSED
from services.bounce.peer_limits import Refusal
from services.bounce.smtp_server import InboundMail


class Intake:
    """What the SMTP server calls."""

    def __init__(self, broker: Broker) -> None:
        """Publish by ``broker``."""
        self._broker = broker

    async def take(self, mail: InboundMail) -> None:
        """Put a mail on the belt."""
        fact = BounceEvent(
            mail_from=mail.mail_from, rcpt_to=mail.rcpt_to, remote_address=mail.remote_address, content=mail.content
        )
        event = Event(event_id=secrets.token_bytes(16), occurred_ms=int(time.time() * 1000), bounce=fact)
        with tracing.tracer().start_as_current_span(
            "bounce.take", attributes={"hayabin.size_bytes": len(mail.content)}
        ):
            body = encode(EventBatch(events=[event]))
            await self._broker.publish([Outgoing(EVENTS, EVENTS_BOUNCE, body, tracing.inject({}))])
            reach(CrashPoint.BOUNCE_PUBLISHED)

    @staticmethod
    def refused(refusal: Refusal) -> None:
        """Count what the server turned away."""
        INBOUND_REFUSED.labels(refusal.value).inc()
