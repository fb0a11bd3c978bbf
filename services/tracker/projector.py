"""Takes batches of engagement off the belt and projects all that are there in one transaction.

Promises: a batch is acknowledged after the commit that holds its events; while one transaction is under way the next
one gathers. A batch whose projection fails for itself does not keep the others from theirs.
Fails: an undecodable batch is parked; with Postgres away batches go back to the belt after a pause.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Final

from hayabin.broker import Delivery
from hayabin.broker.consumer import handle
from hayabin.crash_points import CrashPoint, reach
from hayabin.database.engine import AWAY, Pool
from hayabin.domain.errors import TemporaryFailure
from hayabin.telemetry import tracing
from hayabin.telemetry.logging import get_logger
from services.tracker.projection import Fact, Projected, project, read_facts

MAX_EVENTS: Final = 5000
_WINDOW_S: Final = 0.05
"""Nobody waits for a projection: what gathers for so long is one transaction instead of ten."""


@dataclass(slots=True, eq=False)
class _Waiting:
    facts: list[Fact]
    traceparent: str
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Projector:
    """The projector of one process; run ``run`` as a task and consume with ``on_delivery``."""

    def __init__(self, pool: Pool) -> None:
        """Write by ``pool``."""
        self._pool = pool
        self._waiting: list[_Waiting] = []
        self._arrived = asyncio.Event()
        self._settle = handle(self._handle)
        self._in_hand = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def on_delivery(self, delivery: Delivery) -> None:
        """Project a batch and settle it."""
        self._in_hand += 1
        self._idle.clear()
        try:
            await self._settle(delivery)
        finally:
            self._in_hand -= 1
            if not self._in_hand:
                self._idle.set()

    async def drained(self) -> None:
        """Wait until every batch in hand is settled; the subscription must be cancelled."""
        await self._idle.wait()

    async def run(self) -> None:
        """Project until cancelled."""
        while True:
            await self._arrived.wait()
            await asyncio.sleep(_WINDOW_S)
            await self._project(self._take())

    async def _handle(self, delivery: Delivery) -> None:
        waiting = _Waiting(read_facts(delivery.body), delivery.headers.get("traceparent", ""))
        if waiting.facts:
            self._waiting.append(waiting)
            self._arrived.set()
            await waiting.done

    def _take(self) -> list[_Waiting]:
        taken: list[_Waiting] = []
        events = 0
        for waiting in self._waiting:
            events += len(waiting.facts)
            if taken and events > MAX_EVENTS:
                break
            taken.append(waiting)
        del self._waiting[: len(taken)]
        if not self._waiting:
            self._arrived.clear()
        return taken

    async def _project(self, taken: list[_Waiting]) -> None:
        """One transaction for all; where that fails for a reason of theirs, one for each."""
        try:
            await self._write(taken)
        except AWAY as error:
            _answer(taken, TemporaryFailure("database_away", repr(error)))
        except Exception as error:  # noqa: BLE001 - the consumer's policy decides, batch by batch
            if len(taken) == 1:
                _answer(taken, error)
                return
            get_logger().warning("projected_one_by_one", batches=len(taken), error=repr(error))
            for waiting in taken:
                await self._project([waiting])
        else:
            _answer(taken, None)

    async def _write(self, taken: list[_Waiting]) -> Projected:
        facts = [fact for waiting in taken for fact in waiting.facts]
        links = [link for waiting in taken for link in tracing.link_of(waiting.traceparent)]
        attributes = {"messaging.batch.message_count": len(taken), "hayabin.events": len(facts)}
        with tracing.tracer().start_as_current_span("engagement.project", links=links, attributes=attributes) as span:
            async with self._pool.acquire() as connection, connection.transaction():
                projected = await project(connection, facts)
            reach(CrashPoint.TRACK_PROJECTED)
            for traceparent in projected.traceparents:
                for link in tracing.link_of(traceparent):
                    span.add_link(link.context)
            if projected.resolved:
                get_logger().info("unknown_resolved", rows=projected.resolved, by="engagement")
            return projected


def _answer(taken: list[_Waiting], error: Exception | None) -> None:
    for waiting in taken:
        if waiting.done.done():
            continue
        if error is None:
            waiting.done.set_result(None)
        else:
            waiting.done.set_exception(error)
