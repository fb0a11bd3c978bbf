"""Messages of which nobody knows what came of them: sent again once by policy, or held; on a real PostgreSQL."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from hayabin.database import ledger, unknown
from hayabin.database.engine import Pool
from hayabin.database.launch import change_state
from hayabin.domain.campaign import UNKNOWN_POLICIES, CampaignState, MessageClass, UnknownPolicy
from hayabin.domain.message import MessageState
from services.api.scheduler import reconciler
from services.api.scheduler.settings import SchedulerSettings
from tests.integration.scheduler.attempts import (
    HOLD,
    RESEND,
    assert_counted,
    attempt,
    feed,
    lose_claim,
    start,
    state_of,
)


@pytest.mark.parametrize("cause", ["lost_reply", "lost_claim"])
@pytest.mark.parametrize("message_class", list(MessageClass))
@pytest.mark.parametrize("policies", [UNKNOWN_POLICIES, HOLD, RESEND], ids=["default", "hold", "resend_once"])
async def test_unknown_message_is_sent_again_as_the_policy_of_its_class_says(
    pool: Pool, policies: reconciler.Policies, message_class: MessageClass, cause: str
) -> None:
    """Each class has its policy, and the cause of the doubt makes no difference; by default bulk is held."""
    seeded, (message_id, _) = await start(pool, message_class)
    if cause == "lost_reply":
        await attempt(pool, message_id, 0, MessageState.UNKNOWN)
    else:
        await lose_claim(pool, message_id, 0)
    await reconciler.expire_lost_claims(pool, policies)
    if policies[message_class] is UnknownPolicy.RESEND_ONCE:
        assert await state_of(pool, message_id) == ("due", 1, "resend_once")
    else:
        assert (await state_of(pool, message_id))[:2] == ("unknown", 1)
    await assert_counted(pool, seeded.campaign_id)


async def test_defaults_hold_bulk_and_send_transactional_again() -> None:
    """The settings' defaults are those of the domain; a policy that is none is refused."""
    urls = {"database_url": "postgresql://x", "broker_url": "postgresql://x"}
    assert SchedulerSettings.model_validate(urls).unknown_policies == UNKNOWN_POLICIES
    assert UNKNOWN_POLICIES == {"bulk": "hold", "transactional": "resend_once"}
    swapped = {**urls, "unknown_bulk": "resend_once", "unknown_transactional": "hold"}
    assert SchedulerSettings.model_validate(swapped).unknown_policies == {
        "bulk": "resend_once",
        "transactional": "hold",
    }
    with pytest.raises(ValidationError):
        SchedulerSettings.model_validate({**urls, "unknown_bulk": "resend"})


@pytest.mark.parametrize("first", ["lost_reply", "lost_claim"])
@pytest.mark.parametrize("second", ["lost_reply", "lost_claim"])
async def test_message_is_sent_again_for_its_first_doubt_only(pool: Pool, first: str, second: str) -> None:
    """Deferrals before it count for nothing; after one resend the next doubt is held, whatever the causes were."""
    seeded, (message_id, other_id) = await start(pool)
    await attempt(pool, message_id, 0, MessageState.DEFERRED)
    for begun, cause in ((1, first), (2, second)):
        await pool.execute("UPDATE messages SET next_attempt_at = now() WHERE id = $1", message_id)
        await feed(pool)
        if cause == "lost_reply":
            await attempt(pool, message_id, begun, MessageState.UNKNOWN)
        else:
            await lose_claim(pool, message_id, begun)
        await reconciler.expire_lost_claims(pool)
        assert (await state_of(pool, message_id))[:2] == ("due" if begun == 1 else "unknown", begun + 1)
        await assert_counted(pool, seeded.campaign_id)
    await attempt(pool, other_id, 0, MessageState.ACCEPTED)
    assert await reconciler.complete_campaigns(pool) == 1
    assert (await state_of(pool, message_id))[:2] == ("unknown", 3)


async def test_schedulers_at_the_same_time_send_a_message_again_once(pool: Pool) -> None:
    """Several replicas look at once, before and after the second doubt; there is one second mail and no third."""
    seeded, (message_id, _) = await start(pool)
    await attempt(pool, message_id, 0, MessageState.UNKNOWN)
    assert sum(await asyncio.gather(*(reconciler.resend_unknown(pool) for _ in range(6)))) == 1
    await feed(pool)
    await attempt(pool, message_id, 1, MessageState.UNKNOWN)
    assert sum(await asyncio.gather(*(reconciler.resend_unknown(pool) for _ in range(6)))) == 0
    await assert_counted(pool, seeded.campaign_id)


