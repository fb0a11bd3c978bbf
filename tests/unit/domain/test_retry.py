"""Retries come when the schedule says, and end when it says."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hayabin.domain.retry import JITTER, RetrySchedule

START = datetime(2025, 4, 1, 9, 0, tzinfo=UTC)
MINUTE, HOUR, DAY = 60, 3600, 86400
SCHEDULE = RetrySchedule((5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR), 2 * DAY)


def whole_schedule(schedule: RetrySchedule, jitter01: float, most: int = 1000) -> list[timedelta]:
    """Try until it is over, or ``most`` times; give the age of the mail at each retry."""
    ages: list[timedelta] = []
    now, attempt = START, 1
    while attempt <= most and (following := schedule.next_attempt(attempt, START, now, jitter01)) is not None:
        ages.append(following - START)
        now, attempt = following, attempt + 1
    return ages


def test_schedule_without_jitter_printed_whole() -> None:
    """The whole life of a mail that is always deferred, retry by retry."""
    printed = [str(age) for age in whole_schedule(SCHEDULE, 0.0)]
    assert printed == [
        "0:05:00", "0:20:00", "0:50:00", "1:50:00", "3:50:00", "7:50:00", "11:50:00", "15:50:00", "19:50:00", "23:50:00",
        "1 day, 3:50:00", "1 day, 7:50:00", "1 day, 11:50:00", "1 day, 15:50:00", "1 day, 19:50:00", "1 day, 23:50:00",
    ]  # fmt: skip


def test_schedule_full_jitter_stretches_only() -> None:
    """With the most jitter every pause is a fifth longer."""
    printed = [str(age) for age in whole_schedule(SCHEDULE, 1.0)][:4]
    assert printed == ["0:06:00", "0:24:00", "1:00:00", "2:12:00"]


@given(st.lists(st.integers(1, DAY), min_size=1, max_size=8), st.integers(1, 5 * DAY), st.floats(0, 1))
def test_schedule_any_pauses_within_bounds(delays: list[int], max_age_s: int, jitter01: float) -> None:
    """No pause is shorter than stated or stretched beyond the jitter, and none ends after the maximum age."""
    schedule, previous = RetrySchedule(tuple(delays), max_age_s), timedelta()
    for number, age in enumerate(whole_schedule(schedule, jitter01, most=30)):
        pause = (age - previous).total_seconds()
        stated = delays[min(number, len(delays) - 1)]
        assert stated - 1e-5 <= pause <= stated * (1 + JITTER) + 1e-5
        assert age <= timedelta(seconds=max_age_s)
        previous = age


@pytest.mark.parametrize(("delays", "age"), [((), 1), ((0,), 1), ((-5,), 1), ((5,), 0)])
def test_schedule_nonsense_refused(delays: tuple[int, ...], age: int) -> None:
    """An empty or non-positive schedule is an error at start, not an endless loop later."""
    with pytest.raises(ValueError, match=r"must be positive|needs positive"):
        RetrySchedule(delays, age)


@pytest.mark.parametrize(("attempt", "jitter01"), [(0, 0.5), (1, -0.1), (1, 1.1)])
def test_next_attempt_bad_argument_refused(attempt: int, jitter01: float) -> None:
    """Attempts count from 1 and jitter is a part of one."""
    with pytest.raises(ValueError, match=r"attempt counts|jitter01"):
        SCHEDULE.next_attempt(attempt, START, START, jitter01)
