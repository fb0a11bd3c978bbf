"""Events off the belt, checked before anything is done with them.

Promises: every value that comes out fits its column.
Fails: ``PoisonMessage`` for a batch that is none, or that holds facts of another kind.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final, Literal

from hayabin.contracts.codec import decode
from hayabin.contracts.event_pb2 import Event, EventBatch
from hayabin.domain.errors import PoisonMessage

EVENT_ID_BYTES: Final = 16
BIGINT_MAX: Final = 2**63 - 1


def events_of(body: bytes, kind: Literal["bounce", "delivery"]) -> Iterator[tuple[Event, datetime]]:
    """The events of a batch, with the time of each.

    Raises:
        PoisonMessage: ``undecodable``, ``unknown_version``, ``unexpected_fact`` or ``out_of_range``.
    """
    for event in decode(EventBatch, body).events:
        if event.WhichOneof("fact") != kind:
            raise PoisonMessage("unexpected_fact", str(event.WhichOneof("fact")))
        if len(event.event_id) != EVENT_ID_BYTES:
            raise PoisonMessage("out_of_range", f"event_id of {len(event.event_id)} bytes")
        try:
            yield event, datetime.fromtimestamp(event.occurred_ms / 1000, UTC)
        except (ValueError, OverflowError, OSError) as error:
            raise PoisonMessage("out_of_range", f"occurred_ms {event.occurred_ms}") from error
