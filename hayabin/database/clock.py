"""The clock that the ledger goes by, as seen from a process whose own clock may be wrong or may jump.

Promises: ``now_s`` follows the database's clock from the last reading on by the monotonic clock, so a jump of this
machine's clock changes nothing; before the first reading it is this machine's clock.
It cannot fail; a process that cannot read keeps to the last reading.
"""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta


@dataclass(slots=True)
class DatabaseClock:
    """Units: seconds of Unix time."""

    _base_s: float = field(default_factory=lambda: time.time() - time.monotonic())

    def read(self, database_s: float, asked_s: float, answered_s: float) -> None:
        """Take a reading of the database's clock, which lies between two times of the monotonic clock."""
        self._base_s = database_s - (asked_s + answered_s) / 2

    def now_s(self) -> float:
        """The database's time now."""
        return time.monotonic() + self._base_s

    def now(self) -> datetime:
        """The database's time now."""
        return datetime.fromtimestamp(self.now_s(), UTC)

    def from_here(self, moment: datetime) -> datetime:
        """A moment of this machine's clock, as the database's clock shows it."""
        return moment + timedelta(seconds=self.now_s() - time.time())
