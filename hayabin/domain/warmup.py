"""How much mail a new source IP may send on each day until the receivers know it.

Promises: the cap of a day never falls, and depends on nothing but the plan and the day (UTC), so every process and
every restart finds the same; the arithmetic is exact (100 grown by 1.15 is 115, not 114). A plan that exists ends
within ``MAX_DAYS``.
Fails with ``ValueError`` for a plan that makes no sense.
"""

from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import Final

MAX_DAYS: Final = 366
MAX_GROWTH: Final = 10.0
MAX_PER_DAY: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class WarmupPlan:
    """A cap that begins with ``start_per_day`` and grows by the factor ``growth`` from one day to the next.

    On the first day whose cap would be ``end_per_day`` or more, the plan is over.

    Units: messages a day (UTC).
    """

    start_per_day: int
    growth: float
    end_per_day: int
    started_on: date

    def __post_init__(self) -> None:
        """Refuse what never grows, shrinks, or takes for ever.

        Raises: ValueError naming the member.
        """
        if not 1 <= self.start_per_day <= MAX_PER_DAY:
            raise ValueError(f"start_per_day: not from 1 to {MAX_PER_DAY}")
        if not self.start_per_day < self.end_per_day <= MAX_PER_DAY:
            raise ValueError(f"end_per_day: not above start_per_day, up to {MAX_PER_DAY}")
        if not 1.0 < self.growth <= MAX_GROWTH:
            raise ValueError(f"growth: not above 1, up to {MAX_GROWTH:g}")
        if self._grown(MAX_DAYS) < self.end_per_day:
            raise ValueError(f"growth: end_per_day would not be reached in {MAX_DAYS} days")

    def cap_on(self, day: date) -> int | None:
        """Give how many messages may begin on a day: 0 before the plan starts, None once it is over (no cap)."""
        number = (day - self.started_on).days
        if number < 0:
            return 0
        if number >= MAX_DAYS:
            return None
        cap = self._grown(number)
        return cap if cap < self.end_per_day else None

    def schedule(self) -> tuple[int, ...]:
        """Give the cap of each day of the plan, the first day first; at most ``MAX_DAYS`` of them."""
        caps = []
        for number in range(MAX_DAYS):
            cap = self._grown(number)
            if cap >= self.end_per_day:
                break
            caps.append(cap)
        return tuple(caps)

    def _grown(self, number: int) -> int:
        """Give the cap of a day counted from 0, as if there were no end; whole messages, rounded down."""
        return int(self.start_per_day * Fraction(repr(self.growth)) ** number)  # as written: 1.15 is 115/100
