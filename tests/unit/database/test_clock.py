"""The ledger's clock goes by the database's time and this machine's monotonic clock, never by its time of day."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hayabin.database.clock import DatabaseClock

TIMES = st.floats(0, 4e9)
NEAR_S = 1e-3


class Clocks:
    """Both clocks of this machine, set by hand in place of those of the standard library."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Begin at a time of day that has nothing to do with the monotonic clock."""
        self.day_s, self.monotonic_s = 1_700_000_000.0, 50.0
        monkeypatch.setattr(time, "time", lambda: self.day_s)
        monkeypatch.setattr(time, "monotonic", lambda: self.monotonic_s)

    def go(self, seconds: float) -> None:
        """Let both go on."""
        self.day_s += seconds
        self.monotonic_s += seconds


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    """Clocks in the test's hand."""
    return Clocks(monkeypatch)


def test_clock_before_its_first_reading_is_this_machines(clocks: Clocks) -> None:
    """Proves that a process that has not asked yet has a time to go by."""
    clock = DatabaseClock()
    clocks.go(3)
    assert clock.now_s() == pytest.approx(1_700_000_003.0, abs=NEAR_S)


@pytest.mark.parametrize("jump_s", [-86_400.0, -1.0, 3600.0])
def test_clock_does_not_follow_a_jump_of_this_machines_time_of_day(clocks: Clocks, jump_s: float) -> None:
    """Proves that only the monotonic clock counts between readings, before the first of them too."""
    unread, read = DatabaseClock(), DatabaseClock()
    read.read(1000.0, 50.0, 50.0)
    clocks.day_s += jump_s
    clocks.go(7)
    assert unread.now_s() == pytest.approx(1_700_000_007.0, abs=NEAR_S)
    assert read.now_s() == pytest.approx(1007.0, abs=NEAR_S)


def test_clock_follows_the_last_reading_also_when_the_database_went_back(clocks: Clocks) -> None:
    """Proves that the database is right whatever it says: its clock may be set, and the ledger goes by it."""
    clock = DatabaseClock()
    for database_s in (5000.0, 9000.0, 1000.0):
        clock.read(database_s, clocks.monotonic_s, clocks.monotonic_s)
        clocks.go(10)
        assert clock.now_s() == pytest.approx(database_s + 10, abs=NEAR_S)


def test_clock_gives_the_moment_in_utc(clocks: Clocks) -> None:
    """Proves that ``now`` is ``now_s`` with its zone."""
    clock = DatabaseClock()
    clock.read(1_600_000_000.0, 50.0, 50.0)
    assert clock.now() == datetime.fromtimestamp(1_600_000_000.0, UTC)
    assert clock.now().tzinfo is UTC


@given(database_s=TIMES, asked_s=st.floats(0, 1e7), took_s=st.floats(0, 60), share=st.floats(0, 1))
def test_clock_is_wrong_by_half_of_what_a_reading_took_at_the_most(
    database_s: float, asked_s: float, took_s: float, share: float
) -> None:
    """Proves the bound: the database read its clock somewhere between the question and the answer."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        clocks = Clocks(monkeypatch)
        clock = DatabaseClock()
        clocks.monotonic_s = asked_s + took_s
        clock.read(database_s, asked_s, asked_s + took_s)
        true_s = database_s + took_s * (1 - share)  # its time when the answer is here
        assert abs(clock.now_s() - true_s) <= took_s / 2 + NEAR_S


@given(database_s=st.floats(1e6, 4e9), ahead_s=st.integers(-(10**6), 10**6))
def test_moment_of_this_machine_is_as_far_away_for_the_database(database_s: float, ahead_s: int) -> None:
    """Proves that "in ten minutes" stays ten minutes, by however much the two clocks differ."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        clocks = Clocks(monkeypatch)
        clock = DatabaseClock()
        clock.read(database_s, 50.0, 50.0)
        here = datetime.fromtimestamp(clocks.day_s, UTC) + timedelta(seconds=ahead_s)
        away_s = (clock.from_here(here) - clock.now()).total_seconds()
        assert away_s == pytest.approx(ahead_s, abs=NEAR_S)
