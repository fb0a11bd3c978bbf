"""A connection of a pool, lent for a time.

Promises: the block ends in time, whatever the server does: a connection that stalls (packets vanish, no FIN) is ended
under whom it was lent to, who sees a lost connection. Giving it back never fails the block: what was done is done.
Fails: ``TimeoutError`` or the driver's error where no connection is had in ``wait_s``.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from hayabin.telemetry.logging import get_logger

GIVE_BACK_S: Final = 2.0


@dataclass(slots=True)
class Loan:
    """A connection, and when it ends."""

    connection: Any
    _timer: asyncio.TimerHandle | None = None

    def allow(self, within_s: float) -> None:
        """Let it be used for so long from now on, instead of what was said before."""
        self.cancel()
        self._timer = asyncio.get_running_loop().call_later(within_s, self._end, within_s)

    def cancel(self) -> None:
        """Let it be used for any time."""
        if self._timer is not None:
            self._timer.cancel()

    def _end(self, within_s: float) -> None:
        get_logger().warning("connection_ended", after_s=within_s)
        with contextlib.suppress(asyncpg.InterfaceError):  # it has ended by itself
            self.connection.terminate()


@contextlib.asynccontextmanager
async def borrowed(pool: asyncpg.Pool, *, wait_s: float, within_s: float) -> AsyncIterator[Loan]:
    """A connection for at most ``within_s`` (see ``Loan.allow``), waited for at most ``wait_s``."""
    loan = Loan(await pool.acquire(timeout=wait_s))
    loan.allow(within_s)
    try:
        yield loan
    finally:
        await _give_back(pool, loan)
        loan.cancel()


async def _give_back(pool: asyncpg.Pool, loan: Loan) -> None:
    """Release it; one that cannot be cleaned in time is ended by the pool."""
    try:
        await pool.release(loan.connection, timeout=GIVE_BACK_S)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        get_logger().warning("connection_dropped", error=repr(error))
