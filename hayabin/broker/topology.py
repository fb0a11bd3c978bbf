"""Every exchange and queue, in one table.

Promises: durable quorum queues only, at-least-once dead-lettering, a delivery limit, so that RabbitMQ 3.10 and 4.x
agree; declaring again changes nothing.
Fails: a queue that exists with other arguments is refused by the broker at declaration, loudly.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hayabin.domain.campaign import RenderBelt
from hayabin.domain.lane import lanes

RENDER = "hayabin.render"
DISPATCH = "hayabin.dispatch"
EVENTS = "hayabin.events"
DEAD = "hayabin.dead"
EXCHANGES = (RENDER, DISPATCH, EVENTS, DEAD)

PARKED_QUEUE = "parked"
EVENTS_DELIVERY = "delivery"
EVENTS_ENGAGEMENT = "engagement"
EVENTS_BOUNCE = "bounce"

DELIVERY_LIMIT = 50
"""Deliveries of one message before the broker itself parks it; our own consumer parks poison at once."""


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue and the binding that fills it."""

    name: str
    exchange: str
    routing_key: str


def render_queue(belt: str) -> str:
    """Queue of the chunks of a ``RenderBelt``."""
    return f"render.{belt}"


def belt_of(queue: str) -> RenderBelt:
    """The belt of a render queue.

    Raises: ValueError for the name of another queue.
    """
    return RenderBelt(queue.removeprefix("render."))


def dispatch_queue(pool: str, lane: str) -> str:
    """Queue of the batches of a lane of a pool."""
    return f"dispatch.{pool}.{lane}"


def events_queue(kind: str) -> str:
    """Queue of the events of a kind."""
    return f"events.{kind}"


def shared_queues() -> list[Queue]:
    """What every installation has."""
    kinds = (EVENTS_DELIVERY, EVENTS_ENGAGEMENT, EVENTS_BOUNCE)
    return [
        *(Queue(render_queue(belt), RENDER, belt) for belt in RenderBelt),
        *(Queue(events_queue(kind), EVENTS, kind) for kind in kinds),
        Queue(PARKED_QUEUE, DEAD, PARKED_QUEUE),
    ]


def pool_queues(pool: str) -> list[Queue]:
    """What an IP pool adds."""
    return [Queue(dispatch_queue(pool, lane), DISPATCH, f"{pool}.{lane}") for lane in lanes()]


def queue_of(exchange: str, routing_key: str, queues: Sequence[Queue]) -> Queue | None:
    """The queue that a message goes to, or ``None`` if no binding takes it."""
    return next((q for q in queues if q.exchange == exchange and q.routing_key == routing_key), None)
