"""How many requests that send (launch, test, resume) a tenant may make a second: a token bucket for each.

Promises: constant time and bounded memory; a second's worth of requests may come at once; a changed setting holds from
the next request on. With several replicas the limit holds for each of them.
Fails: 429 ``quota-exceeded`` with the seconds to wait.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from services.api.problems import Problem
from services.api.quotas import limit_headers

MAX_TENANTS: Final = 10_000


class SendingRate:
    """See the module."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begin with full buckets; ``clock`` is monotonic, in seconds."""
        self._clock = clock
        self._buckets: OrderedDict[int, tuple[float, float]] = OrderedDict()

    def take(self, tenant_id: int, per_s: int) -> None:
        """Take a token of this tenant; ``per_s`` 0: there is no limit.

        Raises:
            Problem: 429.
        """
        if not per_s:
            return
        now = self._clock()
        tokens, at = self._buckets.pop(tenant_id, (float(per_s), now))
        tokens = min(float(per_s), tokens + (now - at) * per_s)
        passes = tokens >= 1
        self._buckets[tenant_id] = (tokens - 1 if passes else tokens, now)
        if len(self._buckets) > MAX_TENANTS:
            self._buckets.popitem(last=False)
        if not passes:
            wait_s = math.ceil((1 - tokens) / per_s)
            raise Problem(
                429,
                "quota-exceeded",
                f"This tenant may make {per_s} requests that send a second. Try again in {wait_s} s.",
                headers={"Retry-After": str(wait_s), **limit_headers(per_s, 0, wait_s)},
                members={"quota": "second", "limit": per_s, "remaining": 0},
            )
