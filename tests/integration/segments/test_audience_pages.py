"""Audiences by rules enter the ledger in pages, beside other launches and whatever happens between two of them."""

import asyncio

import pytest

from hayabin.crash_points import CrashPoint
from hayabin.database import audience
from hayabin.database.audience import fill_next
from hayabin.database.launch import launch
from hayabin.database.segments import SegmentMissing
from tests.integration.segments.place import PEOPLE, Place
from tests.support.seed import Seeded


@pytest.mark.parametrize("limit", ["frequency_cap_messages", "same_content_days"])
async def test_launches_at_once_do_not_give_anybody_more_than_the_tenant_allows(place: Place, limit: str) -> None:
    """The second waits for the first, and sees whom it took."""
    await place.settings(**{limit: 1})
    campaigns = [await place.another() for _ in range(3)]

    async def start(one: Seeded) -> None:
        async with place.pool.acquire() as connection, connection.transaction():
            await launch(connection, one.campaign_id, tenant_id=one.tenant_id)
            await asyncio.sleep(0.05)

    await asyncio.gather(*(start(one) for one in campaigns))
    while await fill_next(place.pool) or await place.pool.fetchval("SELECT bool_or(filling) FROM campaigns"):
        pass
    assert await place.pool.fetchval("SELECT count(*) FROM messages WHERE state = 'due'") == PEOPLE
    assert await place.pool.fetchval("SELECT count(*) FROM messages") == 3 * PEOPLE


async def test_pages_after_a_crash_neither_skip_nor_repeat_anybody(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page is rolled back once before it is taken, and people leave, come and are suppressed meanwhile."""
    segment = await place.a_segment(range(10, 40))
    await place.define(include_lists=[place.seeded.list_id], include_segments=[segment])
    async with place.pool.acquire() as connection, connection.transaction():
        await launch(connection, place.seeded.campaign_id, tenant_id=place.seeded.tenant_id)
    turns = 0

    def crash(point: CrashPoint) -> None:
        if point is CrashPoint.FILL_BEFORE_COMMIT and turns % 2:
            raise ConnectionResetError

    monkeypatch.setattr(audience, "reach", crash)
    leaves = "UPDATE list_members SET state = 'unsubscribed', updated_at = now() WHERE contact_id = $1"
    await place.pool.execute(leaves, place.ids[30])
    while await place.pool.fetchval("SELECT filling FROM campaigns"):
        turns += 1
        try:
            await fill_next(place.pool)
        except ConnectionResetError:
            continue
    assert turns > 8
    assert await place.in_ledger() == {n: "unsubscribed" if n == 30 else "" for n in range(PEOPLE)}


async def test_segment_that_few_meet_is_found_by_the_scheduler(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A launch does not look through everybody: nobody on the first page is no empty audience, unless it is the last."""
    monkeypatch.setattr(audience, "FIRST_S", 0.0)
    few = await place.a_segment(range(38, 40))
    await place.define(include_segments=[few])
    async with place.pool.acquire() as connection, connection.transaction():
        page = await launch(connection, place.seeded.campaign_id, tenant_id=place.seeded.tenant_id)
    assert (page.people, page.last) == (0, False)
    while await place.pool.fetchval("SELECT filling FROM campaigns"):
        await fill_next(place.pool)
    assert await place.in_ledger() == {38: "", 39: ""}
    assert await place.pool.fetchval("SELECT audience FROM campaigns") == 2


async def test_who_signs_up_while_a_campaign_is_filled_and_has_not_confirmed_is_in_no_page(place: Place) -> None:
    """`pending` since the launch is nobody who left."""
    async with place.pool.acquire() as connection, connection.transaction():
        await launch(connection, place.seeded.campaign_id, tenant_id=place.seeded.tenant_id)
    await place.pool.execute(
        "UPDATE list_members SET state = 'pending', updated_at = now() WHERE contact_id = $1", place.ids[39]
    )
    while await place.pool.fetchval("SELECT filling FROM campaigns"):
        await fill_next(place.pool)
    assert await place.in_ledger() == dict.fromkeys(range(39), "")


async def test_campaign_that_excludes_one_that_is_being_filled_waits_for_it(place: Place) -> None:
    """Whoever the other one is going to have is known when it is filled; two that exclude each other do not wait both."""
    first, second = await place.another(), place.seeded
    await place.pool.execute("DELETE FROM list_members WHERE contact_id = ANY($1)", place.ids[:30])
    far = await place.a_list("far", range(20, 40))
    await place.pool.execute("UPDATE campaigns SET list_id = $2 WHERE id = $1", second.campaign_id, far)
    await place.define(include_lists=[far], exclude_campaigns=[first.campaign_id])
    mutual = {"include_lists": [first.list_id], "exclude_campaigns": [second.campaign_id]}
    await place.pool.execute("UPDATE campaigns SET audience_definition = $2 WHERE id = $1", first.campaign_id, mutual)
    pages = []
    for one in (first, second):
        async with place.pool.acquire() as connection, connection.transaction():
            pages.append(await launch(connection, one.campaign_id, tenant_id=one.tenant_id))
    assert [(page.people, page.last) for page in pages] == [(5, False), (0, False)]
    while await fill_next(place.pool) or await place.pool.fetchval("SELECT bool_or(filling) FROM campaigns"):
        pass
    assert await place.in_ledger(first) == dict.fromkeys(range(30, 40), "")
    assert await place.in_ledger(second) == dict.fromkeys(range(20, 30), "")


async def test_campaign_whose_page_cannot_be_made_does_not_keep_the_others_waiting(place: Place) -> None:
    """What is wrong comes out, and the next turns are the other campaign's."""
    segment = await place.a_segment(range(40))
    await place.define(include_segments=[segment])
    healthy = await place.another()
    for one in (place.seeded, healthy):
        async with place.pool.acquire() as connection, connection.transaction():
            await launch(connection, one.campaign_id, tenant_id=one.tenant_id)
    await place.pool.execute("DELETE FROM segments")
    with pytest.raises(SegmentMissing):
        await fill_next(place.pool)
    while await fill_next(place.pool):
        assert len(await place.in_ledger(healthy)) > 5
        if not await place.pool.fetchval("SELECT filling FROM campaigns WHERE id = $1", healthy.campaign_id):
            break
    assert len(await place.in_ledger(healthy)) == PEOPLE
