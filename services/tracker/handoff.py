"""Events on their way from a request to the belt, gathered and confirmed.

Promises: ``hand_over`` says true only when the broker has the event safely, so what was answered after it survives a
kill of this process. A batch goes when it has ``max_events`` or after ``window_s``; while the belt is away events are
tried again, at most ``max_waiting`` of them and none longer than ``keep_s``.
Fails: ``hand_over`` says false after ``answer_within_s``; an event that is given up is counted in
``hayabin_tracker_events_lost_total``, one that still waits in ``hayabin_tracker_events_waiting``. A kill of the process
loses just those that the gauge showed.
"""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass

from hayabin.broker import Broker, Outgoing
from hayabin.broker.topology import EVENTS, EVENTS_ENGAGEMENT
from hayabin.contracts.codec import encode
from hayabin.contracts.event_pb2 import Event, EventBatch
from hayabin.crash_points import CrashPoint, reach
from hayabin.telemetry import tracing
from hayabin.telemetry.logging import get_logger
from hayabin.telemetry.metrics import ENGAGEMENTS, EVENTS_LOST, EVENTS_WAITING

_RETRY_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOffLimits:
    """The bounds of the hand-off."""

    answer_within_s: float = 0.5
    keep_s: float = 30.0
    max_waiting: int = 20_000
    max_events: int = 200
    window_s: float = 0.005
    batches_under_way: int = 4
    publish_timeout_s: float = 5.0


@dataclass(slots=True, eq=False)
class _Waiting:
    event: Event
    kind: str
    until_s: float
    answer_by_s: float
    told: asyncio.Future[bool]  # whether the belt had it in time for the answer


class EventBelt:
    """The hand-off of one process; run ``run`` as a task."""

    def __init__(self, broker: Broker, limits: HandOffLimits) -> None:
        """Publish by ``broker``."""
        self._broker = broker
        self._limits = limits
        self._waiting: deque[_Waiting] = deque()
        self._answers: deque[_Waiting] = deque()  # in the order of their time; a timer for each would cost more
        self._answer_timer: asyncio.TimerHandle | None = None
        self._arrived = asyncio.Event()
        self._filled = asyncio.Event()
        self._slots = asyncio.Semaphore(limits.batches_under_way)
        self._empty = asyncio.Event()
        self._empty.set()
        self._closed = False
        self._under_way = 0
        self._tasks: set[asyncio.Task[None]] = set()
        EVENTS_WAITING.set_function(self.unconfirmed)

    def unconfirmed(self) -> int:
        """Events that are here and nowhere else."""
        return len(self._waiting) + self._under_way

    async def hand_over(self, event: Event, kind: str) -> bool:
        """Put an event on the belt; true when it is there, false when the answer has to go without that."""
        loop, limits = asyncio.get_running_loop(), self._limits
        now_s = loop.time()
        waiting = _Waiting(event, kind, now_s + limits.keep_s, now_s + limits.answer_within_s, loop.create_future())
        if self._closed or self.unconfirmed() >= limits.max_waiting:
            _lose([waiting], "stopping" if self._closed else "full")
            return False
        self._waiting.append(waiting)
        self._empty.clear()
        self._arrived.set()
        if len(self._waiting) >= limits.max_events:
            self._filled.set()
        self._answers.append(waiting)
        if self._answer_timer is None:
            self._answer_timer = loop.call_at(waiting.answer_by_s, self._answer_late)
        return await waiting.told

    def _answer_late(self) -> None:
        """Tell those whose time has come that their answer goes without the belt; forget those who know."""
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        while self._answers and (self._answers[0].told.done() or self._answers[0].answer_by_s <= now_s):
            _tell(self._answers.popleft(), confirmed=False)
        first = self._answers[0].answer_by_s if self._answers else None
        self._answer_timer = None if first is None else loop.call_at(first, self._answer_late)

    async def run(self) -> None:
        """Publish until cancelled, or until the end of ``flush``."""
        while not self._closed:
            await self._arrived.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._limits.window_s):
                    await self._filled.wait()
            await self._slots.acquire()
            if self._closed:
                return
            task = asyncio.create_task(self._publish(self._take()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def flush(self, timeout_s: float) -> None:
        """Wait until the belt has everything; what it does not take in ``timeout_s`` is counted as lost."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        self._closed = True
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        _lose(self._waiting, "stopping")
        self._waiting.clear()

    def _take(self) -> list[_Waiting]:
        count = min(self._limits.max_events, len(self._waiting))
        batch = [self._waiting.popleft() for _ in range(count)]
        self._under_way += count
        if len(self._waiting) < self._limits.max_events:
            self._filled.clear()
        if not self._waiting:
            self._arrived.clear()
        return batch

    async def _publish(self, batch: list[_Waiting]) -> None:
        confirmed = False
        try:
            confirmed = await self._confirm(batch)
        finally:
            self._under_way -= len(batch)
            if not confirmed:
                self._put_back(batch)
            if not self.unconfirmed():
                self._empty.set()
            self._slots.release()

    async def _confirm(self, batch: list[_Waiting]) -> bool:
        try:
            with tracing.tracer().start_as_current_span(
                "engagement.hand_over", attributes={"messaging.batch.message_count": len(batch)}
            ):
                body = encode(EventBatch(events=[waiting.event for waiting in batch]))
                async with asyncio.timeout(self._limits.publish_timeout_s):
                    await self._broker.publish([Outgoing(EVENTS, EVENTS_ENGAGEMENT, body, tracing.inject({}))])
        except Exception as error:  # noqa: BLE001 - whatever keeps the belt from taking it: tried again, bounded, counted
            get_logger().warning("belt_away", events=len(batch), error=repr(error))
            await asyncio.sleep(_RETRY_S)
            return False
        reach(CrashPoint.TRACK_PUBLISHED)
        for waiting in batch:
            _tell(waiting, confirmed=True)
        for kind, count in Counter(waiting.kind for waiting in batch).items():
            ENGAGEMENTS.labels(kind).inc(count)
        return True

    def _put_back(self, batch: list[_Waiting]) -> None:
        now_s = asyncio.get_running_loop().time()
        _lose([waiting for waiting in batch if waiting.until_s <= now_s], "too_old")
        self._waiting.extendleft(waiting for waiting in reversed(batch) if waiting.until_s > now_s)
        if self._waiting:
            self._arrived.set()


def _tell(waiting: _Waiting, *, confirmed: bool) -> None:
    if not waiting.told.done():
        waiting.told.set_result(confirmed)


def _lose(given_up: Iterable[_Waiting], why: str) -> None:
    """Count events that nobody will hear of."""
    for kind, count in Counter(waiting.kind for waiting in given_up).items():
        EVENTS_LOST.labels(kind).inc(count)
        get_logger().error("events_lost", kind=kind, count=count, why=why)
