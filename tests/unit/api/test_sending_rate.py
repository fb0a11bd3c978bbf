"""The rate of requests that send, on a clock of our own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api import sending_rate
from services.api.problems import Problem
from services.api.sending_rate import SendingRate


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def read(self) -> float:
        """The time."""
        return self.now


@given(st.lists(st.floats(0, 2), min_size=1, max_size=60), st.integers(1, 5))
def test_tenant_never_has_more_than_a_second_ahead_and_gets_in_after_its_wait(pauses: list[float], per_s: int) -> None:
    """In any stretch from the beginning at most per_s × (time + 1) pass; who waits as told is let in."""
    clock = Clock()
    rate = SendingRate(clock.read)
    for passed, pause in enumerate(pauses, 1):
        clock.now += pause
        wait_s = _refused_for_s(rate, per_s)
        if wait_s:
            clock.now += wait_s
            rate.take(1, per_s)
        assert passed <= per_s * (clock.now - 1000 + 1) + 1e-6


def _refused_for_s(rate: SendingRate, per_s: int) -> int:
    """Take a token; if there is none, the seconds to wait, as the answer says them."""
    try:
        rate.take(1, per_s)
    except Problem as problem:
        found = (problem.status, problem.slug, problem.headers["RateLimit-Limit"])
        return int(problem.headers["Retry-After"]) if found == (429, "quota-exceeded", str(per_s)) else -1
    return 0


def test_tenants_do_not_share_and_no_limit_is_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """One tenant's burst costs another nothing; what is kept of them is bounded."""
    monkeypatch.setattr(sending_rate, "MAX_TENANTS", 3)
    rate = SendingRate(Clock().read)
    rate.take(1, 1)
    rate.take(2, 1)
    with pytest.raises(Problem):
        rate.take(1, 1)
    for _ in range(1000):
        rate.take(1, 0)
    for tenant_id in range(10, 20):
        rate.take(tenant_id, 1)
    rate.take(1, 1)  # forgotten


@given(st.lists(st.floats(0, 1.5), min_size=1, max_size=20), st.integers(1, 5))
def test_bucket_never_has_more_than_the_database_said(waits: list[float], per_s: int) -> None:
    """What other processes took is missing here, too; who waits as told is let in, when nobody else took more."""
    clock = Clock()
    rate = SendingRate(clock.read)
    for ahead_s in waits:
        clock.now += 10.0
        rate.take(1, per_s)
        wait_s = _counted_for_s(rate, per_s, ahead_s)
        left = (1 - ahead_s) * per_s
        assert (wait_s > 0) == (ahead_s > 1 + 1e-4)
        if wait_s:
            assert _refused_for_s(rate, per_s) == wait_s
            clock.now += wait_s
        rest = sum(_refused_for_s(rate, per_s) == 0 for _ in range(2 * per_s))
        assert (rest >= 1) if wait_s else (rest <= left + 1e-6)


def _counted_for_s(rate: SendingRate, per_s: int, ahead_s: float) -> int:
    """Hear what the database counted; the seconds to wait, if it was too much."""
    try:
        rate.counted(1, per_s, ahead_s)
    except Problem as problem:
        return int(problem.headers["Retry-After"])
    return 0