async def test_large_campaign_is_sent_again_in_pages(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """More doubts than a page holds: all of them once, each page a transaction of its own."""
    monkeypatch.setattr(unknown, "IN_CAMPAIGN_SQL", unknown.IN_CAMPAIGN_SQL.replace("LIMIT 5000", "LIMIT 7"))
    seeded, ids = await start(pool, "bulk", 20)
    for message_id in ids:
        await attempt(pool, message_id, 0, MessageState.UNKNOWN)
    before = await pool.fetchval("SELECT count(DISTINCT xmin::text) FROM messages")
    assert before == 20
    assert await reconciler.complete_campaigns(pool, RESEND) == 0
    assert await pool.fetchval("SELECT count(*) FROM messages WHERE state = 'due' AND reason = 'resend_once'") == 20
    assert await pool.fetchval("SELECT count(DISTINCT xmin::text) FROM messages") == 3
    await assert_counted(pool, seeded.campaign_id)


async def test_policy_sends_nothing_again_in_a_cancelled_campaign_and_lets_it_wait_in_a_paused_one(pool: Pool) -> None:
    """Cancelled: unknown for good. Paused: due, and the gate lets it through after the resume only."""
    seeded, ids = await start(pool)
    for message_id in ids:
        await attempt(pool, message_id, 0, MessageState.UNKNOWN)
    async with pool.acquire() as connection, connection.transaction():
        await change_state(connection, seeded.campaign_id, seeded.tenant_id, CampaignState.PAUSED)
    assert await reconciler.resend_unknown(pool) == 2
    async with pool.acquire() as connection:
        assert await ledger.claim(connection, [(ids[0], 1)], "d1") == {}
        await connection.execute("UPDATE campaigns SET state = 'sending'")
        assert list(await ledger.claim(connection, [(ids[0], 1)], "d1")) == [ids[0]]
    other, (lost_id, _) = await start(pool, "bulk")
    await attempt(pool, lost_id, 0, MessageState.UNKNOWN)
    async with pool.acquire() as connection, connection.transaction():
        await change_state(connection, other.campaign_id, other.tenant_id, CampaignState.CANCELLED)
    assert await reconciler.resend_unknown(pool, RESEND) == 0
    async with pool.acquire() as connection:
        assert await unknown.resend_once(connection, other.campaign_id, [lost_id]) == 0
    assert (await state_of(pool, lost_id))[0] == "unknown"


async def test_message_past_its_send_by_expires_at_the_gate_instead_of_being_sent_again(pool: Pool) -> None:
    """The deadline holds for a second mail as for the first."""
    seeded, (message_id, _) = await start(pool)
    await attempt(pool, message_id, 0, MessageState.UNKNOWN)
    await pool.execute("UPDATE campaigns SET send_by = now()")
    await reconciler.resend_unknown(pool)
    async with pool.acquire() as connection:
        assert await ledger.claim(connection, [(message_id, 1)], "d1") == {}
    assert (await state_of(pool, message_id))[0] == "expired"
    await assert_counted(pool, seeded.campaign_id)


async def test_lease_is_looked_at_before_it_ends(pool: Pool) -> None:
    """The turn that drops finished leases sees what became unknown under them first."""
    _, ids = await start(pool)
    for message_id in ids:
        await attempt(pool, message_id, 0, MessageState.UNKNOWN)
    await pool.execute("UPDATE feeds SET fed_at = now() - interval '1 minute'")
    await reconciler.tidy_belt(pool)
    assert [(await state_of(pool, message_id))[0] for message_id in ids] == ["due", "due"]
    assert await pool.fetchval("SELECT count(*) FROM feeds") == 0


def touched(node: dict[str, Any]) -> Iterator[float]:
    """Rows of the ledger that each scan of a plan returned or filtered away."""
    if node.get("Relation Name") == "messages":
        yield (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
    for below in node.get("Plans", []):
        yield from touched(below)


async def test_look_for_unknown_messages_reads_what_is_on_the_belt_and_not_the_campaign(pool: Pool) -> None:
    """Of 20,000 rows the 1,000 under leases are looked at, each by its id, also before the first ANALYZE."""
    await start(pool, "bulk", 20_000)
    for _ in range(2):
        plan = json.loads(
            await pool.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {unknown.ON_BELT_SQL}", [MessageClass.BULK.value])
        )
        assert 1000 <= sum(touched(plan[0]["Plan"])) <= 2000, json.dumps(plan)
        await pool.execute("ANALYZE")
