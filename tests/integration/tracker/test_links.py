"""Where clicks lead, looked up for many at once."""

import asyncio
import time

import pytest

from hayabin.broker import connect
from hayabin.database.engine import AWAY
from services.tracker.handoff import EventBelt, HandOffLimits
from services.tracker.links import Links
from tests.integration.tracker.conftest import STATIC, Ledger, server_proxy
from tests.integration.tracker.test_hand_over import an_open
from tests.support.waiting import eventually

WAITS_SQL = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def test_many_look_ups_at_once_are_one_statement_and_then_another(book: Ledger) -> None:
    """With the table locked 200 look-ups wait in one session, not in each of the pool; all are answered afterwards."""
    links = Links(book.pool, within_s=20)
    async with book.pool.acquire() as watching, book.pool.acquire() as other:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("LOCK TABLE recipients IN ACCESS EXCLUSIVE MODE")
        asked = [asyncio.create_task(links.look_up(book.ids[n % 4])) for n in range(200)]
        await eventually(lambda: watching.fetchval(WAITS_SQL), lambda waiting: waiting > 0)
        asked += [asyncio.create_task(links.look_up(message_id)) for message_id in (*book.ids, 987_654_321, 2**64 - 1)]
        await asyncio.sleep(0.1)
        assert await watching.fetchval(WAITS_SQL) == 1
        await transaction.rollback()
    *found, gone, too_large = await asyncio.wait_for(asyncio.gather(*asked), 20)
    assert (gone, too_large) == ((), ())
    assert {answers[0].start["status"] for answers in found if answers[0]} == {302}
    headers = dict(found[0][0].start["headers"]) if found[0][0] else {}
    assert headers[b"location"] == STATIC.encode()
    assert links.kept(book.ids[0]) is found[0]


async def test_look_up_that_takes_too_long_fails_everybody_who_asked_and_nobody_after(book: Ledger) -> None:
    """A database that stalls: each is told that it is away, none waits for ever, and the next look-up is a new one."""
    links = Links(book.pool, within_s=0.2)
    async with book.pool.acquire() as other:
        async with other.transaction():
            await other.execute("LOCK TABLE recipients IN ACCESS EXCLUSIVE MODE")
            found = await asyncio.wait_for(
                asyncio.gather(*(links.look_up(message_id) for message_id in book.ids), return_exceptions=True), 10
            )
        assert len(found) == 4
        assert all(isinstance(error, AWAY) for error in found), found
    assert len(await links.look_up(book.ids[0])) == 4


@pytest.mark.alone
async def test_answers_without_the_belt_come_each_in_its_own_time(empty_belt: str) -> None:
    """Three events, 0.15 s apart, with the belt away: each is told false 0.3 s after it came, not with the first."""
    async with server_proxy(empty_belt) as (through, proxy), connect(through, name="test") as broker:
        belt = EventBelt(broker, HandOffLimits(answer_within_s=0.3))
        running = asyncio.create_task(belt.run())
        proxy.take_away()

        async def timed(number: int) -> float:
            await asyncio.sleep(0.15 * number)
            begun = time.monotonic()
            assert not await belt.hand_over(an_open(number), "open")
            return time.monotonic() - begun

        times_s = await asyncio.gather(*(timed(n) for n in range(3)))
        assert all(0.29 < time_s < 0.6 for time_s in times_s), times_s
        await belt.flush(timeout_s=0.1)
        await running
