"""How fast a destination takes mails, from what was seen.

Promises: the averages follow what happens within some tens of mails; a mail that is under way for longer than the
average counts with the time that it has taken by now, so a tarpit is noticed before it lets anything go.
It cannot fail.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from services.dispatcher.rates import Meter

FIRST_GUESS_S: Final = 1 / 16


@dataclass(slots=True)
class Tempo:
    """Times of one mail. Units: seconds."""

    transaction_s: float = FIRST_GUESS_S  # on the wire
    cycle_s: float = FIRST_GUESS_S  # with its share of the gate and of waiting for the lane
    _meter: Meter = field(default_factory=lambda: Meter(time.monotonic()))

    def took(self, seconds: float) -> None:
        """Take note of one mail's time on the wire."""
        self.transaction_s += 0.1 * (seconds - self.transaction_s)
        self._meter.add(1, time.monotonic())

    def cycled(self, seconds: float) -> None:
        """Take note of one mail's share of a group."""
        self.cycle_s += 0.2 * (seconds - self.cycle_s)

    def expected_s(self, begun: Iterable[float]) -> float:
        """Tell what one mail takes on one connection; ``begun`` are the times at which those under way began."""
        now_s = time.monotonic()
        ages = [now_s - begun_s for begun_s in begun]
        return max(self.cycle_s, sum(ages) / len(ages) if ages else 0.0)

    def per_s(self, span_s: float) -> float:
        """Give how many mails a second ended over the last ``span_s`` (at most a minute)."""
        return self._meter.per_s(time.monotonic(), span_s)
