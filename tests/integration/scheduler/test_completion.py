"""When a campaign is complete, and when one that had ended goes on; on a real PostgreSQL."""

import asyncio

import pytest

from hayabin.database import ledger, unknown
from hayabin.database.engine import Pool
from hayabin.database.launch import change_state
from hayabin.database.ledger import Outcome
from hayabin.domain.campaign import CampaignState, MessageClass
from hayabin.domain.message import MessageState
from services.api.scheduler import reconciler
from tests.integration.scheduler.attempts import (
    HOLD,
    RESEND,
    assert_counted,
    attempt,
    campaign_state,
    feed,
    lose_claim,
    start,
    state_of,
)
from tests.support.waiting import eventually


@pytest.mark.parametrize("message_class", list(MessageClass))
async def test_campaign_does_not_complete_while_a_message_waits_to_be_sent_again(
    pool: Pool, message_class: MessageClass
) -> None:
    """All is final but for one doubt, and its lease is gone: it is sent again first, and then the campaign completes."""
    seeded, ids = await start(pool, message_class)
    await attempt(pool, ids[0], 0, MessageState.ACCEPTED)
    await attempt(pool, ids[1], 0, MessageState.UNKNOWN)
    await pool.execute("DELETE FROM feeds")
    assert await reconciler.complete_campaigns(pool, RESEND) == 0
    assert await campaign_state(pool, seeded.campaign_id) == "sending"
    assert await state_of(pool, ids[1]) == ("due", 1, "resend_once")
    assert await reconciler.complete_campaigns(pool, RESEND) == 0
    await feed(pool)
    await attempt(pool, ids[1], 1, MessageState.ACCEPTED)
    assert await reconciler.complete_campaigns(pool, RESEND) == 1
    await assert_counted(pool, seeded.campaign_id)


async def test_campaign_completes_with_messages_that_are_held(pool: Pool) -> None:
    """Held doubts are no open work."""
    _, ids = await start(pool)
    for message_id in ids:
        await attempt(pool, message_id, 0, MessageState.UNKNOWN)
    assert await reconciler.complete_campaigns(pool, HOLD) == 1
    assert {(await state_of(pool, message_id))[0] for message_id in ids} == {"unknown"}


async def test_completion_waits_for_a_resolution_under_way_and_sees_it(pool: Pool) -> None:
    """A person resends while the campaign is about to complete: it goes on, and the row is not left due in the dark."""
    seeded, ids = await start(pool, "bulk")
    await attempt(pool, ids[0], 0, MessageState.ACCEPTED)
    await attempt(pool, ids[1], 0, MessageState.UNKNOWN)
    async with pool.acquire() as connection:
        async with connection.transaction():
            resend = unknown.Resolution.RESEND
            assert await unknown.resolve(connection, seeded.campaign_id, [ids[1]], resend) == [ids[1]]
            completing = asyncio.create_task(reconciler.complete_campaigns(pool))
            await eventually(
                lambda: pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"), lambda waiting: waiting == 1
            )
        assert await completing == 0
    assert await campaign_state(pool, seeded.campaign_id) == "sending"
    await attempt(pool, ids[1], 1, MessageState.ACCEPTED)
    assert await reconciler.complete_campaigns(pool) == 1


@pytest.mark.parametrize("end", ["completed", "cancelled"])
async def test_late_deferral_opens_a_campaign_that_had_ended(pool: Pool, end: str) -> None:
    """A dispatcher that was taken for dead says "deferred" after the end: nobody is left open in a finished campaign."""
    seeded, ids = await start(pool, "bulk")
    await attempt(pool, ids[0], 0, MessageState.ACCEPTED)
    await lose_claim(pool, ids[1], 0)
    await reconciler.expire_lost_claims(pool)
    if end == "cancelled":
        async with pool.acquire() as connection, connection.transaction():
            await change_state(connection, seeded.campaign_id, seeded.tenant_id, CampaignState.CANCELLED, "by request")
    await reconciler.cancel_rows(pool)
    await reconciler.complete_campaigns(pool)
    assert await campaign_state(pool, seeded.campaign_id) == end
    assert await reconciler.reopen_campaigns(pool) == 0
    async with pool.acquire() as connection, connection.transaction():
        assert await ledger.record(connection, [Outcome(ids[1], 1, MessageState.DEFERRED)])
    assert await reconciler.reopen_campaigns(pool) == 1
    assert await reconciler.reopen_campaigns(pool) == 0
    if end == "cancelled":
        assert await reconciler.cancel_rows(pool) == 1
        await reconciler.cancel_rows(pool)
        assert (await state_of(pool, ids[1]))[0] == "cancelled"
        assert await pool.fetchval("SELECT completed_at IS NOT NULL AND state_reason = 'by request' FROM campaigns")
    else:
        await attempt(pool, ids[1], 1, MessageState.ACCEPTED)
        assert await reconciler.complete_campaigns(pool) == 1
        assert await pool.fetchval("SELECT state_reason FROM campaigns") == ""
    await assert_counted(pool, seeded.campaign_id)
