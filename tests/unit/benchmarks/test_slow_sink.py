"""The arithmetic of the benchmark of a slow sink (``benchmarks.slow_sink``)."""

from benchmarks.engine_parts.course import most_mails
from benchmarks.engine_parts.windows import Look
from benchmarks.slow_sink import most_on_belt


def test_most_on_belt_is_the_fullest_moment_not_the_sum_of_the_fullest_queues() -> None:
    """Two queues that were full at different moments did not fill the belt together."""
    looks = [
        Look(float(n), 0, {}, {}, belt_mails=mails) for n, mails in enumerate([{"a": 9, "b": 0}, {"a": 1, "b": 5}])
    ]

    assert most_on_belt(looks) == {"mails": 9, "by_queue": {"a": 9, "b": 5}}


def test_most_mails_of_a_message_is_told_by_its_queue() -> None:
    """A chunk is up to 500 rows, a batch up to 50 mails."""
    assert (most_mails("render.bulk"), most_mails("dispatch.main.gmail")) == (500, 50)
