"""Claims of all connections, gathered into one statement.

Promises: ``claim`` returns exactly the rows that this dispatcher may send, each attempt granted once, also when the
database goes away between the claim and its answer: after its return the rows that were granted are recognised by their
owner, but for those that somebody here was told of before. While one statement is under way the next one gathers; at
most ``MAX_ROWS`` go in one. A mail whose lease ended long ago is not claimed: nobody would look for it if we died.
Fails: ``GateClosed`` when the process stops before the database is back; what was granted then becomes ``unknown``.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import asyncpg

from hayabin.crash_points import CrashPoint, reach
from hayabin.database import ledger
from hayabin.database.engine import AWAY, Connection, Pool
from hayabin.database.feeds import LEASE_S
from hayabin.database.installation import Watch
from hayabin.domain.address import AddressInvalid, parse_address
from hayabin.domain.errors import TemporaryFailure
from hayabin.telemetry.logging import get_logger
from hayabin.telemetry.metrics import GATE_ROWS, GATE_SECONDS
from services.dispatcher.batch import Job

MAX_ROWS = 1000
WINDOW_S = 0.002
HELD_BEYOND_LEASE_S = LEASE_S * 0.8
"""So long after its lease ended a mail in hand may be claimed: the ledger keeps an ended lease for ``LEASE_S`` more."""
_RETRY_S = 0.5
DATABASE_AWAY = (*AWAY, asyncpg.PostgresError)

_GRANTED_SQL = """
SELECT a.id, v.address_key FROM unnest($1::bigint[], $2::smallint[]) AS a(id, attempt)
CROSS JOIN LATERAL (
    SELECT m.address_key FROM messages m
    WHERE m.id = a.id AND m.attempt = a.attempt + 1 AND m.state = 'claimed' AND m.claimed_by = $3 OFFSET 0) v"""

Row = tuple[int, int]
"""Message id and the number of attempts begun when it was fed."""


class GateClosed(TemporaryFailure):
    """The gate will not answer any more."""


@dataclass(slots=True)
class _Waiting:
    rows: Sequence[Row]
    answer: asyncio.Future[dict[int, str]] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Gate:
    """The gate of one dispatcher; run ``run`` as a task."""

    def __init__(self, pool: Pool, owner: str, watch: Watch | None = None) -> None:
        """Claim in the name of ``owner``; ``watch`` knows how far the database has come."""
        self._pool = pool
        self._owner = owner
        self._watch = watch or Watch()
        self._waiting: list[_Waiting] = []
        self._told: set[Row] = set()  # granted to somebody here, and not settled yet
        self._arrived = asyncio.Event()
        self._closed = False
        self._failed_at_s = -math.inf

    def failed_within(self, span_s: float) -> bool:
        """Tell whether the database was away lately: what was slow then was slow because of us."""
        return time.monotonic() - self._failed_at_s < span_s

    async def claim(self, rows: Sequence[Row]) -> dict[int, str]:
        """The ids that may be sent now, with the key of the mailbox; each id stands in ``rows`` once.

        Raises:
            GateClosed: see the module.
        """
        if len({row[0] for row in rows}) < len(rows):
            raise ValueError("an id stands twice in a claim: one grant would be taken for two")
        if self._closed:
            raise GateClosed("gate_closed")
        waiting = _Waiting(rows)
        self._waiting.append(waiting)
        self._arrived.set()
        return await waiting.answer

    def now_s(self) -> float:
        """The ledger's time (Unix)."""
        return self._watch.clock.now_s()

    def settled(self, row: Row) -> None:
        """The ledger has what became of a row that was granted."""
        self._told.discard(row)

    async def run(self) -> None:
        """Answer claims until cancelled."""
        try:
            while True:
                await self._arrived.wait()
                await asyncio.sleep(WINDOW_S)
                batch = self._take()
                try:
                    granted = await self._ask([row for waiting in batch for row in waiting.rows])
                except asyncio.CancelledError:
                    self._waiting += batch
                    raise
                for waiting in batch:
                    if not waiting.answer.done():
                        self._told.update(row for row in waiting.rows if row[0] in granted)
                        waiting.answer.set_result({i: granted[i] for i, _ in waiting.rows if i in granted})
        finally:
            self._closed = True
            for waiting in self._waiting:
                if not waiting.answer.done():
                    waiting.answer.set_exception(GateClosed("gate_closed"))

    def _take(self) -> list[_Waiting]:
        taken: list[_Waiting] = []
        rows = 0
        seen: set[int] = set()
        later: list[_Waiting] = []
        for waiting in self._waiting:
            ids = {row[0] for row in waiting.rows}
            if (rows and rows + len(ids) > MAX_ROWS) or ids & seen:  # one id never stands twice in a statement
                later.append(waiting)
                continue
            taken.append(waiting)
            rows += len(ids)
            seen |= ids
        self._waiting = later
        if not later:
            self._arrived.clear()
        return taken

    async def _ask(self, rows: list[Row]) -> dict[int, str]:
        granted: dict[int, str] = {}
        uncertain = False
        while True:
            try:
                with GATE_SECONDS.time():
                    async with self._pool.acquire() as connection:
                        if uncertain:
                            granted |= await self._already_granted(connection, rows)
                        rest = [row for row in rows if row[0] not in granted]
                        granted |= await ledger.claim(connection, rest, self._owner, pulse=self._watch.pulse)
                if granted:
                    reach(CrashPoint.GATE_CLAIMED)
                GATE_ROWS.labels("claimed").inc(len(granted))
                GATE_ROWS.labels("refused").inc(len(rows) - len(granted))
                return granted  # noqa: TRY300 - the loop is the point
            except DATABASE_AWAY as error:
                uncertain = True
                self._failed_at_s = time.monotonic()
                get_logger().warning("gate_waits", rows=len(rows), error=repr(error))
                await asyncio.sleep(_RETRY_S)

    async def _already_granted(self, connection: Connection, rows: list[Row]) -> dict[int, str]:
        mine = [row for row in rows if row not in self._told]
        found = await connection.fetch(_GRANTED_SQL, [r[0] for r in mine], [r[1] for r in mine], self._owner)
        return {row["id"]: row["address_key"] for row in found}


