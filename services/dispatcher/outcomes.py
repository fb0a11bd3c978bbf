"""Outcomes of all connections, gathered into one transaction.

The transaction holds ledger rows, attempts with their transcripts, counters, and the failures for the bounce service
(by the outbox).

Promises: an outcome put here is written, however long the database is away; ``done`` is called after the commit, so a
batch is acknowledged only when the ledger has all of it. Writing again what was written changes nothing.
Fails: when the process is killed, what was not written stays ``claimed`` and becomes ``unknown``: never sent again.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

import asyncpg

from hayabin.broker.topology import EVENTS, EVENTS_DELIVERY
from hayabin.contracts.codec import encode
from hayabin.contracts.event_pb2 import DeliveryEvent, Event, EventBatch
from hayabin.crash_points import CrashPoint, reach
from hayabin.database import ledger, outbox
from hayabin.database.clock import DatabaseClock
from hayabin.database.engine import Connection, Pool
from hayabin.domain.message import MessageState
from hayabin.telemetry.logging import get_logger
from hayabin.telemetry.metrics import OUTCOME_SECONDS, OUTCOMES
from services.dispatcher.gate import DATABASE_AWAY

MAX_ROWS = 1000
MAX_WAITING = 5000
"""Bounds memory while the database is away: connections wait for room before their next transaction."""
WINDOW_S = 0.03
_RETRY_S = 0.5
_REFUSED = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.CardinalityViolationError,
    ValueError,
)
"""What the database will say again, however often it is asked."""

Done = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Report:
    """An outcome, the provider for the metric, and whether the address must not be mailed again."""

    outcome: ledger.Outcome
    provider: str
    suppress: bool
    done: Done
    said: Callable[[], str] | None = None  # gives the transcript; called when it is written


@dataclass(frozen=True, slots=True)
class Postponement:
    """A row given back unattempted; ``attempt`` counts the attempts begun, ``until`` is of this machine's clock."""

    message_id: int
    attempt: int
    until: datetime
    reason: str
    done: Done


class OutcomeWriter:
    """The outcome writer of one dispatcher; run ``run`` as a task."""

    def __init__(self, pool: Pool, *, transcripts: bool = True, clock: DatabaseClock | None = None) -> None:
        """Write by ``pool``, with or without transcripts; ``clock`` turns times of this machine into the database's."""
        self._pool = pool
        self._clock = clock or DatabaseClock()
        self._transcripts = transcripts
        self._reports: list[Report] = []
        self._postponed: list[Postponement] = []
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._empty = asyncio.Event()
        self._empty.set()

    def put(self, item: Report | Postponement) -> None:
        """Take an item to be written; call ``room`` before the next transaction."""
        if isinstance(item, Report):
            self._reports.append(item)
        else:
            self._postponed.append(item)
        self._empty.clear()
        self._arrived.set()
        if len(self._reports) + len(self._postponed) >= MAX_WAITING:
            self._room.clear()

    async def room(self) -> None:
        """Wait until there is room for more."""
        await self._room.wait()

    async def flushed(self) -> None:
        """Wait until everything that was put is written."""
        await self._empty.wait()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._arrived.wait()
            if max(len(self._reports), len(self._postponed)) < MAX_ROWS:
                await asyncio.sleep(WINDOW_S)
            await self._write_some()
            if not self._reports and not self._postponed:
                self._arrived.clear()
                self._empty.set()

    async def _write_some(self) -> None:
        reports = self._reports[:MAX_ROWS]
        postponed = self._postponed[:MAX_ROWS]
        with OUTCOME_SECONDS.time():
            await self._write_all(reports, postponed)
        del self._reports[: len(reports)]
        del self._postponed[: len(postponed)]
        self._room.set()
        if reports:
            reach(CrashPoint.OUTCOME_COMMITTED)
        for report in reports:
            OUTCOMES.labels(report.outcome.state.value, report.provider).inc()
            report.done()
        for item in postponed:
            item.done()

    async def _write_all(self, reports: list[Report], postponed: list[Postponement]) -> None:
        """Write, waiting for the database as long as it is away; what it refuses is found by halving and left out."""
        while True:
            try:
                async with self._pool.acquire() as connection, connection.transaction():
                    await _write_reports(connection, reports)
                    if self._transcripts:
                        await _write_transcripts(connection, reports)
                    await _write_postponed(connection, postponed, self._clock)
                    if reports:
                        reach(CrashPoint.OUTCOME_BEFORE_COMMIT)
                    return
            except _REFUSED as error:
                if len(reports) + len(postponed) <= 1:
                    ids = [x.outcome.message_id for x in reports] + [x.message_id for x in postponed]
                    get_logger().error("outcome_refused", message_ids=ids, error=repr(error))
                    if not reports or reports[0].outcome == _bare(reports[0].outcome):
                        return  # it stays claimed, and becomes unknown when we are gone
                    reports = [replace(reports[0], outcome=_bare(reports[0].outcome), said=None)]
                    continue
                half, other_half = len(reports) // 2, len(postponed) // 2
                await self._write_all(reports[:half], postponed[:other_half])
                reports, postponed = reports[half:], postponed[other_half:]
            except DATABASE_AWAY as error:
                get_logger().warning("outcomes_wait", rows=len(reports), error=repr(error))
                await asyncio.sleep(_RETRY_S)


def _bare(outcome: ledger.Outcome) -> ledger.Outcome:
    """What became of it, without what was said: words of others may be what the database refuses."""
    return ledger.Outcome(outcome.message_id, outcome.attempt, outcome.state, outcome.next_attempt_at, outcome.reason)


async def _write_reports(connection: Connection, reports: list[Report]) -> None:
    if not reports:
        return
    written = await ledger.record(connection, [report.outcome for report in reports])
    suppress = {report.outcome.message_id for report in reports if report.suppress}
    now_ms = int(time.time() * 1000)
    events = [
        Event(
            event_id=secrets.token_bytes(16),
            occurred_ms=now_ms,
            delivery=DeliveryEvent(
                tenant_id=row.tenant_id,
                campaign_id=row.campaign_id,
                message_id=row.message_id,
                attempt=row.attempt,
                state=row.state.value,
                reason=row.reason or "",
                suppress=row.message_id in suppress,
            ),
        )
        for row in written
        if row.state is MessageState.BOUNCED
    ]
    if events:
        await outbox.enqueue(connection, EVENTS, EVENTS_DELIVERY, encode(EventBatch(events=events)), {})


async def _write_transcripts(connection: Connection, reports: list[Report]) -> None:
    rows = [(r.outcome.message_id, r.outcome.attempt, r.said()) for r in reports if r.said is not None]
    if rows:
        await ledger.keep_transcripts(connection, rows)


async def _write_postponed(connection: Connection, postponed: list[Postponement], clock: DatabaseClock) -> None:
    by_reason: dict[str, list[tuple[int, int, datetime]]] = {}
    for item in postponed:
        by_reason.setdefault(item.reason, []).append((item.message_id, item.attempt, clock.from_here(item.until)))
    for reason, rows in by_reason.items():
        await ledger.postpone(connection, rows, reason)
