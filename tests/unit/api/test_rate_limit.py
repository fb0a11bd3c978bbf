"""The token bucket of a key, on a clock of our own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api import rate_limit
from services.api.problems import Problem
from services.api.rate_limit import RateLimit


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def read(self) -> float:
        """The time."""
        return self.now


@given(st.lists(st.floats(0, 3), min_size=1, max_size=60), st.floats(0.5, 5), st.integers(1, 5))
def test_rate_is_never_over_burst_and_rate(pauses: list[float], rate_per_s: float, burst: int) -> None:
    """In any stretch from the beginning, at most burst + rate × time pass; a refused one passes after its wait."""
    clock = Clock()
    limit = RateLimit(rate_per_s, burst, clock.read)
    passed = 0
    for pause in pauses:
        clock.now += pause
        try:
            limit.take(1)
            passed += 1
        except Problem as problem:
            clock.now += int(problem.headers["Retry-After"])
            limit.take(1)
            passed += 1
        assert passed <= burst + rate_per_s * (clock.now - 1000) + 1e-6


def test_rate_of_many_keys_is_bounded_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys that were quiet longest are forgotten first."""
    monkeypatch.setattr(rate_limit, "MAX_KEYS", 10)
    limit = RateLimit(0.001, 1, Clock().read)
    for key in range(1000):
        limit.take(key)
    assert len(limit._buckets) == 10
    with pytest.raises(Problem) as caught:
        limit.take(999)
    assert (caught.value.status, caught.value.headers["Retry-After"]) == (429, "1000")
    limit.take(1)


def test_rate_of_zero_is_no_limit() -> None:
    """An operator may leave the limit to what stands before the API."""
    limit = RateLimit(0, 1, Clock().read)
    for _ in range(1000):
        limit.take(1)
