"""Time zones of the IANA database, by name.

Promises: the names are those of the system or, where it has none (a small container image), of the package ``tzdata``.
Fails: ``zone`` raises ``KeyError`` (``ZoneInfoNotFoundError``) for a name that is none.
"""

import zoneinfo
from functools import lru_cache


@lru_cache(maxsize=1)
def names() -> frozenset[str]:
    """Every name that there is."""
    return frozenset(zoneinfo.available_timezones())


def zone(name: str) -> zoneinfo.ZoneInfo:
    """A time zone; one that newer data no longer has is not found."""
    return zoneinfo.ZoneInfo(name)
