"""Which provider runs the MX of a domain, as dispatchers found out; for the choice of the lane.

Promises: at most ``MAX_DOMAINS`` in memory, as old as ``REFRESH_S`` at the most; a domain that is not here goes to a
lane of its hash, and the dispatcher's limits are exact all the same.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from hayabin.database.engine import Pool
from hayabin.domain.lane import PROVIDERS

REFRESH_S = 60.0
MAX_DOMAINS = 200_000


@dataclass(slots=True)
class KnownProviders:
    """See the module."""

    pool: Pool
    _known: dict[str, str] = field(default_factory=dict)
    _stale_at_s: float = 0.0

    async def current(self) -> Mapping[str, str]:
        """Provider by domain."""
        if time.monotonic() >= self._stale_at_s:
            rows = await self.pool.fetch(
                "SELECT name, provider FROM recipient_domains ORDER BY seen_at DESC LIMIT $1", MAX_DOMAINS
            )
            self._known = {row["name"]: row["provider"] for row in rows if row["provider"] in PROVIDERS}
            self._stale_at_s = time.monotonic() + REFRESH_S
        return self._known