async def admitted(gate: Gate, jobs: Sequence[Job]) -> list[Job]:
    """The jobs that may be sent now, in order: those claimed before, and those that the gate lets through.

    The others are settled. Where the same row is in hand twice (a batch was delivered again), one job asks, that of the
    latest attempt, and the other is settled: the gate would refuse it. A job that is let through and is addressed to
    another mailbox than the ledger says is marked ``misaddressed``: it must not be sent.

    Raises:
        GateClosed: nothing was settled.
    """
    asking: dict[int, Job] = {}
    oldest_s = gate.now_s() - HELD_BEYOND_LEASE_S
    for job in jobs:
        known = asking.get(job.message_id)
        if not job.claimed and job.batch.lease_expires_s > oldest_s and (known is None or known.attempt < job.attempt):
            asking[job.message_id] = job
    granted: dict[int, str] = {}
    if asking:
        granted = await gate.claim([(job.message_id, job.attempt) for job in asking.values()])
    through = []
    for job in jobs:
        if not job.claimed and asking.get(job.message_id) is job and job.message_id in granted:
            job.claim(partial(gate.settled, (job.message_id, job.attempt)))
            job.misaddressed = not is_mailbox(job.recipient, granted[job.message_id])
            through.append(job)
        elif job.claimed:
            through.append(job)
        else:
            job.settle()
    return through


def is_mailbox(recipient: str, key: str) -> bool:
    """Tell whether what RCPT will say is the mailbox that suppressions were looked up for."""
    if recipient.lower() == key:
        return True
    try:
        return parse_address(recipient).key == key
    except AddressInvalid:
        return False


async def stop(task: asyncio.Task[None]) -> None:
    """Cancel a running part and wait for its end."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
