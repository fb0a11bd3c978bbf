"""The pace of a sink (``benchmarks.engine_parts.pace``)."""

import asyncio
import time
from functools import partial

from benchmarks.engine_parts.pace import Pace


async def test_pace_without_a_limit_lets_everything_leave_at_once() -> None:
    """An untold sink is not slowed down."""
    left: list[int] = []
    pace = Pace(asyncio.get_running_loop())

    for number in range(5):
        pace.put(partial(left.append, number))

    assert left == [0, 1, 2, 3, 4]


async def test_pace_with_a_limit_is_never_faster_than_it_and_keeps_the_order() -> None:
    """Of 41 replies at 200 a second the last leaves no sooner than 40 intervals after the first was put in."""
    left: list[int] = []
    done = asyncio.Event()
    pace = Pace(asyncio.get_running_loop())
    pace.set(200)
    begun_s = time.monotonic()

    for number in range(41):
        pace.put(partial(left.append, number))
    pace.put(done.set)
    await asyncio.wait_for(done.wait(), 30)

    assert left == list(range(41))
    assert time.monotonic() - begun_s >= 40 / 200


async def test_pace_that_is_lifted_lets_all_that_wait_leave_at_once() -> None:
    """Full speed begins with those that waited, in order, and later ones do not wait."""
    left: list[int] = []
    pace = Pace(asyncio.get_running_loop())
    pace.set(0.001)
    for number in range(5):
        pace.put(partial(left.append, number))
    assert left == []

    pace.set(0)
    pace.put(lambda: left.append(5))

    assert left == [0, 1, 2, 3, 4, 5]


async def test_pace_after_idleness_has_nothing_saved_up() -> None:
    """Twenty idle intervals do not let twenty replies leave together."""
    left: list[float] = []
    done = asyncio.Event()
    pace = Pace(asyncio.get_running_loop())
    pace.set(100)
    await asyncio.sleep(0.2)

    for _ in range(10):
        pace.put(lambda: left.append(time.monotonic()))
    pace.put(done.set)
    begun_s = time.monotonic()
    await asyncio.wait_for(done.wait(), 30)

    assert time.monotonic() - begun_s >= 10 / 100 - 0.01  # the first was put in before that moment
