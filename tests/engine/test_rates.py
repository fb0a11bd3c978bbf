"""Rates hold exactly, in every span of time, whatever comes and whatever the clock does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.dispatcher.rates import NS, Meter, Pace, Rate, Window

LATE = pytest.mark.parametrize("late", [False, True], ids=["at-once", "late"])
ARRIVALS = st.lists(
    st.tuples(st.integers(-NS, 3 * NS), st.integers(1, 20), st.integers(0, 20)), min_size=1, max_size=60
)


def send(limit: Rate, arrivals: list[tuple[int, int, int]], *, by_clock: bool, late: bool) -> list[int]:
    """Take as many as are free at each arrival, give some back, and list when the others began.

    ``by_clock``: as the clock says, or else as time is, which does not go back with it.
    ``late``: what is given back was taken at an earlier arrival, two before.
    """
    now, latest = 10 * NS, 0
    begun: list[int] = []
    unused = [(0, now)] * 2 if late else []
    for pause, wanted, back in arrivals:
        now += pause
        latest = max(latest, now)
        taken = min(wanted, limit.free(now))
        assert taken >= 0
        if taken == 0:
            assert limit.ready_ns(now) > now, "nothing is free, and yet it is said to be ready"
            continue
        assert limit.ready_ns(now) == now
        limit.take(taken, now)
        returned = min(back, taken)
        unused.append((returned, now))
        limit.give_back(*unused.pop(0), now)
        begun += [now if by_clock else latest] * (taken - returned)
    return sorted(begun)


@LATE
@given(st.floats(0.1, 50), st.integers(1, 20), ARRIVALS)
def test_pace_any_arrivals_never_above_in_any_span(
    late: bool, rate: float, burst: int, arrivals: list[tuple[int, int, int]]
) -> None:
    """No span of time has more than burst + rate x span (the clock may even go back)."""
    begun = send(Pace(rate, burst), arrivals, by_clock=True, late=late)
    for first, start in enumerate(begun):
        for last in range(first, len(begun)):
            assert last - first + 1 <= burst + (begun[last] - start) * rate / NS + 1e-6


@LATE
@given(st.integers(1, 30), st.floats(0.5, 10), ARRIVALS)
def test_window_any_arrivals_never_above_its_limit_in_any_span(
    late: bool, limit: int, span_s: float, arrivals: list[tuple[int, int, int]]
) -> None:
    """Any span of the window's length, wherever it begins, has at most ``limit`` messages."""
    begun = send(Window(limit, span_s), arrivals, by_clock=False, late=late)
    for first, start in enumerate(begun):
        assert sum(1 for at in begun[first:] if at < start + int(span_s * NS)) <= limit


@given(st.floats(1, 1000), st.integers(1, 10), st.integers(1, 30))
def test_pace_steady_demand_gets_the_rate(rate: float, burst: int, count: int) -> None:
    """The limit is not only never exceeded, it is also reached: message n begins at (n - burst) intervals."""
    pace, now, starts = Pace(rate, burst), 0, []
    for _ in range(count):
        now = pace.ready_ns(now)
        pace.take(1, now)
        starts.append(now)
    for number, start in enumerate(starts):
        assert start == pytest.approx(max(0, number + 1 - burst) * NS / rate, abs=count)


@given(st.integers(1, 50), st.floats(1, 100))
def test_window_steady_demand_gets_all_but_a_sixtieth(limit: int, span_s: float) -> None:
    """Whoever takes what is free at once gets the limit again after at most 61 sixtieths of the span."""
    window, now, taken = Window(limit, span_s), 0, 0
    for _ in range(4):
        free = window.free(now)
        window.take(free, now)
        taken += free
        now = window.ready_ns(now)
    assert taken == 4 * limit
    assert now <= 4 * (61 * (int(span_s * NS) // 60) + 61)


def test_rates_what_is_given_back_at_once_may_begin_again() -> None:
    """What the gate refuses costs nothing of a limit."""
    for limit in (Pace(1, 10), Window(10, 60)):
        limit.take(10, 0)
        limit.give_back(4, 0, 1000)
        assert limit.free(2000) in (3, 4)


def test_rates_what_is_given_back_late_is_worth_less() -> None:
    """What a stalled connection gives back is no leave beside what came due meanwhile, nor for what others began."""
    pace = Pace(10, 10)
    pace.take(10, 0)
    pace.take(10, 5 * NS)
    pace.give_back(10, 0, 5 * NS)
    assert pace.free(5 * NS) == 0
    window = Window(10, 60)
    window.take(5, 0)
    window.take(5, 30 * NS)
    window.give_back(5, 0, 30 * NS)
    window.take(5, 31 * NS)
    assert window.free(62 * NS) == 0


def test_window_limit_changed_counts_what_began_before() -> None:
    """A limit that is lowered or raised at run time holds for what began already."""
    window = Window(10, 60)
    window.take(8, 0)
    window.limit = 5
    assert window.free(NS) == 0
    window.limit = 20
    assert window.free(NS) == 12


def test_pace_slower_rate_keeps_the_debt() -> None:
    """A rate that changes does not forgive what is owed."""
    pace = Pace(10, 1)
    pace.take(1, 0)
    pace.set(1, 1)
    assert pace.free(NS // 20) == 0
    assert pace.rested(NS)


def test_meter_tells_the_rate_of_the_last_minute_and_of_less() -> None:
    """Messages over the time since the beginning, at most a minute; what was given back does not count."""
    meter = Meter(0.0)
    for second in range(120):
        meter.add(3, float(second))
    meter.add(-3, 119.0)
    assert meter.per_s(119.5) == pytest.approx(3, rel=0.05)
    assert meter.per_s(119.5, 10) == pytest.approx(2.7, rel=0.15)
    assert meter.per_s(400.0) == 0
