"""What every destination of a dispatcher shares.

Promises: one object, made once by ``main``.
Fails: what fails aside is logged; the mails in its hand keep their claim or their lease.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from hayabin.domain.retry import RetrySchedule
from hayabin.telemetry.logging import get_logger
from services.dispatcher.batch import TakenOver
from services.dispatcher.control import Control
from services.dispatcher.gate import Gate
from services.dispatcher.lanes import Lanes
from services.dispatcher.outcomes import OutcomeWriter
from services.dispatcher.reporting import Reporter
from services.dispatcher.tls_plan import TlsPlanner


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for destinations and for mails.

    Units: seconds.
    """

    max_wait_s: float = 60.0  # a mail waits here before it is given back to the ledger unattempted
    idle_s: float = 5.0  # a connection without work stays open


@dataclass(frozen=True, slots=True)
class Retrying:
    """When to try again; ``delays_s`` overrides every policy if it is not empty."""

    delays_s: tuple[int, ...]
    max_age_s: int

    def schedule(self, of_policy: tuple[int, ...]) -> RetrySchedule:
        """Give the schedule under a policy."""
        return RetrySchedule(self.delays_s or of_policy, self.max_age_s)


@dataclass(slots=True, eq=False)
class Surroundings:
    """See the module."""

    control: Control
    gate: Gate
    writer: OutcomeWriter
    reporter: Reporter
    lanes: Lanes
    planner: TlsPlanner
    retrying: Retrying
    patience: Patience
    smtp_port: int
    stopping: asyncio.Event
    connections: asyncio.Semaphore  # of the whole process
    connecting: asyncio.Semaphore  # how many of them may be without an answer yet, as those of dead hosts are
    taken_over: TakenOver
    _asides: set[asyncio.Task[Any]] = field(default_factory=set)

    def aside(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that nobody waits for; the end of the process does (``finished``)."""
        task = asyncio.create_task(work)
        self._asides.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._asides.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            get_logger().error("aside_failed", error=repr(error), exc_info=error)

    async def finished(self) -> None:
        """Wait for what was put aside."""
        while self._asides:
            await asyncio.gather(*self._asides, return_exceptions=True)
