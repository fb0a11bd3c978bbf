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
INSTALLATION = "hayabin.installation"
EXCHANGES = (RENDER, DISPATCH, EVENTS, DEAD, INSTALLATION)

PARKED_QUEUE = "parked"
MARK_QUEUE = "installation.mark"
EVENTS_DELIVERY = "delivery"
EVENTS_ENGAGEMENT = "engagement"
EVENTS_BOUNCE = "bounce"

DELIVERY_LIMIT = 50
"""Deliveries of one message before the broker itself parks it; our own consumer parks poison at once."""
LOOKED_AT_LIMIT = 1_000_000_000
"""The limit of the queues that are looked at and not consumed. Looking counts as a delivery; RabbitMQ 4 throws away at
20 where nothing is said, and 3.x takes -1 for 0."""


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
        Queue(MARK_QUEUE, INSTALLATION, MARK_QUEUE),
    ]


def pool_queues(pool: str) -> list[Queue]:
    """What an IP pool adds."""
    return [Queue(dispatch_queue(pool, lane), DISPATCH, f"{pool}.{lane}") for lane in lanes()]


def queue_of(exchange: str, routing_key: str, queues: Sequence[Queue]) -> Queue | None:
    """The queue that a message goes to, or ``None`` if no binding takes it."""
    return next((q for q in queues if q.exchange == exchange and q.routing_key == routing_key), None)


def way_to(queue: str) -> tuple[str, str] | None:
    """The exchange and routing key that lead to a queue of work by its name; ``None`` for any other name."""
    family, _, routing_key = queue.partition(".")
    exchange = {"render": RENDER, "dispatch": DISPATCH, "events": EVENTS}.get(family)
    return (exchange, routing_key) if exchange and routing_key else None
