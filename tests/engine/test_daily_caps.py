"""Caps of a day on a real database: exact for many processes, over restarts and over midnight."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from hayabin.database.engine import Pool, open_pool
from services.dispatcher.daily import DailyCap, DailyCaps
from services.dispatcher.rates import NO_LIMIT

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """Connections."""
    pool = await open_pool(database_url, name="test", size=8)
    yield pool
    await pool.close()


async def use_all(caps: DailyCaps, cap: DailyCap) -> int:
    """Take what there is until the day is used up; returns how many began."""
    begun = 0
    while True:
        free = cap.free(0)
        if free:
            cap.take(free, 0)
            begun += free
        elif cap.exhausted:
            return begun
        await caps.reserve(cap)
        await asyncio.sleep(0)


async def test_caps_of_eight_processes_at_once_never_exceed_the_day(pool: Pool) -> None:
    """Eight dispatchers reserve for the same IP at the same time: together exactly the cap begins."""
    processes = [DailyCaps(pool, today=lambda: NOON) for _ in range(8)]
    begun = await asyncio.gather(*(use_all(caps, caps.get("192.0.2.1", "gmail", lambda _: 777)) for caps in processes))
    assert sum(begun) == 777
    assert await pool.fetchval("SELECT granted FROM lane_usage") == 777


async def test_cap_after_a_crash_loses_at_most_one_block_and_after_a_stop_nothing(pool: Pool) -> None:
    """What a killed process had reserved is lost for the day; what a stopped one returns is not."""
    killed = DailyCaps(pool, today=lambda: NOON)
    cap = killed.get("192.0.2.1", "gmail", lambda _: 500)
    await killed.reserve(cap)
    cap.take(3, 0)
    stopped = DailyCaps(pool, today=lambda: NOON)
    cap = stopped.get("192.0.2.1", "gmail", lambda _: 500)
    await stopped.reserve(cap)
    cap.take(4, 0)
    await stopped.give_back_all()
    last = DailyCaps(pool, today=lambda: NOON)
    assert await use_all(last, last.get("192.0.2.1", "gmail", lambda _: 500)) == 500 - 10 - 4


async def test_cap_turns_with_the_utc_day_and_tells_when(pool: Pool) -> None:
    """Used up at 23:59:50, it is ready ten seconds later, with the next day's cap."""
    now = [datetime(2026, 11, 24, 23, 59, 50, tzinfo=UTC)]
    caps = DailyCaps(pool, today=lambda: now[0])
    plan = {now[0].date(): 5, now[0].date() + timedelta(days=1): 10}
    cap = caps.get("192.0.2.1", "gmail", lambda day: plan[day])
    assert await use_all(caps, cap) == 5
    assert 10 <= cap.ready_ns(0) / 1e9 <= 12
    now[0] += timedelta(seconds=11)
    assert await use_all(caps, cap) == 10


async def test_cap_what_is_given_back_after_midnight_is_none_of_the_new_day(pool: Pool) -> None:
    """Five that were let begin at 23:59 and did not are given back at 0:00: the new day's cap is not more for it."""
    now = [datetime(2026, 11, 24, 23, 59, 59, tzinfo=UTC)]
    caps = DailyCaps(pool, today=lambda: now[0])
    cap = caps.get("192.0.2.1", "gmail", lambda _: 5)
    assert await use_all(caps, cap) == 5
    cap.give_back(2, 0, 1)
    assert cap.free(1) == 2, "on the same day they may begin"
    now[0] += timedelta(seconds=2)
    await caps.reserve(cap)
    cap.take(1, 2_000)
    cap.give_back(3, 0, 3_000)
    assert await use_all(caps, cap) == 4
    assert await pool.fetchval("SELECT max(granted) FROM lane_usage") == 5


async def test_cap_raised_on_the_same_day_goes_on(pool: Pool) -> None:
    """A plan that an operator raises gives the difference at once; no plan at all is no limit."""
    caps = DailyCaps(pool, today=lambda: NOON)
    assert await use_all(caps, caps.get("192.0.2.1", "gmail", lambda _: 5)) == 5
    assert await use_all(caps, caps.get("192.0.2.1", "gmail", lambda _: 8)) == 3
    assert caps.get("192.0.2.1", "gmail", lambda _: None).free(0) == NO_LIMIT


async def test_cap_of_nothing_lets_nothing_begin(pool: Pool) -> None:
    """Before its plan starts an IP sends nothing."""
    caps = DailyCaps(pool, today=lambda: NOON)
    assert await use_all(caps, caps.get("192.0.2.1", "gmail", lambda _: 0)) == 0
