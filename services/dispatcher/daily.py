"""How many messages a lane may begin on a day, exact over restarts and over a change of the dispatcher.

Promises: what begins was reserved in the database before (``lane_usage``), in small blocks, and a block is granted only
while the day's total stays within the cap; so the cap holds even if two processes use the same source IP one after the
other, and a crash loses at most one block of the day. A day is a UTC day.
Fails: ``reserve_for_ever`` logs a database that is away; meanwhile nothing begins beyond what was reserved.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

from hayabin.database.engine import Pool
from hayabin.telemetry.logging import get_logger
from services.dispatcher.gate import DATABASE_AWAY
from services.dispatcher.rates import NO_LIMIT, NS

TURN_S = 0.02
LARGEST_BLOCK = 500
BLOCKS_A_DAY = 50
GIVE_BACK_AFTER_S = 30.0

_TOUCH_SQL = "INSERT INTO lane_usage (source_ip, lane, day, granted) VALUES ($1, $2, $3, 0) ON CONFLICT DO NOTHING"
_RESERVE_SQL = """
UPDATE lane_usage u SET granted = GREATEST(b.granted, LEAST(b.granted + $4, $5))
FROM (SELECT granted FROM lane_usage WHERE source_ip = $1 AND lane = $2 AND day = $3 FOR UPDATE) b
WHERE source_ip = $1 AND lane = $2 AND day = $3
RETURNING b.granted AS before, u.granted AS after"""
_RETURN_SQL = "UPDATE lane_usage SET granted = granted - $4 WHERE source_ip = $1 AND lane = $2 AND day = $3"


@dataclass(slots=True, eq=False)
class DailyCap:
    """The cap of one key (source IP and lane); a ``Rate`` of ``services.dispatcher.rates``."""

    source_ip: str
    lane: str
    cap_of: Callable[[date], int | None]
    today: Callable[[], datetime]
    day: date = date.min
    left: int = 0  # reserved and not begun
    granted: int = 0  # of the day, by all processes, as last seen
    exhausted: bool = False
    wanted: bool = False  # somebody asked in vain since the last reservation
    used_s: float = field(default=0.0)
    _first_ns: int | None = None  # when something began, the first time of the day

    def cap(self) -> int | None:
        """Give today's cap; None for no cap."""
        self._turn_day()
        return self.cap_of(self.day)

    def _turn_day(self) -> None:
        day = self.today().date()
        if day != self.day:
            self.day, self.left, self.granted, self.exhausted, self._first_ns = day, 0, 0, False, None

    def free(self, now_ns: int) -> int:
        """See ``Rate``."""
        self.used_s = now_ns / NS
        if (cap := self.cap()) is None:
            return NO_LIMIT
        if self.left <= min(LARGEST_BLOCK, cap // BLOCKS_A_DAY) // 4 and not self.exhausted:
            self.wanted = True
        return self.left

    def ready_ns(self, now_ns: int) -> int:
        """See ``Rate``."""
        if self.cap() is None or self.left > 0:
            return now_ns
        if not self.exhausted:
            self.wanted = True
            return now_ns + int(TURN_S * NS)
        now = self.today()
        midnight = datetime.combine(now.date() + timedelta(days=1), time(), UTC)
        return now_ns + int((midnight - now).total_seconds() * NS) + NS

    def take(self, messages: int, now_ns: int) -> None:
        """See ``Rate``."""
        if self.free(now_ns) != NO_LIMIT:
            self.left -= messages
            if self._first_ns is None:
                self._first_ns = now_ns

    def give_back(self, messages: int, taken_ns: int, now_ns: int) -> None:  # noqa: ARG002 - a day has no finer time
        """See ``Rate``; what was reserved on another day is of no use."""
        if self.cap() is not None and self._first_ns is not None and taken_ns >= self._first_ns:
            self.left += messages

    def rested(self, now_ns: int) -> bool:
        """See ``Rate``; what is reserved must be returned before it is forgotten."""
        return self.left == 0 and now_ns / NS - self.used_s > GIVE_BACK_AFTER_S


class DailyCaps:
    """The caps of a process; run ``reserve_for_ever`` as a task."""

    def __init__(self, pool: Pool, *, today: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Reserve by ``pool``; ``today`` tells the time."""
        self._pool = pool
        self._today = today
        self._caps: dict[tuple[str, str], DailyCap] = {}

    def get(self, source_ip: str, lane: str, cap_of: Callable[[date], int | None]) -> DailyCap:
        """Give the cap of a key, the same object each time; ``cap_of`` replaces the one before."""
        key = (source_ip, lane)
        cap = self._caps.get(key)
        if cap is None:
            cap = self._caps[key] = DailyCap(source_ip, lane, cap_of, self._today)
        cap.cap_of, cap.exhausted = cap_of, False
        return cap

    async def reserve_for_ever(self) -> None:
        """Reserve where somebody asks."""
        while True:
            await asyncio.sleep(TURN_S)
            for cap in list(self._caps.values()):
                if cap.wanted:
                    try:
                        await self.reserve(cap)
                    except DATABASE_AWAY as error:
                        get_logger().warning("reservation_waits", lane=cap.lane, error=repr(error))
                        await asyncio.sleep(1)

    async def reserve(self, cap: DailyCap) -> None:
        """Reserve another block, as far as the day's cap goes."""
        most = cap.cap()
        cap.wanted = False
        if most is None:
            return
        day, block = cap.day, max(1, min(LARGEST_BLOCK, most // BLOCKS_A_DAY))
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(_TOUCH_SQL, cap.source_ip, cap.lane, day)
            rows = await connection.fetch(_RESERVE_SQL, cap.source_ip, cap.lane, day, block, most)
        if cap.day != day:
            return  # the day turned meanwhile: what was reserved is of no use
        cap.granted = rows[0]["after"]
        cap.left += rows[0]["after"] - rows[0]["before"]
        cap.exhausted = cap.granted >= most

    async def give_back_all(self) -> None:
        """Return what was reserved and not used (the process stops)."""
        for cap in self._caps.values():
            left, cap.left = cap.left, 0
            if left > 0:
                await self._pool.execute(_RETURN_SQL, cap.source_ip, cap.lane, cap.day, left)
