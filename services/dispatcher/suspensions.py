"""Which lanes open no transaction now, because an operator or a reply rule said so.

Promises: a rule's suspension holds from the reply on and is written to the database, where people see it and lift it; a
written one that is gone from there was lifted. An operator's holds when it was read, within a second or two.
Fails: ``write`` raises the database's errors and keeps what it could not write.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from hayabin.database.engine import Pool

_WRITE_SQL = """
INSERT INTO suspensions (pool, source_ip, provider, origin, reason, until)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[])
ON CONFLICT (pool, source_ip, provider, origin) DO UPDATE
SET reason = excluded.reason, until = GREATEST(suspensions.until, excluded.until), created_at = now()"""


class Origin(StrEnum):
    """Who suspended."""

    OPERATOR = "operator"
    RULE = "rule"


@dataclass(frozen=True, slots=True)
class Suspension:
    """What stays away: each of pool, source IP and provider (or ``mx:HOST``) that is given must be the lane's."""

    pool: str | None
    source_ip: str | None
    provider: str | None
    origin: Origin
    reason: str
    until: datetime | None  # None: until somebody resumes it

    def covers(self, pool: str, source_ip: str, lane: str) -> bool:
        """Tell whether a lane is meant."""
        return self.pool in (None, pool) and self.source_ip in (None, source_ip) and self.provider in (None, lane)

    def holds(self, now: datetime) -> bool:
        """Tell whether it is not over."""
        return self.until is None or self.until > now

    @property
    def target(self) -> tuple[str | None, str | None, str | None, Origin]:
        """What it is about; there is one for each target."""
        return self.pool, self.source_ip, self.provider, self.origin


class Suspensions:
    """All suspensions that a dispatcher knows, by provider: an IP that is listed has thousands, one for each host."""

    def __init__(self, pool: str) -> None:
        """Know none; ``pool`` is the dispatcher's own."""
        self._own_pool = pool
        self._read: dict[str | None, list[Suspension]] = {}
        self._fresh: dict[str | None, dict[object, Suspension]] = {}

    def add(self, suspension: Suspension) -> None:
        """Suspend from now on; ``write`` tells the others."""
        fresh = self._fresh.setdefault(suspension.provider, {})
        known = fresh.get(suspension.target)
        if known is None or known.until is None or suspension.until is None or known.until < suspension.until:
            fresh[suspension.target] = suspension

    def read(self, rows: Iterable[Suspension]) -> None:
        """Take what the database says; what was not written yet holds beside it."""
        self._read = {}
        for suspension in rows:
            self._read.setdefault(suspension.provider, []).append(suspension)

    def of(self, source_ip: str, lane: str, now: datetime) -> Suspension | None:
        """Give the suspension of a lane that ends last, if there is one."""
        found: Suspension | None = None
        for suspension in (*self._known(lane), *self._known(None)):
            if suspension.covers(self._own_pool, source_ip, lane) and suspension.holds(now):
                if suspension.until is None:
                    return suspension
                if found is None or found.until is None or suspension.until > found.until:
                    found = suspension
        return found

    def _known(self, provider: str | None) -> tuple[Suspension, ...]:
        return (*self._read.get(provider, ()), *self._fresh.get(provider, {}).values())

    async def write(self, pool: Pool) -> None:
        """Write what rules suspended since the last time."""
        writing = [suspension for fresh in self._fresh.values() for suspension in fresh.values()]
        if not writing:
            return
        rows = sorted(writing, key=lambda s: (s.pool or "", s.source_ip or "", s.provider or ""))
        await pool.execute(
            _WRITE_SQL,
            [s.pool for s in rows],
            [s.source_ip for s in rows],
            [s.provider for s in rows],
            [s.origin.value for s in rows],
            [s.reason for s in rows],
            [s.until for s in rows],
        )
        for suspension in rows:
            self._read.setdefault(suspension.provider, []).append(suspension)
            fresh = self._fresh[suspension.provider]
            if fresh[suspension.target] is suspension:
                del fresh[suspension.target]
            if not fresh:
                del self._fresh[suspension.provider]
