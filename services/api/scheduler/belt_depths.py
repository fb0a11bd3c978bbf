"""The depths of the belt's queues as the feeder sees them, written where the API shows them.

Promises: one statement a turn at the most, and none while nothing changes but for a sign of life every ``REFRESH_S``.
Fails: database errors come out.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from hayabin.database.engine import Connection, Pool

REFRESH_S = 2.0

_WRITE_SQL = """
INSERT INTO belt_depths (queue, ready) SELECT * FROM unnest($1::text[], $2::bigint[]) AS seen(queue, ready) ORDER BY 1
ON CONFLICT (queue) DO UPDATE SET ready = excluded.ready, seen_at = now()"""


@dataclass(slots=True)
class BeltDepths:
    """What was seen and what of it was written."""

    clock_s: Callable[[], float] = time.monotonic
    _seen: dict[str, int] = field(default_factory=dict)
    _written: dict[str, tuple[int, float]] = field(default_factory=dict)

    def see(self, depths: dict[str, int]) -> None:
        """Take what the broker said in this turn."""
        self._seen |= depths

    async def write(self, connection: Connection | Pool) -> int:
        """Write what changed since it was written, or was written long ago; returns how many queues."""
        now_s = self.clock_s()
        fresh = {queue: n for queue, n in self._seen.items() if self._is_news(queue, n, now_s)}
        self._seen = {}
        if fresh:
            await connection.execute(_WRITE_SQL, list(fresh), list(fresh.values()))
            self._written |= {queue: (n, now_s) for queue, n in fresh.items()}
        return len(fresh)

    def _is_news(self, queue: str, ready: int, now_s: float) -> bool:
        written, at_s = self._written.get(queue, (None, 0.0))
        return written != ready or now_s - at_s >= REFRESH_S
