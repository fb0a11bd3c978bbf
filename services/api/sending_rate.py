"""How many requests that send (launch, test, resume) a tenant may make a second, whichever API process they come to.

Promises: what counts is kept in the database: one row for each tenant that has such a quota, counted by the statement
that writes the request's audit line, so it costs no round trip, holds exactly for all processes together, and the row
is locked for the length of a COMMIT only. A second's worth of requests may come at once; a changed setting holds from
the next request on. A bucket in this process refuses what is clearly too much before any work is done for it: it never
has more than the database last said. What is refused or rolled back takes nothing from the database.
Fails: 429 ``quota-exceeded`` with the seconds to wait.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from fastapi import Request

from services.api.problems import Problem
from services.api.quotas import limit_headers
from services.api.rate_limit import A_TOKEN

MAX_TENANTS: Final = 10_000
_ROUNDED_S: Final = 1e-4
"""Moments in the database are whole microseconds, thousands of which a second may have."""

COUNT_SQL: Final = """
INSERT INTO sending_rates AS r (tenant_id, used_until)
VALUES ($1, clock_timestamp() + make_interval(secs => 1 / $11::float8))
ON CONFLICT (tenant_id) DO UPDATE
    SET used_until = greatest(r.used_until, clock_timestamp()) + make_interval(secs => 1 / $11::float8)
RETURNING EXTRACT(EPOCH FROM used_until - clock_timestamp())::float8"""
"""For ``audit_trail.note``; $1 is the tenant, $11 how many a second. How far ahead of the clock the tenant is then."""


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
        tokens = self._tokens(tenant_id, per_s)
        passes = tokens >= A_TOKEN
        self._keep(tenant_id, tokens - 1 if passes else tokens)
        if not passes:
            raise _exceeded(per_s, tokens)

    def counted(self, tenant_id: int, per_s: int, ahead_s: float) -> None:
        """Pass silently where the database has counted this request within the rate; it says what all processes took.

        Raises:
            Problem: 429; the transaction is rolled back, and the count with it.
        """
        left = (1 - ahead_s) * per_s
        over = ahead_s > 1 + _ROUNDED_S
        self._keep(tenant_id, min(self._tokens(tenant_id, per_s), left + 1 if over else left))
        if over:
            raise _exceeded(per_s, left + 1)

    def _tokens(self, tenant_id: int, per_s: int) -> float:
        now = self._clock()
        tokens, at = self._buckets.get(tenant_id, (float(per_s), now))
        return min(float(per_s), tokens + (now - at) * per_s)

    def _keep(self, tenant_id: int, tokens: float) -> None:
        self._buckets[tenant_id] = (tokens, self._clock())
        self._buckets.move_to_end(tenant_id)
        if len(self._buckets) > MAX_TENANTS:
            self._buckets.popitem(last=False)


def begin(request: Request, per_s: int) -> None:
    """A request that sends begins: refused at once where that is clear, counted before its transaction ends.

    Raises:
        Problem: 429.
    """
    rate: SendingRate = request.app.state.sending_rate
    rate.take(request.state.principal.tenant_id, per_s)
    request.state.sends_per_s = per_s


def _exceeded(per_s: int, tokens: float) -> Problem:
    wait_s = max(1, math.ceil((1 - tokens) / per_s))
    return Problem(
        429,
        "quota-exceeded",
        f"This tenant may make {per_s} requests that send a second. Try again in {wait_s} s.",
        headers={"Retry-After": str(wait_s), **limit_headers(per_s, 0, wait_s)},
        members={"quota": "second", "limit": per_s, "remaining": 0},
    )
