"""The one place that turns failures of handlers into what happens to the message.

Promises: success → ack; ``TemporaryFailure`` → put back after a pause (so that a broken dependency is not hammered, nor
the delivery limit of the queue used up: by the longest pause it lasts for more than eleven minutes);
``PermanentFailure`` → ack (it was recorded where users see it); ``PoisonMessage`` → parked with its reason; what says
that the database or the broker is away → put back after a pause, however often; any other exception → put back, and
parked when it comes back for the third time.
Fails: if settling itself fails (connection lost), the broker delivers again; handlers are idempotent.
"""

import asyncio
from collections.abc import Awaitable, Callable

from hayabin.broker.interface import Delivery, OnDelivery
from hayabin.database.engine import AWAY
from hayabin.domain.errors import PermanentFailure, PoisonMessage, TemporaryFailure
from hayabin.telemetry.logging import get_logger
from hayabin.telemetry.metrics import PARKED, REQUEUED

TEMPORARY_PAUSE_S = 1.0
LONGEST_PAUSE_S = 15.0
MAX_SURPRISES = 3


def handle(handler: Callable[[Delivery], Awaitable[None]]) -> OnDelivery:
    """Wrap ``handler`` with the failure policy of this module."""
    surprises: dict[int, int] = {}

    async def on_delivery(delivery: Delivery) -> None:
        try:
            await handler(delivery)
        except TemporaryFailure as failure:
            await put_back(delivery, failure.reason)
        except PermanentFailure as failure:
            get_logger().warning("work_refused", queue=delivery.queue, reason=failure.reason, detail=failure.detail)
            await delivery.ack()
        except PoisonMessage as failure:
            await park(delivery, failure.reason, failure.detail)
        except AWAY as error:  # the database, the broker, whatever is outside: no fault of the message
            get_logger().warning("dependency_failed", queue=delivery.queue, error=repr(error))
            await put_back(delivery, "dependency_failed")
        except Exception as error:  # noqa: BLE001 - logged, bounded, parked
            get_logger().exception("handler_failed", queue=delivery.queue)
            key = hash(delivery.body)
            surprises[key] = surprises.get(key, 0) + 1
            if surprises[key] >= MAX_SURPRISES:
                del surprises[key]
                await park(delivery, "handler_failed", repr(error))
            else:
                if len(surprises) > 1000:  # bounds memory if everything fails
                    surprises.clear()
                await put_back(delivery, "handler_failed")
        else:
            await delivery.ack()

    return on_delivery


async def put_back(delivery: Delivery, reason: str) -> None:
    """Requeue after a pause, counted."""
    REQUEUED.labels(delivery.queue, reason).inc()
    await asyncio.sleep(pause_s(delivery))
    await delivery.requeue()


def pause_s(delivery: Delivery) -> float:
    """The pause before it is put back: longer each time that the broker has delivered it, as far as it says so."""
    said = delivery.headers.get("x-delivery-count", "")  # of quorum queues
    before = int(said) if said.isdecimal() and len(said) < 3 else 0
    return min(TEMPORARY_PAUSE_S * float(1 << before), LONGEST_PAUSE_S)


async def park(delivery: Delivery, reason: str, detail: str = "") -> None:
    """Park with the reason, counted and logged."""
    PARKED.labels(delivery.queue, reason).inc()
    get_logger().error("message_parked", queue=delivery.queue, reason=reason, detail=detail[:500])
    await delivery.park(reason, detail[:500])
