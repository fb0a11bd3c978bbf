"""The arithmetic of the benchmark of the tracker: what a kill may cost, and parts of the bare route."""

from dataclasses import replace

import pytest

from benchmarks.tracker_parts.killed import CONNECTIONS, Asked, judge
from benchmarks.tracker_parts.mails import clicks, opens
from benchmarks.tracker_parts.rounds import Measured, checked, ratio, summary

WITHIN_S = 0.5
ANSWERED: list[tuple[Asked, float]] = [((1, None), 0.01), ((1, 3), 0.02), ((2, None), 0.7)]
EVENTS: list[Asked] = [(1, None), (1, 3), (2, None)]
ONE = Measured(
    target="bare", requests=10, requests_per_s=100.0, requests_per_cpu_s=1000.0, cpu_us=1000.0, server_busy=0.1,
    client_busy=0.1, p50_ms=1.0, p99_ms=2.0,
)  # fmt: skip


def test_judge_with_every_event_there_keeps_the_promise() -> None:
    """An answer later than the tracker waits promises nothing, whether its event is there or not."""
    assert judge(ANSWERED, EVENTS, WITHIN_S).kept
    late = judge(ANSWERED, EVENTS[:2], WITHIN_S)
    assert (late.kept, late.promised, late.late, late.missing) == (True, 2, 1, 0)


def test_judge_with_an_answered_event_missing_breaks_the_promise() -> None:
    """Another link of the same message is no excuse."""
    found = judge(ANSWERED, [(1, None), (1, 4), (2, None)], WITHIN_S)
    assert (found.kept, found.missing, found.unanswered_events) == (False, 1, 1)


def test_judge_with_an_event_twice_breaks_the_promise() -> None:
    """Exactly once is the promise."""
    assert not judge(ANSWERED, [*EVENTS, (1, 3)], WITHIN_S).kept


def test_judge_allows_as_many_unanswered_events_as_connections() -> None:
    """What was under way at the kill may be there; more than that was never asked for."""
    more: list[Asked] = [(10 + n, None) for n in range(CONNECTIONS)]
    assert judge(ANSWERED, EVENTS + more, WITHIN_S).kept
    assert not judge(ANSWERED, [*EVENTS, *more, (9, None)], WITHIN_S).kept


def test_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    """Each round is held against the bare route of the same round: a slow round is slow for both."""
    rounds = [
        [replace(ONE, requests_per_cpu_s=bare), replace(ONE, target="whole", requests_per_cpu_s=whole)]
        for bare, whole in ((1000.0, 500.0), (100.0, 70.0), (1000.0, 600.0))
    ]
    assert ratio(rounds, "whole") == pytest.approx(0.6)
    assert summary(rounds)["medians"]["whole"]["of_bare"] == pytest.approx(0.6)
    assert summary(rounds)["medians"]["bare"]["requests_per_cpu_s"] == pytest.approx(1000.0)


@pytest.mark.parametrize("wrong", [{"statuses": {"302": 9, "503": 1}}, {"broken": 1}, {"unanswered": 1}])
def test_checked_with_another_answer_or_a_broken_connection_ends_the_run(wrong: dict[str, object]) -> None:
    """Figures of refusals are no figures."""
    good = {"statuses": {"302": 10}, "broken": 0, "unanswered": 0, "answered": []}
    assert checked(dict(good), "302") == good
    with pytest.raises(SystemExit):
        checked(good | wrong, "302")


def test_wishes_are_each_of_their_own() -> None:
    """No pixel and no link of a mail is in a list twice, and every mail has its share."""
    ids = list(range(1, 301))
    opened, clicked = opens(ids, 1), clicks(ids, 12, 1)
    assert sorted(wish.message_id for wish in opened) == ids
    assert len(set(clicked)) == len(clicked) == 600
    assert {wish.link for wish in clicked} == set(range(12))
