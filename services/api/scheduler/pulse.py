"""The installation's pulse, and the belt's mark of it.

Promises: the database's pulse grows with each turn and the belt keeps the last one, so that each bears witness of the
other: a database that has not come as far as the mark was taken back, and everything is held for a person; a belt
without its mark was emptied, and what was on it is fed again at once. What the belt has to say of itself
(``belt_problem``) is written beside the pulse, for who asks the API.
Fails: database errors come out. Without the belt the pulse goes on, and the mark is compared when it is back.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from hayabin.broker import Broker
from hayabin.broker.interface import PublishFailed
from hayabin.database import feeds, installation
from hayabin.database.engine import Pool
from hayabin.database.installation import Mark, read_mark
from hayabin.telemetry.logging import get_logger
from hayabin.telemetry.metrics import BELTS_EMPTIED, HELD

LATE_S: Final = 10.0
"""A turn that comes so much later than the one before it: we were away, or the database was."""
JUMP_S: Final = 5.0
MARK_S: Final = 2.0


@dataclass(slots=True)
class Pulse:
    """One turn after another; see the module."""

    pool: Pool
    broker: Broker
    belt_problem: str = ""
    clock_s: Callable[[], float] = time.monotonic
    _known: Mark | None = None
    _last_s: float = field(default=-LATE_S)
    _steady_since_s: float = 0.0
    _ahead_s: float = 0.0  # of the database's clock over ours

    async def turn(self) -> None:
        """Let the pulse grow and compare both witnesses."""
        self.belt_problem = await self.broker.problem()
        beats = await self.pool.fetchval("SELECT pulse > 0 FROM installation")  # else there is no mark to wait for
        found, sure = await self._recall() if beats and not self.belt_problem else (None, False)
        self._know(found)
        async with self.pool.acquire() as connection, connection.transaction():
            beat = await installation.beat(connection, belt_problem=self.belt_problem, known=self._known)
            if sure and found is None:
                await feeds.end_leases(connection)
                BELTS_EMPTIED.inc()
                get_logger().warning("belt_was_emptied")
        self._know(beat.mark)
        self._keep_time(beat.at_s)
        HELD.set(1 if beat.held_reason else 0)
        if not self.belt_problem:
            await self._remember(beat.mark)

    @property
    def known(self) -> int:
        """The latest pulse that we know of, whatever the database says."""
        return self._known.pulse if self._known is not None else 0

    def steady_s(self) -> float:
        """For how long the pulse has come in time, by the database's clock too; who judges by silence asks first.

        After an outage of the database, or of ourselves, everybody else seems to have been silent.
        """
        now_s = self.clock_s()
        return now_s - self._steady_since_s if now_s - self._last_s < LATE_S else 0.0

    def _keep_time(self, database_s: float) -> None:
        now_s = self.clock_s()
        ahead_s = database_s - now_s
        if now_s - self._last_s >= LATE_S or abs(ahead_s - self._ahead_s) > JUMP_S:
            self._steady_since_s = now_s
        self._last_s, self._ahead_s = now_s, ahead_s

    def _know(self, mark: Mark | None) -> None:
        if mark is not None and (self._known is None or mark.pulse > self._known.pulse):
            self._known = mark

    async def _recall(self) -> tuple[Mark | None, bool]:
        """The mark, and whether the belt could say that it has one or none."""
        try:
            return read_mark(await self.broker.recall()), True
        except (OSError, TimeoutError) as error:
            get_logger().warning("mark_not_seen", error=repr(error))
            return None, False

    async def _remember(self, mark: Mark) -> None:
        """Leave the mark; a belt that takes long is not waited for: the pulse goes on, and the next turn says why."""
        try:
            async with asyncio.timeout(MARK_S):
                await self.broker.remember(mark.encode())
        except (PublishFailed, TimeoutError) as failure:
            get_logger().warning("mark_not_kept", error=repr(failure))
