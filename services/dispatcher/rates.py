"""How many messages may begin: per second, in any minute or hour, on a day.

Promises: exact, never above. ``Pace``: in any span of time at most ``burst`` plus the rate times the span. ``Window``:
in any span of its length at most its limit. A clock that goes back only makes the wait longer. Times are nanoseconds of
a monotonic clock. What was taken and did not begin may be given back, for what that is still worth.
It cannot fail; each object has constant size.
"""

import math
from collections import deque
from typing import Final, Protocol

NS: Final = 1_000_000_000
NO_LIMIT: Final = 1_000_000
_BUCKETS: Final = 60


class Rate(Protocol):
    """One limit on messages that begin."""

    def free(self, now_ns: int) -> int:
        """Tell how many may begin now."""

    def ready_ns(self, now_ns: int) -> int:
        """Tell when at least one may."""

    def take(self, messages: int, now_ns: int) -> None:
        """Count messages that begin now; never more than ``free`` says."""

    def give_back(self, messages: int, taken_ns: int, now_ns: int) -> None:
        """Uncount messages that were taken at ``taken_ns`` and did not begin."""

    def rested(self, now_ns: int) -> bool:
        """Tell whether nothing of the past matters any more."""


class Pace:
    """The generic cell rate algorithm: a message is due one interval after the last, ``burst`` - 1 intervals early."""

    __slots__ = ("_due_ns", "_early_ns", "_interval_ns")

    def __init__(self, rate_per_s: float, burst: int) -> None:
        """Begin with a full burst."""
        self._due_ns: int | None = None
        self.set(rate_per_s, burst)

    def set(self, rate_per_s: float, burst: int) -> None:
        """Go on at another rate; the interval is rounded up, so that the rate stays below the stated one."""
        self._interval_ns = math.ceil(NS / rate_per_s)
        self._early_ns = self._interval_ns * burst

    def _due(self, now_ns: int) -> int:
        return now_ns if self._due_ns is None else max(now_ns, self._due_ns)

    def free(self, now_ns: int) -> int:
        """See ``Rate``."""
        return max(0, (now_ns + self._early_ns - self._due(now_ns)) // self._interval_ns)

    def ready_ns(self, now_ns: int) -> int:
        """See ``Rate``."""
        return max(now_ns, self._due(now_ns) + self._interval_ns - self._early_ns)

    def take(self, messages: int, now_ns: int) -> None:
        """See ``Rate``."""
        self._due_ns = self._due(now_ns) + messages * self._interval_ns

    def give_back(self, messages: int, taken_ns: int, now_ns: int) -> None:
        """See ``Rate``; what would have come due meanwhile without them is due in any case."""
        worth_ns = messages * self._interval_ns - max(0, now_ns - taken_ns)
        if self._due_ns is not None and worth_ns > 0:
            self._due_ns -= worth_ns

    def rested(self, now_ns: int) -> bool:
        """See ``Rate``."""
        return self._due_ns is None or now_ns >= self._due_ns


class Window:
    """At most ``limit`` in any span of ``span_s``: counted in sixtieths, of which sixty-one cover any such span."""

    __slots__ = ("_counts", "_total", "_width_ns", "limit")

    def __init__(self, limit: int, span_s: float) -> None:
        """Begin empty."""
        self.limit = limit
        self._width_ns = max(1, int(span_s * NS) // _BUCKETS)
        self._counts: deque[list[int]] = deque()  # [number of the sixtieth, messages], oldest first
        self._total = 0

    def _forget(self, now_ns: int) -> int:
        """Drop what is past, and give the sixtieth that it is now (never before the last one counted)."""
        bucket = now_ns // self._width_ns
        if self._counts:
            bucket = max(bucket, self._counts[-1][0])
        while self._counts and self._counts[0][0] < bucket - _BUCKETS:
            self._total -= self._counts.popleft()[1]
        return bucket

    def free(self, now_ns: int) -> int:
        """See ``Rate``."""
        self._forget(now_ns)
        return max(0, self.limit - self._total)

    def ready_ns(self, now_ns: int) -> int:
        """See ``Rate``."""
        self._forget(now_ns)
        excess = self._total - self.limit + 1
        if excess <= 0:
            return now_ns
        for bucket, messages in self._counts:
            excess -= messages
            if excess <= 0:
                return max(now_ns, (bucket + _BUCKETS + 1) * self._width_ns)
        return now_ns + (_BUCKETS + 1) * self._width_ns

    def take(self, messages: int, now_ns: int) -> None:
        """See ``Rate``."""
        bucket = self._forget(now_ns)
        if self._counts and self._counts[-1][0] == bucket:
            self._counts[-1][1] += messages
        else:
            self._counts.append([bucket, messages])
        self._total += messages

    def give_back(self, messages: int, taken_ns: int, now_ns: int) -> None:
        """See ``Rate``; what has left the span meanwhile needs no giving back."""
        self._forget(now_ns)
        for counted in self._counts:
            if counted[0] == taken_ns // self._width_ns:
                part = min(messages, counted[1])
                counted[1] -= part
                self._total -= part

    def rested(self, now_ns: int) -> bool:
        """See ``Rate``."""
        self._forget(now_ns)
        return self._total == 0


class Meter:
    """How many messages began, over the last minute: for people, and for what to expect."""

    __slots__ = ("_counts", "_started_s", "_total")

    def __init__(self, now_s: float) -> None:
        """Begin empty."""
        self._counts: deque[list[int]] = deque()
        self._total = 0
        self._started_s = now_s

    def add(self, messages: int, now_s: float) -> None:
        """Count messages (a negative number takes back)."""
        second = int(now_s)
        if self._counts and self._counts[-1][0] >= second:
            self._counts[-1][1] += messages
        else:
            self._counts.append([second, messages])
        self._total += messages

    def per_s(self, now_s: float, span_s: float = _BUCKETS) -> float:
        """Give the mean rate over the last ``span_s`` (at most a minute), or since the beginning if that is shorter."""
        while self._counts and self._counts[0][0] < now_s - _BUCKETS:
            self._total -= self._counts.popleft()[1]
        if span_s >= _BUCKETS:
            total = self._total
        else:
            total = 0
            for second, messages in reversed(self._counts):
                if second < now_s - span_s:
                    break
                total += messages
        return max(0, total) / min(span_s, max(1.0, now_s - self._started_s))
