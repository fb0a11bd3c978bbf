"""How many requests a key may make: a token bucket for each, in this process.

Promises: constant time and bounded memory; with several replicas the limit holds for each of them.
Fails: 429 with the seconds to wait in Retry-After.
"""

import math
from collections import OrderedDict
from collections.abc import Callable

from services.api.problems import Problem

MAX_KEYS = 10_000
A_TOKEN = 1 - 1e-9
"""What passes as one: who has waited exactly as long as told may lack what is lost in rounding."""


class RateLimit:
    """Buckets of ``burst`` tokens that fill with ``rate_per_s``; ``rate_per_s`` 0 means no limit."""

    def __init__(self, rate_per_s: float, burst: int, clock: Callable[[], float]) -> None:
        """Begin with full buckets; ``clock`` is monotonic, in seconds."""
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[int, tuple[float, float]] = OrderedDict()

    def take(self, key_id: int) -> None:
        """Take a token of this key.

        Raises:
            Problem: 429.
        """
        if not self._rate_per_s:
            return
        now = self._clock()
        tokens, at = self._buckets.pop(key_id, (float(self._burst), now))
        tokens = min(self._burst, tokens + (now - at) * self._rate_per_s)
        if tokens < A_TOKEN:
            self._buckets[key_id] = (tokens, now)
            wait_s = math.ceil((1 - tokens) / self._rate_per_s)
            raise Problem(
                429,
                "too-many-requests",
                f"This API key may make {self._rate_per_s:g} requests a second.",
                headers={"Retry-After": str(wait_s)},
            )
        self._buckets[key_id] = (tokens - 1, now)
        if len(self._buckets) > MAX_KEYS:
            self._buckets.popitem(last=False)
