"""When mail that a lane cannot take now should come again.

Promises: mails put off together do not come back together: each is given the next free place of a lane that takes so
many a second, so each is rendered about once more, when its turn is near; nobody is put off beyond ``longest_s`` from
the earliest time that is possible, so that a lane that does better than expected is not left idle for long.
It cannot fail.
"""

import random
from dataclasses import dataclass
from typing import Final

SHORTEST_S: Final = 1.0


@dataclass(slots=True)
class Horizon:
    """The next free place, in seconds of the clock that the caller uses."""

    at_s: float = 0.0

    def next(self, earliest_s: float, rate_per_s: float, longest_s: float) -> float:
        """Give the time of one mail, not before ``earliest_s``."""
        begin = max(self.at_s, earliest_s)
        if begin > earliest_s + longest_s:
            return earliest_s + longest_s * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, no secret
        self.at_s = begin + 1.0 / rate_per_s
        return begin
