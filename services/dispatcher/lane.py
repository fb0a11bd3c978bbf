"""A lane: one provider (or one destination that is none) from one source IP, and how much may go there now.

Promises: exact, never above. At no moment are more connections open than the policy says, nor more messages begun than
its rates (see ``rates``) and daily caps (see ``daily``) let. Within that a lane adapts (see ``effort``). It can
say why it is closed and until when. Times are nanoseconds of a monotonic clock that is passed in.
It does not fail.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from hayabin.domain.policy import Policy
from hayabin.domain.reply_rules import Tally
from services.dispatcher.daily import DailyCap
from services.dispatcher.effort import Effort
from services.dispatcher.rates import NS, Meter, Pace, Rate, Window
from services.dispatcher.suspensions import Suspensions

LONGEST_WAIT_S: Final = 5.0
"""A lane that has to wait longer for its rates counts as closed until then."""


class LaneState(StrEnum):
    """What a lane does now."""

    OPEN = "open"
    SLOWED = "slowed"  # a reply asked for less
    RESTING = "resting"  # nobody could connect there
    SUSPENDED = "suspended"
    CAPPED = "capped"  # the warm-up's or the policy's messages of the day, hour or minute are used up
    QUIET = "quiet"  # the policy avoids the full hour


@dataclass(frozen=True, slots=True)
class Closed:
    """Why nothing begins on a lane, and when it may again (None: when somebody resumes it)."""

    state: LaneState
    reason: str
    ready_at: datetime | None


@dataclass(frozen=True, slots=True)
class Rules:
    """What lanes go by beside their policy; a clock in nanoseconds and one that tells the time."""

    suspensions: Suspensions
    daily_caps: Callable[[str, str, Policy], Sequence[DailyCap]]  # of source IP, lane key and policy
    clock_ns: Callable[[], int] = time.monotonic_ns
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


class Lane:
    """See the module; ``key`` is a provider or ``mx:HOST``."""

    __slots__ = (
        "_effort", "_next_connect_ns", "_pace", "_rules", "_windows", "daily", "key", "meter", "open_connections",
        "policy", "source_ip", "tally", "used_ns",
    )  # fmt: skip

    def __init__(self, key: str, source_ip: str, policy: Policy, rules: Rules) -> None:
        """Begin with few connections and full rates."""
        self.key, self.source_ip, self._rules = key, source_ip, rules
        now_ns = rules.clock_ns()
        self.open_connections = 0
        self.tally = Tally()
        self.used_ns = self._next_connect_ns = now_ns
        self.meter = Meter(now_ns / NS)
        self._effort = Effort(policy.connections_start, policy.connections, now_ns)
        self._pace: Pace | None = None
        self._windows: dict[float, Window] = {}
        self.daily: Sequence[DailyCap] = ()
        self.obey(policy)

    def obey(self, policy: Policy) -> None:
        """Go by this policy from now on; what was used of the old limits counts for the new ones."""
        self.policy = policy
        self._effort.set_most(policy.connections)
        spans = {60.0: policy.rate_per_min, 3600.0: policy.rate_per_h}
        for span_s, limit in spans.items():
            if limit is None:
                self._windows.pop(span_s, None)
            elif span_s in self._windows:
                self._windows[span_s].limit = limit
            else:
                self._windows[span_s] = Window(limit, span_s)
        self.daily = self._rules.daily_caps(self.source_ip, self.key, policy)
        self._set_pace()

    @property
    def provider(self) -> str:
        """The provider, as metrics name it."""
        return "other" if self.key.startswith("mx:") else self.key

    @property
    def limit_per_s(self) -> float | None:
        """The lowest of the rates that hold now, as messages a second; None if there is none."""
        policy = self.policy
        windows = (window.limit / span_s for span_s, window in self._windows.items())
        limits = (policy.rate_per_s, self._effort.slow_rate_per_s, *windows)
        return min((limit for limit in limits if limit is not None), default=None)

    @property
    def connection_limit(self) -> int:
        """How many connections may be open now."""
        return self._effort.connections

    @property
    def speed(self) -> float:
        """The part of its usual speed, 1 where nobody complained."""
        return self._effort.speed

    @property
    def steady_ns(self) -> int:
        """Since when nothing changed what it can do."""
        return self._effort.steady_ns

    def _set_pace(self) -> None:
        rate, burst = self.policy.rate_per_s, self.policy.burst
        if (slow := self._effort.slow_rate_per_s) is not None:
            rate = slow if rate is None else min(rate, slow)
            burst = min(burst, max(1, int(rate)))
        if rate is None:
            self._pace = None
        elif self._pace is None:
            self._pace = Pace(rate, burst)
        else:
            self._pace.set(rate, burst)

    def _rates(self) -> Iterator[Rate]:
        if self._pace is not None:
            yield self._pace
        yield from self._windows.values()
        yield from self.daily

    # --- messages

    def grant(self, wanted: int, *, urgent: bool = False) -> int:
        """Let messages begin, as many as may now and at most ``wanted``; 0 if the lane is closed or has to wait."""
        if self.closed(urgent=urgent) is not None:
            return 0
        now_ns = self._rules.clock_ns()
        granted = wanted
        for rate in self._rates():
            granted = min(granted, rate.free(now_ns))
        if granted <= 0:
            return 0
        for rate in self._rates():
            rate.take(granted, now_ns)
        self.meter.add(granted, now_ns / NS)
        self.used_ns = now_ns
        return granted

    def give_back(self, messages: int, granted_ns: int) -> None:
        """Take back what was granted at that time (``used_ns`` then) and did not begin."""
        if messages <= 0:
            return
        now_ns = self._rules.clock_ns()
        for rate in self._rates():
            rate.give_back(messages, granted_ns, now_ns)
        self.meter.add(-messages, now_ns / NS)

    def wait_s(self) -> float:
        """Tell how long until a message may begin by the rates and caps; 0 if one may now.

        Units: seconds.
        """
        now_ns = self._rules.clock_ns()
        return max((rate.ready_ns(now_ns) - now_ns for rate in self._rates()), default=0) / NS

    def capacity_per_s(self, transaction_s: float) -> float:
        """Estimate what it can take when everything goes well."""
        by_connections = self.connection_limit / max(transaction_s, 1e-4)
        limit = self.limit_per_s
        return by_connections if limit is None else min(limit, by_connections)

    # --- connections

    def may_connect(self) -> bool:
        """Tell whether another connection may be opened now."""
        return self.open_connections < self.connection_limit and self._rules.clock_ns() >= self._next_connect_ns

    def connected(self) -> None:
        """Count a connection that is opened."""
        self.open_connections += 1
        if self.policy.connection_spacing_s:
            self._next_connect_ns = self._rules.clock_ns() + int(self.policy.connection_spacing_s * NS)

    def disconnected(self) -> None:
        """Count a connection that is gone."""
        self.open_connections -= 1

    # --- adapting

    def accepted(self) -> bool:
        """Take note of a mail that was accepted; tells whether another connection may be opened for that."""
        return self._effort.accepted(self.policy.growth_mails, self.open_connections, self._rules.clock_ns())

    def crowded(self) -> None:
        """Take note that the server turned a connection away while it serves others."""
        self._effort.crowded(self.open_connections, self._rules.clock_ns())

    def slow_to(self, part: float, reason: str) -> None:
        """Go on at a part of the speed."""
        now_ns = self._rules.clock_ns()
        if self._effort.slow_to(part, reason, self.meter.per_s(now_ns / NS), now_ns):
            self._set_pace()

    def recover(self) -> None:
        """Take back some of what was slowed down, where nobody complained for the policy's ``recovery_s``."""
        if self._effort.recover(self.policy.recovery_s, self._rules.clock_ns()):
            self._set_pace()

    def now_ns(self) -> int:
        """Tell the time of the lane's clock."""
        return self._rules.clock_ns()

    # --- why not

    def closed(self, *, urgent: bool = False) -> Closed | None:
        """Tell why nothing may begin for a while, if that is so; transactional mail (``urgent``) has no quiet times."""
        now = self._rules.now()
        suspension = self._rules.suspensions.of(self.source_ip, self.key, now)
        if suspension is not None:
            return Closed(LaneState.SUSPENDED, suspension.reason, suspension.until)
        for cap in self.daily:
            if cap.exhausted and cap.left <= 0 and cap.cap() is not None:
                now_ns = self._rules.clock_ns()
                wait_s = (cap.ready_ns(now_ns) - now_ns) / NS
                return Closed(LaneState.CAPPED, f"{cap.cap()} messages a day", _after(now, wait_s))
        if (wait_s := self.wait_s()) > LONGEST_WAIT_S:
            return Closed(LaneState.CAPPED, "the messages of the minute or hour are used up", _after(now, wait_s))
        if not urgent and (until := _quiet_until(self.policy, now)) is not None:
            return Closed(LaneState.QUIET, "around the full hour", until)
        return None

    def status(self) -> Closed:
        """Give the state for people, with what it waits for."""
        closed = self.closed()
        if closed is not None:
            return closed
        now = self._rules.now()
        if self.speed < 1.0:
            left_s = self._effort.recovers_in_s(self.policy.recovery_s, self._rules.clock_ns())
            reason = f"{self.speed:.0%} of its speed: {self._effort.reason}"
            return Closed(LaneState.SLOWED, reason, _after(now, left_s))
        return Closed(LaneState.OPEN, "", None)

    def rested(self, idle_s: float) -> bool:
        """Tell whether it may be forgotten: unused for ``idle_s``, and nothing of the past matters any more."""
        now_ns = self._rules.clock_ns()
        unused = self.open_connections == 0 and now_ns - self.used_ns > idle_s * NS
        return unused and self.speed >= 1.0 and all(rate.rested(now_ns) for rate in self._rates())


def _after(now: datetime, wait_s: float) -> datetime:
    return datetime.fromtimestamp(now.timestamp() + wait_s, UTC)


def _quiet_until(policy: Policy, now: datetime) -> datetime | None:
    """Give the end of the quiet time around the full hour, if it is one."""
    if not policy.quiet_before_hour_s and not policy.quiet_after_hour_s:
        return None
    seconds = now.timestamp()
    into = seconds % 3600
    if into < policy.quiet_after_hour_s:
        return datetime.fromtimestamp(seconds - into + policy.quiet_after_hour_s, UTC)
    if 3600 - into <= policy.quiet_before_hour_s:
        return datetime.fromtimestamp(seconds - into + 3600 + policy.quiet_after_hour_s, UTC)
    return None
