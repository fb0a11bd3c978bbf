"""How hard a lane tries: connections grow with success, complaints leave a part of the speed, quiet time gives it back.

Promises: never more connections than the policy's; at least one, and never a speed of nothing, so that it is noticed
when things are better; the same complaint from many connections at once counts once.
It cannot fail. Times are nanoseconds of a monotonic clock.
"""

from typing import Final

from services.dispatcher.rates import NS

_SLOWEST: Final = 1 / 64
_SLOW_AGAIN_NS: Final = 5 * NS
"""Many connections hear the same complaint at once: that is one reason to slow down, not many."""


class Effort:
    """See the module. ``steady_ns`` is since when nothing changed what the lane can do."""

    __slots__ = ("_allowed", "_ceiling", "_good", "_most", "_slow_base", "_slowed_ns", "reason", "speed", "steady_ns")

    def __init__(self, start: int, most: int, now_ns: int) -> None:
        """Begin with ``start`` connections, with ``most`` in the end."""
        self.speed = 1.0
        self.reason = ""  # why it is slowed
        self.steady_ns = now_ns
        self._allowed = min(start, most)
        self._most = self._ceiling = most
        self._good = 0
        self._slow_base = 0.0
        self._slowed_ns = now_ns - _SLOW_AGAIN_NS

    def set_most(self, most: int) -> None:
        """Take another limit of connections."""
        self._most = self._ceiling = most
        self._allowed = min(self._allowed, most)

    @property
    def connections(self) -> int:
        """How many connections may be open now."""
        return max(1, min(int(self._allowed * self.speed), self._ceiling))

    @property
    def slow_rate_per_s(self) -> float | None:
        """What is left of the rate that it had when it was slowed; None if it is not."""
        return self._slow_base * self.speed if self.speed < 1.0 else None

    def accepted(self, growth_mails: int, open_connections: int, now_ns: int) -> bool:
        """Take note of an accepted mail: after enough of them another connection is allowed, if all are used.

        Tells whether one more is.
        """
        self._good += 1
        if self._good >= growth_mails:
            self._good = 0
            if self._allowed < self._ceiling and self._allowed <= open_connections:
                self._allowed += 1
                self.steady_ns = now_ns
                return True
        return False

    def crowded(self, open_connections: int, now_ns: int) -> None:
        """Take note that the server turned a connection away while it serves others: so many are enough for now."""
        self._ceiling = max(1, min(self._ceiling, open_connections - 1))
        self._allowed = min(self._allowed, self._ceiling)
        self._good = 0
        self._slowed_ns = self.steady_ns = now_ns

    def slow_to(self, part: float, reason: str, rate_per_s: float, now_ns: int) -> bool:
        """Go on at a part of the speed, from the rate seen; False if it was just slowed for the same reason."""
        self.reason = reason
        again = now_ns - self._slowed_ns < _SLOW_AGAIN_NS and self.speed < 1.0
        self._slowed_ns = now_ns
        if again:
            return False
        if self.speed >= 1.0:
            self._slow_base = max(1.0, rate_per_s)
        self.speed = max(_SLOWEST, self.speed * part)
        self.steady_ns = now_ns
        self._good = 0
        return True

    def recovers_in_s(self, recovery_s: float, now_ns: int) -> float:
        """Tell how long until the next step of the recovery."""
        return max(0.0, recovery_s - (now_ns - self._slowed_ns) / NS)

    def recover(self, recovery_s: float, now_ns: int) -> bool:
        """Take a step back up where nobody complained for ``recovery_s``; tells whether anything changed."""
        if self.recovers_in_s(recovery_s, now_ns) > 0:
            return False
        if self.speed < 1.0:
            self.speed = min(1.0, self.speed * 2)
        elif self._ceiling < self._most:
            self._ceiling += 1
        else:
            return False
        self._slowed_ns = self.steady_ns = now_ns
        if self.speed >= 1.0:
            self.reason = ""
        return True
