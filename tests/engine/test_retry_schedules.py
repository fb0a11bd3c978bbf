"""When each provider is asked again: the whole schedules, as a mail that is always deferred lives through them."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hayabin.domain.lane import PROVIDERS
from hayabin.domain.retry import JITTER, RetrySchedule
from services.dispatcher.policy import DEFAULT, load_policies

MAX_AGE_S = 172_800
START = datetime(2025, 4, 1, 9, 0, tzinfo=UTC)
POLICIES = load_policies()

# The age of the mail at each retry, days+hours:minutes, without jitter.
SOON = """
0+00:05  0+00:20  0+00:50  0+01:50  0+03:50  0+07:50  0+11:50  0+15:50
0+19:50  0+23:50  1+03:50  1+07:50  1+11:50  1+15:50  1+19:50  1+23:50
"""
PAST_THE_HOUR = """
0+00:10  0+00:40  0+01:40  0+03:40  0+07:40  0+11:40  0+15:40  0+19:40
0+23:40  1+03:40  1+07:40  1+11:40  1+15:40  1+19:40  1+23:40
"""
EVERY_FOUR_HOURS = """
0+00:15  0+01:15  0+05:15  0+09:15  0+13:15  0+17:15  0+21:15  1+01:15
1+05:15  1+09:15  1+13:15  1+17:15  1+21:15
"""
TABLES = {
    "gmail": SOON,
    "yahoo": EVERY_FOUR_HOURS,
    "microsoft": SOON,
    "icloud": PAST_THE_HOUR,
    "docomo": PAST_THE_HOUR,
    "au": PAST_THE_HOUR,
    "softbank": PAST_THE_HOUR,
    "yahoo_jp": PAST_THE_HOUR,
    "default": SOON,
}


def ages(schedule: RetrySchedule, jitters: list[float]) -> list[float]:
    """Try until it is over, the jitters over and over again; give the age in seconds at each retry."""
    found: list[float] = []
    now, attempt = START, 1
    while (due := schedule.next_attempt(attempt, START, now, jitters[attempt % len(jitters)])) is not None:
        found.append((due - START).total_seconds())
        now, attempt = due, attempt + 1
    return found


def as_table(seconds: list[float]) -> str:
    """Print ages, eight in a row."""
    shown = []
    for age in seconds:
        span = timedelta(seconds=age)
        shown.append(f"{span.days}+{span.seconds // 3600:02}:{span.seconds % 3600 // 60:02}")
    rows = ["  ".join(shown[at : at + 8]) for at in range(0, len(shown), 8)]
    return "\n" + "\n".join(rows) + "\n"


def test_schedules_every_policy_has_a_table() -> None:
    """No shipped schedule is left out here."""
    assert set(TABLES) == {*PROVIDERS, DEFAULT}


@pytest.mark.parametrize("provider", sorted(TABLES))
def test_schedule_shipped_without_jitter_printed_whole(provider: str) -> None:
    """Retry by retry until the mail expires at the default age of two days."""
    schedule = RetrySchedule(POLICIES.get(provider).retry_delays_s, MAX_AGE_S)
    assert as_table(ages(schedule, [0.0])) == TABLES[provider]


@pytest.mark.parametrize("provider", sorted(TABLES))
def test_schedule_shipped_is_polite(provider: str) -> None:
    """Pauses never get shorter, the first is what greylisting asks for, and no pause is so long that a day is lost."""
    delays = POLICIES.get(provider).retry_delays_s
    assert list(delays) == sorted(delays)
    assert delays[0] >= 300
    assert delays[-1] <= 4 * 3600


DELAYS = st.lists(st.integers(60, 86_400), min_size=1, max_size=8).map(tuple)


@given(DELAYS, st.integers(3600, 432_000), st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_schedule_any_never_early_never_late_and_ends(
    delays: tuple[int, ...], max_age_s: int, jitters: list[float]
) -> None:
    """Each pause is at least the schedule's and at most ``JITTER`` longer, ages grow, and none passes the last one."""
    found = ages(RetrySchedule(delays, max_age_s), jitters)
    previous = 0.0
    for number, age in enumerate(found):
        stated = delays[min(number, len(delays) - 1)]
        assert stated - 1e-5 <= age - previous <= stated * (1 + JITTER) + 1e-5
        assert previous < age <= max_age_s
        previous = age
    following = delays[min(len(found), len(delays) - 1)]
    assert previous + following * (1 + JITTER) > max_age_s - 1e-5, "it ends only when the next pause would be too long"


@given(st.sampled_from(sorted(TABLES)), st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_schedule_shipped_with_jitter_between_the_tables(provider: str, jitters: list[float]) -> None:
    """With any jitter a retry comes after the one of the table, and before a fifth more of its age."""
    schedule = RetrySchedule(POLICIES.get(provider).retry_delays_s, MAX_AGE_S)
    plain, shaken = ages(schedule, [0.0]), ages(schedule, jitters)
    assert len(shaken) <= len(plain)
    for early, late in zip(plain, shaken, strict=False):
        assert early - 1e-5 <= late <= early * (1 + JITTER) + 1e-5
