"""A new IP's mail grows as the plan says, day by day."""

from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hayabin.domain.warmup import MAX_DAYS, WarmupPlan

START = date(2026, 4, 1)


def a_plan(**more: Any) -> WarmupPlan:
    """A usual plan: 50 messages on the first day, half as much again on each following one."""
    usual: dict[str, Any] = {"start_per_day": 50, "growth": 1.5, "end_per_day": 10_000, "started_on": START}
    return WarmupPlan(**(usual | more))


def on_day(plan: WarmupPlan, number: int) -> int | None:
    """The cap of a day counted from the start."""
    return plan.cap_on(START + timedelta(days=number))


def test_plan_printed_whole() -> None:
    """Every day of a usual plan, and what comes before and after."""
    assert a_plan().schedule() == (50, 75, 112, 168, 253, 379, 569, 854, 1281, 1922, 2883, 4324, 6487, 9730)
    assert [on_day(a_plan(), number) for number in (-400, -1, 0, 1, 13, 14, 15, 4000)] == [
        0, 0, 50, 75, 9730, None, None, None]  # fmt: skip


def test_plan_with_exact_end_is_over_on_that_day() -> None:
    """A cap that would be the end itself is none any more: from that day on the IP is warm."""
    plan = a_plan(start_per_day=100, growth=2, end_per_day=1600)
    assert plan.schedule() == (100, 200, 400, 800)
    assert on_day(plan, 4) is None


def test_plan_counts_as_people_do() -> None:
    """100 grown by 1.15 is 115, though 100 * 1.15 is 114.99999999999999 in floating point."""
    assert a_plan(start_per_day=100, growth=1.15, end_per_day=200).schedule() == (100, 115, 132, 152, 174)


@given(st.integers(1, 10_000), st.floats(1.01, 10, exclude_min=True), st.integers(2, 10_000_000))
def test_plan_any_grows_to_its_end(start: int, growth: float, end: int) -> None:
    """Caps begin with the start, never fall, grow by no more than the factor, stay below the end, and come to it."""
    assume(start < end)
    try:
        plan = a_plan(start_per_day=start, growth=growth, end_per_day=end)
    except ValueError as error:
        assert "would not be reached" in str(error)  # noqa: PT017 - the slow ones are refused, and only they
        assert start * growth**MAX_DAYS < end * 1.001
        return
    caps = plan.schedule()
    assert caps[0] == start
    assert 1 <= len(caps) <= MAX_DAYS
    for before, after in pairwise(caps):
        assert before <= after <= (before + 1) * growth
    assert max(caps) < end <= (caps[-1] + 1) * growth
    assert tuple(on_day(plan, number) for number in range(len(caps))) == caps
    assert on_day(plan, len(caps)) is None


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("start_per_day", 0), ("start_per_day", -1), ("start_per_day", 2_000_000_000), ("growth", 1.0),
        ("growth", 0.5), ("growth", 10.1), ("growth", float("nan")), ("growth", float("inf")),
        ("growth", 1.000001), ("end_per_day", 50), ("end_per_day", 49), ("end_per_day", 10**10),
    ],
)  # fmt: skip
def test_plan_senseless_is_refused(member: str, value: float) -> None:
    """What never grows, shrinks or takes for ever is refused when it is made, by the member's name."""
    with pytest.raises(ValueError, match=f"^{member}: "):
        a_plan(**{member: value})
