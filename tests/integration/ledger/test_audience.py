"""The audience enters the ledger page by page: everybody once, whatever happens meanwhile; on a real PostgreSQL."""

import asyncio

import pytest

from hayabin.database import audience
from hayabin.database.audience import fill_next, fill_page
from hayabin.database.counters import read_counters
from hayabin.database.engine import Pool
from hayabin.database.launch import change_state, launch
from hayabin.domain.campaign import CampaignState
from services.api.scheduler.reconciler import complete_campaigns
from tests.support.seed import Seeded, seed_campaign

PEOPLE = 25
FIRST, PAGE = 10, 4


@pytest.fixture
async def filling(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> Seeded:
    """A campaign of ``PEOPLE`` whose first ``FIRST`` are in the ledger, with pages of ``PAGE`` to come."""
    monkeypatch.setattr(audience, "FIRST_PAGE_ROWS", FIRST)
    monkeypatch.setattr(audience, "PAGE_ROWS", PAGE)
    return await launched(pool, "large", PEOPLE)


async def launched(pool: Pool, slug: str, people: int) -> Seeded:
    """Launch a campaign; the first page is in the ledger."""
    async with pool.acquire() as connection:
        seeded = await seed_campaign(connection, [f"u{n}@{slug}.example" for n in range(people)], slug=slug)
        async with connection.transaction():
            await launch(connection, seeded.campaign_id, tenant_id=seeded.tenant_id)
    return seeded


async def fill(pool: Pool) -> list[int]:
    """All pages that there are; returns their sizes."""
    sizes = []
    while people := await fill_next(pool):
        sizes.append(people)
    return sizes


async def in_ledger(pool: Pool, seeded: Seeded) -> tuple[int, int, bool]:
    """Rows, different contacts among them, and whether more are to come; rows and ``audience`` must be equal."""
    row = await pool.fetchrow(
        "SELECT c.audience, c.filling, count(*) AS rows, count(DISTINCT r.contact_id) AS contacts "
        "FROM campaigns c JOIN recipients r ON r.campaign_id = c.id WHERE c.id = $1 GROUP BY c.id",
        seeded.campaign_id,
    )
    assert row is not None
    assert row["audience"] == row["rows"]
    return row["rows"], row["contacts"], row["filling"]


async def test_launch_copies_the_first_page_and_the_scheduler_the_others(pool: Pool, filling: Seeded) -> None:
    """Each person is in the ledger once, in the order of the list, and it is told when all are."""
    assert await in_ledger(pool, filling) == (FIRST, FIRST, True)
    assert await fill(pool) == [4, 4, 4, 3]
    assert await in_ledger(pool, filling) == (PEOPLE, PEOPLE, False)
    rows = await pool.fetch("SELECT contact_id FROM recipients ORDER BY message_id")
    assert [row["contact_id"] for row in rows] == sorted(row["contact_id"] for row in rows)


async def test_audience_that_is_a_multiple_of_the_page_ends_with_an_empty_one(pool: Pool, filling: Seeded) -> None:
    """Nobody knows that there is no other before looking."""
    await pool.execute("DELETE FROM list_members WHERE contact_id = (SELECT max(contact_id) FROM list_members)")
    exact = await launched(pool, "exact", FIRST)
    assert await in_ledger(pool, exact) == (FIRST, FIRST, True)
    while await in_ledger(pool, exact) != (FIRST, FIRST, False) or (await in_ledger(pool, filling))[2]:
        await fill_next(pool)
    assert await in_ledger(pool, filling) == (PEOPLE - 1, PEOPLE - 1, False)


async def test_two_campaigns_get_pages_in_turn(pool: Pool, filling: Seeded) -> None:
    """The one with the fewest in the ledger goes first, so a small one is not behind a large one."""
    small = await launched(pool, "small", FIRST + 1)
    assert await fill_next(pool) == PAGE  # the older one, as both have the same
    assert await fill_next(pool) == 1
    assert await in_ledger(pool, small) == (FIRST + 1, FIRST + 1, False)
    assert (await in_ledger(pool, filling))[2]


async def test_who_left_after_the_launch_is_counted_as_suppressed(pool: Pool, filling: Seeded) -> None:
    """They were in the audience when it was launched: no mail, but an entry that says why."""
    await pool.execute(
        "UPDATE list_members SET state = 'unsubscribed', updated_at = now() "
        "WHERE contact_id IN (SELECT contact_id FROM list_members ORDER BY contact_id DESC LIMIT 2)"
    )
    await fill(pool)
    assert await in_ledger(pool, filling) == (PEOPLE, PEOPLE, False)
    async with pool.acquire() as connection:
        assert (await read_counters(connection, filling.campaign_id))["suppressed"] == 2
    rows = await pool.fetch("SELECT state, reason FROM messages ORDER BY id DESC LIMIT 3")
    assert [(row["state"], row["reason"]) for row in rows] == [("suppressed", "unsubscribed")] * 2 + [("due", None)]


async def test_who_had_left_before_the_launch_is_in_no_page(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in the first nor in a later one."""
    monkeypatch.setattr(audience, "FIRST_PAGE_ROWS", FIRST)
    async with pool.acquire() as connection:
        seeded = await seed_campaign(connection, [f"u{n}@x.example" for n in range(PEOPLE)])
        await connection.execute(
            "UPDATE list_members SET state = 'unsubscribed', updated_at = now() WHERE contact_id % 2 = 0"
        )
        left = await connection.fetchval("SELECT count(*) FROM list_members WHERE state = 'unsubscribed'")
        async with connection.transaction():
            await launch(connection, seeded.campaign_id, tenant_id=seeded.tenant_id)
    await fill(pool)
    assert await in_ledger(pool, seeded) == (PEOPLE - left, PEOPLE - left, False)


async def test_cancelled_campaign_gets_no_further_page(pool: Pool, filling: Seeded) -> None:
    """Not even the one that is being copied when it is cancelled; nobody is told that more are to come."""
    async with pool.acquire() as canceller, pool.acquire() as filler:
        transaction = canceller.transaction()
        await transaction.start()
        await change_state(canceller, filling.campaign_id, filling.tenant_id, CampaignState.CANCELLED)
        page = asyncio.create_task(fill_page(filler))  # copies, and then waits for the campaign's row
        _, pending = await asyncio.wait({page}, timeout=0.5)
        assert pending
        await transaction.commit()
        assert await page == 0
    assert await fill(pool) == []
    assert await in_ledger(pool, filling) == (FIRST, FIRST, False)


async def test_paused_campaign_is_filled_all_the_same(pool: Pool, filling: Seeded) -> None:
    """Its rows wait; the resume has all of them."""
    async with pool.acquire() as connection, connection.transaction():
        await change_state(connection, filling.campaign_id, filling.tenant_id, CampaignState.PAUSED)
    await fill(pool)
    assert await in_ledger(pool, filling) == (PEOPLE, PEOPLE, False)
    assert await pool.fetchval("SELECT state FROM campaigns") == "paused"


async def test_fillers_of_several_replicas_copy_each_page_once(pool: Pool, filling: Seeded) -> None:
    """Four at once, again and again, until nobody finds anything."""
    while any(await asyncio.gather(*(fill_next(pool) for _ in range(4)))):
        pass
    assert await in_ledger(pool, filling) == (PEOPLE, PEOPLE, False)


async def test_campaign_is_not_complete_before_its_audience_is(pool: Pool, filling: Seeded) -> None:
    """All that was fed is through, and more are to come: it goes on sending."""
    await pool.execute("UPDATE messages SET state = 'accepted'")
    await pool.execute(
        "INSERT INTO counter_deltas (campaign_id, name, n) SELECT id, 'accepted', audience FROM campaigns"
    )
    assert await complete_campaigns(pool) == 0
    await fill(pool)
    await pool.execute("UPDATE messages SET state = 'accepted'")
    await pool.execute("DELETE FROM counter_deltas")
    await pool.execute(
        "INSERT INTO counter_deltas (campaign_id, name, n) SELECT id, 'accepted', audience FROM campaigns"
    )
    assert await complete_campaigns(pool) == 1


async def test_campaign_that_an_older_scheduler_completed_too_early_sends_on(pool: Pool, filling: Seeded) -> None:
    """During an upgrade a scheduler of the previous release looks at the rows alone."""
    await pool.execute("UPDATE campaigns SET state = 'completed', completed_at = now()")
    await fill(pool)
    assert await in_ledger(pool, filling) == (PEOPLE, PEOPLE, False)
    row = await pool.fetchrow("SELECT state, completed_at FROM campaigns")
    assert row is not None
    assert tuple(row.values()) == ("sending", None)
