"""Limits hold exactly, at every moment and in every span of time."""

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from services.dispatcher.connect import TlsMode
from services.dispatcher.lanes import ConnectionSlot, LaneLimits, RateLimit
from services.dispatcher.policy import Policy

NS = 1_000_000_000


def policy(connections: int = 3, rate_per_s: float | None = None, burst: int = 1) -> Policy:
    """Give a policy with these limits."""
    return Policy("default", connections, 100, 30.0, TlsMode.NONE, (300,), rate_per_s, burst)


@given(
    st.floats(0.1, 5000),
    st.integers(1, 20),
    st.lists(st.tuples(st.integers(-NS, 3 * NS), st.integers(1, 20)), min_size=1, max_size=60),
)
def test_rate_limit_any_arrivals_never_above_in_any_span(
    rate: float, burst: int, arrivals: list[tuple[int, int]]
) -> None:
    """Whatever the arrivals (the clock may even go back), no span of time has more than burst + rate x span."""
    limit, now, begun = RateLimit(rate, burst), 10 * NS, []
    for pause, wanted in arrivals:
        now += pause
        size = min(wanted, burst)
        begun += [limit.reserve(size, now)] * size
    begun.sort()
    for first, start in enumerate(begun):
        for last in range(first, len(begun)):
            assert last - first + 1 <= burst + (begun[last] - start) * rate / NS + 1e-6


@given(st.floats(1, 1000), st.integers(1, 10), st.integers(1, 30))
def test_rate_limit_steady_demand_gets_the_rate(rate: float, burst: int, count: int) -> None:
    """The limit is not only never exceeded, it is also reached: message n begins at (n - burst) intervals."""
    limit = RateLimit(rate, burst)
    starts = [limit.reserve(1, 0) for _ in range(count)]
    for number, start in enumerate(starts):
        assert start == pytest.approx(max(0, number + 1 - burst) * NS / rate, abs=count)


@given(st.integers(1, 5), st.integers(1, 40))
def test_rate_limit_group_larger_than_burst_pays_in_advance(burst: int, group: int) -> None:
    """A group above the burst waits until all of it is due, so the long-term rate holds for it too."""
    limit = RateLimit(10, burst)
    starts = [limit.reserve(group, 0) for _ in range(5)]
    for number, start in enumerate(starts, start=1):
        assert (number * group - burst) * NS / 10 <= start + 1 or start == 0


class SlotMachine(RuleBasedStateMachine):
    """Take and release places at random; the counts always equal the places held, and never pass the limit."""

    held = Bundle("held")
    IPS = ("127.0.0.2", "127.0.0.3")

    def __init__(self) -> None:
        super().__init__()
        self.limits = LaneLimits(lambda: 0, idle_lanes=2)
        self.mine: list[tuple[str, ConnectionSlot]] = []

    @rule(target=held, destination=st.sampled_from(["gmail", "mx:a", "mx:b", "mx:c"]))
    def take(self, destination: str) -> tuple[str, ConnectionSlot] | None:
        """Take a place: given while one is free, from the source that is used least."""
        slot = self.limits.connection(destination, policy(connections=2), self.IPS)
        mine = [s.source_ip for d, s in self.mine if d == destination]
        if slot is None:
            assert len(mine) == 4, "refused although a place was free"
            return None
        assert mine.count(slot.source_ip) < 2, "more than the policy allows"
        assert mine.count(slot.source_ip) == min(mine.count(ip) for ip in self.IPS), "not the least used source"
        self.mine.append((destination, slot))
        return destination, slot

    @rule(entry=consumes(held), twice=st.booleans())
    def release(self, entry: tuple[str, ConnectionSlot] | None, twice: bool) -> None:
        """Give a place back, perhaps twice."""
        if entry is None:
            return
        entry[1].release()
        if twice:
            entry[1].release()
        self.mine.remove(entry)

    @invariant()
    def counts_equal_places(self) -> None:
        """What is counted is what is held."""
        for destination in ("gmail", "mx:a", "mx:b", "mx:c"):
            for ip in self.IPS:
                held = sum(1 for d, s in self.mine if d == destination and s.source_ip == ip)
                assert self.limits.open_connections(destination, ip) == held


TestSlotMachine = SlotMachine.TestCase


def test_lane_limits_idle_lanes_forgotten_busy_ones_kept() -> None:
    """Memory is bounded by what is in use: lanes at rest go, a lane with a connection or a debt stays."""
    now = [0]
    limits = LaneLimits(lambda: now[0], idle_lanes=5)
    kept = limits.connection("mx:kept", policy(connections=1), ["127.0.0.2"])
    for number in range(50):
        slot = limits.connection(f"mx:{number}", policy(rate_per_s=1), ["127.0.0.2"])
        assert slot is not None
        slot.release()
    assert len(limits._lanes) <= 6
    assert kept is not None
    assert limits.connection("mx:kept", policy(connections=1), ["127.0.0.2"]) is None


async def test_lane_limits_debt_survives_forgetting() -> None:
    """A lane that owes the rate a pause is not forgotten, so closing connections does not buy messages."""
    now = [0]
    limits = LaneLimits(lambda: now[0], idle_lanes=1)
    slot = limits.connection("docomo", policy(rate_per_s=1), ["127.0.0.2"])
    assert slot is not None
    await slot.tokens(1)
    slot.release()
    for number in range(5):
        other = limits.connection(f"mx:{number}", policy(), ["127.0.0.2"])
        assert other is not None
        other.release()
    again = limits.connection("docomo", policy(rate_per_s=1), ["127.0.0.2"])
    assert again is not None
    waiting = asyncio.ensure_future(again.tokens(1))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    waiting.cancel()


async def test_tokens_many_connections_share_one_rate() -> None:
    """Messages of five connections together keep to the lane's rate, by the real clock."""
    limits, begun = LaneLimits(), []
    limit = policy(connections=5, rate_per_s=200, burst=4)

    async def send() -> None:
        slot = limits.connection("docomo", limit, ["127.0.0.2"])
        assert slot is not None
        assert slot.largest_group == 4
        for _ in range(12):
            await slot.tokens(1)
            begun.append(limits._clock_ns())

    await asyncio.gather(*(send() for _ in range(5)))
    begun.sort()
    assert (begun[-1] - begun[0]) / NS >= (60 - 4) / 200
    assert all(begun[n + 24] - begun[n] >= 20 * NS / 200 - 1 for n in range(36))


async def test_tokens_timer_too_early_waits_on() -> None:
    """The lane's clock decides, not the timer: on a clock at half speed a wait takes twice as long."""
    begin = time.monotonic_ns()
    limits = LaneLimits(lambda: (time.monotonic_ns() - begin) // 2)
    slot = limits.connection("docomo", policy(rate_per_s=20), ["127.0.0.2"])
    assert slot is not None
    await slot.tokens(1)
    await slot.tokens(1)
    assert time.monotonic_ns() - begin >= 0.1 * NS


async def test_tokens_without_rate_immediate() -> None:
    """Where no rate is set nobody waits."""
    slot = LaneLimits().connection("gmail", policy(), ["127.0.0.2"])
    assert slot is not None
    async with asyncio.timeout(0.5):
        await slot.tokens(1_000_000)
