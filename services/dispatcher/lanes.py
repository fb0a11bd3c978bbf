"""Limits of one destination from one source IP: connections that are open, messages that begin per time.

Promises: exact, never above. At no moment are more connections open than the policy says. Where a rate is set, in any
span of time no more messages begin than ``burst`` plus the rate times the span, if they are taken in groups of at most
``ConnectionSlot.largest_group`` (a larger group may begin as many at once as it has). Times are whole nanoseconds of a
clock that is passed in; a clock that goes back only makes the wait longer. Tokens are served in the order of asking.
It does not fail; memory is bounded by ``idle_lanes`` and the lanes in use.

How many messages a connection may carry is the policy's ``messages_per_connection``, counted by the session itself
(``SmtpSession.transactions``).
"""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from services.dispatcher.policy import Policy

_NS: Final = 1_000_000_000
_NO_LIMIT: Final = 1_000_000


class RateLimit:
    """The generic cell rate algorithm.

    A message is due one interval after the last one, and may come up to ``burst`` - 1 intervals early.
    """

    __slots__ = ("_due_ns", "_early_ns", "_interval_ns")

    def __init__(self, rate_per_s: float, burst: int) -> None:
        """Begin with a full burst. The interval is rounded up, so that the rate stays below the stated one."""
        self._interval_ns = math.ceil(_NS / rate_per_s)
        self._early_ns = self._interval_ns * burst
        self._due_ns: int | None = None

    def reserve(self, messages: int, now_ns: int) -> int:
        """Take so many messages and give when they may begin; they count whether they begin or not."""
        due = now_ns if self._due_ns is None else max(now_ns, self._due_ns)
        self._due_ns = due + messages * self._interval_ns
        return max(now_ns, self._due_ns - self._early_ns)

    def rested(self, now_ns: int) -> bool:
        """Tell whether nothing of the past matters any more."""
        return self._due_ns is None or now_ns >= self._due_ns


class _Lane:
    """One destination from one source IP."""

    __slots__ = ("open_connections", "rate")

    def __init__(self, policy: Policy) -> None:
        self.open_connections = 0
        self.rate = None if policy.rate_per_s is None else RateLimit(policy.rate_per_s, policy.burst)


class ConnectionSlot:
    """A place for one open connection from ``source_ip``; give it back with ``release``."""

    __slots__ = ("_clock_ns", "_lane", "_released", "largest_group", "source_ip")

    def __init__(self, lane: _Lane, policy: Policy, source_ip: str, clock_ns: Callable[[], int]) -> None:
        """Belong to ``lane`` until released."""
        self._lane = lane
        self._clock_ns = clock_ns
        self._released = False
        self.source_ip = source_ip
        self.largest_group = _NO_LIMIT if lane.rate is None else policy.burst

    async def tokens(self, messages: int) -> None:
        """Wait until so many messages may begin; if cancelled, they count as begun."""
        if self._lane.rate is None:
            return
        now = self._clock_ns()
        start = self._lane.rate.reserve(messages, now)
        while now < start:  # a timer may come early; the clock decides
            await asyncio.sleep((start - now) / _NS)
            now = self._clock_ns()

    def release(self) -> None:
        """Give the place back; a second time does nothing."""
        if not self._released:
            self._released = True
            self._lane.open_connections -= 1


class LaneLimits:
    """The limits of all destinations of a process."""

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns, *, idle_lanes: int = 10_000) -> None:
        """Count by ``clock_ns``, monotonic; forget the longest unused lanes at rest beyond ``idle_lanes``."""
        self._clock_ns = clock_ns
        self._idle_lanes = idle_lanes
        self._lanes: OrderedDict[tuple[str, str], _Lane] = OrderedDict()

    def connection(self, destination: str, policy: Policy, source_ips: Sequence[str]) -> ConnectionSlot | None:
        """Give a place for a connection from the source IP that has the fewest open there; None if all are taken."""
        if any((destination, source_ip) not in self._lanes for source_ip in source_ips):
            self._forget_rested()
        chosen: _Lane | None = None
        chosen_ip = ""
        for source_ip in source_ips:
            lane = self._lane(destination, policy, source_ip)
            if lane.open_connections < policy.connections and (
                chosen is None or lane.open_connections < chosen.open_connections
            ):
                chosen, chosen_ip = lane, source_ip
        if chosen is None:
            return None
        chosen.open_connections += 1
        return ConnectionSlot(chosen, policy, chosen_ip, self._clock_ns)

    def open_connections(self, destination: str, source_ip: str) -> int:
        """Tell how many connections are open there."""
        lane = self._lanes.get((destination, source_ip))
        return 0 if lane is None else lane.open_connections

    def _lane(self, destination: str, policy: Policy, source_ip: str) -> _Lane:
        key = (destination, source_ip)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(policy)
        else:
            self._lanes.move_to_end(key)
        return lane

    def _forget_rested(self) -> None:
        excess = len(self._lanes) - self._idle_lanes
        if excess < 0:
            return
        now = self._clock_ns()
        rested = [
            key
            for key, lane in self._lanes.items()
            if lane.open_connections == 0 and (lane.rate is None or lane.rate.rested(now))
        ]
        for key in rested[: excess + 1]:
            del self._lanes[key]
