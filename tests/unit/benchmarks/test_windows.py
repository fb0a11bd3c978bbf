"""The arithmetic of windows of a run (``benchmarks.engine_parts.windows``)."""

import pytest

from benchmarks.engine_parts.windows import (
    Look,
    between,
    by_second,
    memory_growth,
    memory_windows,
    part_of,
    recovered_after_s,
    spread,
    summary_ms,
    within,
)


def _look(at_s: float, accepted: int = 0, *, cpu_s: float = 0.0, memory: int = 100) -> Look:
    return Look(at_s, accepted, {"dispatcher": cpu_s}, {"dispatcher": memory}, machine_busy_s=2 * cpu_s)


def test_part_of_a_run_begun_at_a_count_gives_the_first_looks_that_saw_it() -> None:
    """Mails of earlier runs do not count, and a look that saw more than the part stands for it."""
    looks = [_look(float(s), 1000 + 10 * s) for s in range(11)]

    first, last = part_of(looks, 1000, 100, (0.25, 0.9))

    assert (first.accepted, last.accepted) == (1030, 1090)


@pytest.mark.parametrize("looks", [[_look(0, 0), _look(1, 50)], [_look(0, 100), _look(1, 100)]])
def test_part_of_a_run_that_was_not_seen_is_an_error(looks: list[Look]) -> None:
    """A run that ended early, or went by between two looks, gives no rate instead of a wrong one."""
    with pytest.raises(ValueError, match="was not seen"):
        part_of(looks, 0, 100, (0.25, 0.9))


def test_between_two_looks_gives_rate_cpu_and_cores() -> None:
    """Rate by the time between, CPU by the mails between, the machine's own beside ours."""
    shown = between(_look(10, 100, cpu_s=1.0), _look(14, 500, cpu_s=3.0))

    assert shown["emails_per_s"] == 100.0
    assert shown["cpu_us_per_email"] == {"dispatcher": 5000.0}
    assert (shown["cores_busy"], shown["cores_busy_machine"]) == (0.5, 1.0)


def test_between_looks_without_a_mail_divides_by_nothing() -> None:
    """A second in which nothing was accepted is a rate of 0."""
    shown = between(_look(0, 7), _look(1, 7))

    assert (shown["emails_per_s"], shown["cpu_us_per_email"]) == (0.0, {})


def test_within_a_window_without_looks_gives_the_nearest() -> None:
    """A run of two looks has no look between them."""
    looks = [_look(0.0), _look(10.0)]

    assert within(looks, (0.1, 0.3)) == [looks[0]]
    assert within(looks, (0.0, 1.0)) == looks


def test_memory_windows_of_a_growing_process_show_the_growth() -> None:
    """Medians of the windows: one spike is told as the most and is no growth."""
    looks = [_look(float(s), memory=100 + s) for s in range(100)]
    looks[90] = _look(90.0, memory=10_000)

    shown = memory_windows(looks, (0.0, 0.2), (0.8, 1.0))["dispatcher"]

    assert shown["most_bytes"] == 10_000
    assert 1.6 < shown["ratio"] < 1.9


def test_memory_growth_compares_the_last_third_with_everything_before_the_second() -> None:
    """What was needed at full speed, or by the end of the first third, is not growth; what comes later is."""
    before = [_look(0, memory=300)]
    flat = [_look(10.0 + s, memory=200 if s < 20 else 300) for s in range(31)]
    growing = [_look(10.0 + s, memory=200 + 10 * s) for s in range(31)]

    assert memory_growth(before, flat)["dispatcher"]["ratio"] == 1.0
    assert memory_growth(before, growing)["dispatcher"]["ratio"] == round(500 / 300, 3)


def test_by_second_of_tenths_counts_from_the_moment_given() -> None:
    """Seconds are those since that moment, of all listeners; what came before or after is not counted."""
    tenths = {"mx0": [(995, 9), (1000, 1), (1009, 2)], "mx1": [(1010, 4), (1030, 8)]}

    assert by_second(tenths, 100.0, 102.5) == [3, 4]


def test_recovered_after_gives_the_first_span_that_is_fast_enough() -> None:
    """A burst before a pause is not enough: the mean of the span is looked at."""
    assert recovered_after_s([0, 150, 20, 100, 100], 90, span=2) == 3
    assert recovered_after_s([200, 0, 100, 100, 100], 100) == 0
    assert recovered_after_s([300, 0, 0, 100, 95, 100, 100, 100], 98) == 0
    assert recovered_after_s([200, 0, 0, 100, 95, 100, 100, 100], 98) == 3
    assert recovered_after_s([10, 20, 30], 90) is None


def test_spread_of_rates_is_by_how_much_the_lowest_is_below_the_highest() -> None:
    """Ten percent apart: 900 beside 1000."""
    assert spread([1000, 900, 950]) == pytest.approx(0.1)


def test_summary_of_times_gives_nearest_ranks_in_milliseconds() -> None:
    """A p99 of a hundred is the second-longest, of ten the longest."""
    assert summary_ms([n / 1000 for n in range(1, 101)])["p99_ms"] == 99.0
    assert summary_ms([n / 1000 for n in range(1, 11)]) == {
        "number": 10, "p50_ms": 5.0, "p90_ms": 9.0, "p99_ms": 10.0, "most_ms": 10.0,
    }  # fmt: skip
