"""When a source IP tries a destination again that it could not connect to.

Promises: each failure in a row doubles the rest, up to ``LONGEST_REST_S``; a connection ends it.
It cannot fail.
"""

import random
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

FIRST_REST_S: Final = 30.0
LONGEST_REST_S: Final = 900.0


@dataclass(slots=True)
class _Rest:
    until_s: float
    span_s: float


@dataclass(slots=True)
class Rests:
    """Of one destination, by source IP."""

    _rests: dict[str, _Rest] = field(default_factory=dict)

    def begin(self, source_ip: str) -> None:
        """Rest, for twice as long as the last time."""
        known = self._rests.get(source_ip)
        span_s = FIRST_REST_S if known is None else min(known.span_s * 2, LONGEST_REST_S)
        self._rests[source_ip] = _Rest(time.monotonic() + span_s * random.uniform(0.5, 1.0), span_s)  # noqa: S311

    def end(self, source_ip: str) -> None:
        """Forget the failures: a connection came about."""
        self._rests.pop(source_ip, None)

    def left_s(self, source_ip: str) -> float:
        """Tell how long the rest still is; 0 if there is none."""
        rest = self._rests.get(source_ip)
        return 0.0 if rest is None else max(0.0, rest.until_s - time.monotonic())

    def of_all(self, source_ips: Iterable[str]) -> float:
        """Tell how long all of them rest; 0 if one of them may try now."""
        return min((self.left_s(source_ip) for source_ip in source_ips), default=0.0)
