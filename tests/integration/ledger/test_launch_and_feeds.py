"""Launch, leases and the reconciler, on a real PostgreSQL."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from hayabin.contracts.codec import decode
from hayabin.contracts.render_pb2 import RenderChunk
from hayabin.database import feeds, ledger, outbox
from hayabin.database.counters import fold, read_counters
from hayabin.database.engine import Pool
from hayabin.database.launch import EmptyAudience, change_state, launch
from hayabin.database.ledger import Outcome
from hayabin.domain.campaign import CampaignState, IllegalTransition
from hayabin.domain.message import MessageState
from services.api.scheduler import reconciler
from services.api.scheduler.schedules import launch_scheduled
from tests.support.seed import Seeded, seed_campaign


async def chunks(pool: Pool) -> list[RenderChunk]:
    """Empty the outbox and decode what it held."""
    rows: list[outbox.OutboxRow] = []

    async def publish(taken: object) -> None:
        rows.extend(taken)  # type: ignore[arg-type]

    while await outbox.relay(pool, publish):
        pass
    return [decode(RenderChunk, row.body) for row in rows]


async def settle(pool: Pool, ids: list[int], state: MessageState = MessageState.ACCEPTED, attempt: int = 0) -> None:
    """Claim rows and write an outcome."""
    async with pool.acquire() as connection, connection.transaction():
        await ledger.claim(connection, [(i, attempt) for i in ids], "d1")
        await ledger.record(connection, [Outcome(i, attempt + 1, state) for i in ids])


async def test_launch_snapshots_the_audience_and_feeds(pool: Pool, seeded: Seeded, launched: list[int]) -> None:
    """Ledger, snapshot, lease and chunk are there together, with the variables pinned."""
    (chunk,) = await chunks(pool)
    assert list(chunk.message_ids) == launched
    assert (chunk.campaign_id, chunk.tenant_id, chunk.attempt) == (seeded.campaign_id, seeded.tenant_id, 0)
    row = await pool.fetchrow("SELECT wire, name, variables FROM recipients WHERE message_id = $1", launched[0])
    assert row is not None
    assert row["wire"] == "user0@example.com"
    assert '"email": "user0@example.com"' in row["variables"]
    assert await pool.fetchval("SELECT audience FROM campaigns") == 10


async def test_launch_twice_is_refused_and_changes_nothing(pool: Pool, seeded: Seeded, launched: list[int]) -> None:
    """The second launch finds no such transition; nobody stands in the ledger twice. Paused is no way around it."""
    for state in ("sending", "paused"):
        await pool.execute("UPDATE campaigns SET state = $1", state)
        async with pool.acquire() as connection:
            with pytest.raises(IllegalTransition):
                async with connection.transaction():
                    await launch(connection, seeded.campaign_id, tenant_id=seeded.tenant_id)
    assert await pool.fetchval("SELECT count(*) FROM messages") == 10


async def test_launch_from_ten_places_at_once_happens_once(pool: Pool, seeded: Seeded) -> None:
    """Ten launches at the same time: one succeeds, nine are refused."""

    async def try_it() -> bool:
        async with pool.acquire() as connection:
            try:
                async with connection.transaction():
                    await launch(connection, seeded.campaign_id, tenant_id=seeded.tenant_id)
            except IllegalTransition:
                return False
        return True

    assert sum(await asyncio.gather(*(try_it() for _ in range(10)))) == 1
    assert await pool.fetchval("SELECT count(*) FROM messages") == 10


async def test_launch_of_an_empty_audience_is_refused(pool: Pool) -> None:
    """Nobody subscribed: EmptyAudience, and the campaign is still a draft."""
    async with pool.acquire() as connection:
        empty = await seed_campaign(connection, [], slug="empty")
        with pytest.raises(EmptyAudience):
            async with connection.transaction():
                await launch(connection, empty.campaign_id, tenant_id=empty.tenant_id)
    assert await pool.fetchval("SELECT state FROM campaigns") == "draft"


async def test_launch_counts_who_is_suppressed_already(pool: Pool, seeded: Seeded) -> None:
    """A suppressed address is in the ledger as suppressed, and not fed."""
    await pool.execute(
        "INSERT INTO suppressions (tenant_id, address_key, list_id, reason) VALUES ($1, 'user4@example.com', 0, 'm')",
        seeded.tenant_id,
    )
    async with pool.acquire() as connection, connection.transaction():
        page = await launch(connection, seeded.campaign_id, tenant_id=seeded.tenant_id)
    assert (page.people, page.suppressed, page.last) == (10, 1, True)
    (chunk,) = await chunks(pool)
    assert len(chunk.message_ids) == 9


async def test_lease_goes_when_every_row_left_due(pool: Pool, launched: list[int]) -> None:
    """A lease stays while one of its rows waits or is claimed."""
    await pool.execute("UPDATE feeds SET fed_at = now() - interval '1 minute'")
    await settle(pool, launched[:9])
    async with pool.acquire() as connection:
        assert await feeds.drop_finished(connection) == 0
        await ledger.claim(connection, [(launched[9], 0)], "d1")
        assert await feeds.drop_finished(connection) == 0
        await ledger.record(connection, [Outcome(launched[9], 1, MessageState.BOUNCED)])
        assert await feeds.drop_finished(connection) == 1


async def test_rows_that_fell_off_the_belt_are_fed_again(pool: Pool, launched: list[int]) -> None:
    """When a lease ends, what still waits is put on the belt again: a purged queue loses nobody."""
    await chunks(pool)  # the belt loses them
    await settle(pool, launched[:3])
    await reconciler.tidy_belt(pool)
    assert await chunks(pool) == []
    await pool.execute("UPDATE feeds SET lease_expires_at = now() - interval '1 second'")
    assert await reconciler.tidy_belt(pool) == 7
    (chunk,) = await chunks(pool)
    assert list(chunk.message_ids) == launched[3:]
    assert await reconciler.tidy_belt(pool) == 0


async def test_resume_feeds_at_once_what_the_gate_sent_away(pool: Pool, seeded: Seeded, launched: list[int]) -> None:
    """While paused nothing is fed again; after the resume everything that waits is, first attempts and retries."""
    await settle(pool, launched[:1], MessageState.DEFERRED)
    await pool.execute("UPDATE messages SET next_attempt_at = now() WHERE id = $1", launched[0])
    async with pool.acquire() as connection, connection.transaction():
        assert await feeds.feed_retries(connection, "bulk", 100) == 1
    await chunks(pool)
    async with pool.acquire() as connection, connection.transaction():
        await change_state(connection, seeded.campaign_id, seeded.tenant_id, CampaignState.PAUSED)
    await pool.execute("UPDATE feeds SET lease_expires_at = now() - interval '1 second'")
    assert await reconciler.tidy_belt(pool) == 0
    async with pool.acquire() as connection, connection.transaction():
        await change_state(connection, seeded.campaign_id, seeded.tenant_id, CampaignState.SENDING)
    await reconciler.tidy_belt(pool)
    async with pool.acquire() as connection, connection.transaction():
        await feeds.feed_retries(connection, "bulk", 100)
    again = await chunks(pool)
    assert {(chunk.attempt, i) for chunk in again for i in chunk.message_ids} == {
        (1, launched[0]),
        *((0, i) for i in launched[1:]),
    }


async def test_claims_of_a_dead_dispatcher_become_unknown(pool: Pool, seeded: Seeded, launched: list[int]) -> None:
    """A claim whose owner does not beat any more is unknown, one of a living owner stays; bulk is held."""
    await pool.execute("INSERT INTO instances (name, service) VALUES ('alive', 'dispatcher')")
    async with pool.acquire() as connection:
        await ledger.claim(connection, [(launched[0], 0)], "dead")
        await ledger.claim(connection, [(launched[1], 0)], "alive")
    assert await reconciler.expire_lost_claims(pool) == 0  # not yet: the claim is young
    await pool.execute("UPDATE messages SET changed_at = now() - interval '1 minute'")
    assert await reconciler.expire_lost_claims(pool) == 1
    found = {r["id"]: r["state"] for r in await pool.fetch("SELECT id, state FROM messages WHERE id < $1", launched[2])}
    assert found == {launched[0]: "unknown", launched[1]: "claimed"}


async def test_claims_of_transactional_mail_are_sent_once_more(pool: Pool) -> None:
    """Transactional: the first unknown is tried again, the second is held."""
    async with pool.acquire() as connection, connection.transaction():
        seeded = await seed_campaign(
            connection,
            ["a@example.com"],
            slug="tx",
            message_class="transactional",
        )
        await launch(connection, seeded.campaign_id, tenant_id=seeded.tenant_id)
    (message_id,) = [row["id"] for row in await pool.fetch("SELECT id FROM messages")]
    await settle(pool, [message_id], MessageState.UNKNOWN)
    await reconciler.expire_lost_claims(pool)
    assert await pool.fetchval("SELECT state FROM messages") == "due"
    async with pool.acquire() as connection, connection.transaction():
        assert await feeds.feed_retries(connection, "transactional", 10) == 1
    await settle(pool, [message_id], MessageState.UNKNOWN, attempt=1)
    await reconciler.expire_lost_claims(pool)
    assert await pool.fetchval("SELECT state FROM messages") == "unknown"
    async with pool.acquire() as connection:
        assert (await read_counters(connection, seeded.campaign_id))["unknown"] == 1


async def test_campaign_completes_when_nothing_is_open(pool: Pool, seeded: Seeded, launched: list[int]) -> None:
    """Deferred mail is not finished; an accepted audience is."""
    await settle(pool, launched[:9])
    await settle(pool, launched[9:], MessageState.DEFERRED)
    assert await reconciler.complete_campaigns(pool) == 0
    await settle(pool, launched[9:], attempt=1)
    assert await reconciler.complete_campaigns(pool) == 1
    assert await pool.fetchval("SELECT state FROM campaigns") == "completed"


async def test_cancel_moves_open_rows_and_leaves_final_ones(pool: Pool, seeded: Seeded, launched: list[int]) -> None:
    """After a cancel every row is final, and the equation holds."""
    await settle(pool, launched[:4])
    async with pool.acquire() as connection, connection.transaction():
        await change_state(connection, seeded.campaign_id, seeded.tenant_id, CampaignState.CANCELLED)
    assert await reconciler.cancel_rows(pool) == 6
    await reconciler.cancel_rows(pool)
    async with pool.acquire() as connection:
        before = await read_counters(connection, seeded.campaign_id)
        assert await fold(connection) > 0
        assert await read_counters(connection, seeded.campaign_id) == before == {"accepted": 4, "cancelled": 6}
    assert await pool.fetchval("SELECT completed_at IS NOT NULL FROM campaigns")


async def test_schedule_past_its_send_by_is_held_for_a_person(pool: Pool, seeded: Seeded) -> None:
    """Too late is never fired: the campaign is failed with the reason, and nobody is in the ledger."""
    await pool.execute(
        "UPDATE campaigns SET state = 'scheduled', schedule_at = now() - interval '2 h', send_by = now() - interval '1 h'"
    )
    await launch_scheduled(pool)
    row = await pool.fetchrow("SELECT state, state_reason FROM campaigns")
    assert row is not None
    assert (row["state"], row["state_reason"]) == ("failed", "send_by_passed")
    assert await pool.fetchval("SELECT count(*) FROM messages") == 0


async def test_schedule_in_time_is_launched_once(pool: Pool, seeded: Seeded) -> None:
    """Several schedulers at once launch a due schedule one time."""
    await pool.execute("UPDATE campaigns SET state = 'scheduled', schedule_at = now()")
    await asyncio.gather(*(launch_scheduled(pool) for _ in range(4)))
    assert await pool.fetchval("SELECT state FROM campaigns") == "sending"
    assert await pool.fetchval("SELECT count(*) FROM messages") == 10


async def test_schedule_that_cannot_be_read_does_not_keep_the_others_waiting(pool: Pool, seeded: Seeded) -> None:
    """What is wrong with one tenant's comes out when the other's is launched."""
    async with pool.acquire() as connection:
        other = await seed_campaign(connection, ["u@other.example"], slug="other")
    await pool.execute("UPDATE campaigns SET state = 'scheduled', schedule_at = now() - interval '1 s' * (9 - id)")
    await pool.execute('UPDATE tenants SET settings = \'{"consent_policy": "?"}\' WHERE id = $1', seeded.tenant_id)
    with pytest.raises(ValueError, match="ConsentPolicy"):
        await launch_scheduled(pool)
    rows = await pool.fetch("SELECT state FROM campaigns ORDER BY id = $1", other.campaign_id)
    assert [row["state"] for row in rows] == ["scheduled", "sending"]


async def test_claim_under_a_lease_that_ended_is_found_when_its_dispatcher_dies(
    pool: Pool, seeded: Seeded, launched: list[int]
) -> None:
    """A postponed row keeps the ended lease for a while, so that a claim by who still had it in hand is not forgotten."""
    later = datetime.now(UTC) + timedelta(minutes=15)
    async with pool.acquire() as connection:
        await ledger.postpone(connection, [(launched[0], 0, later)], "busy:x")
    await pool.execute("UPDATE feeds SET lease_expires_at = now() - interval '1 s', fed_at = now() - interval '6 min'")
    await reconciler.tidy_belt(pool)
    async with pool.acquire() as connection:
        assert await ledger.claim(connection, [(launched[0], 0)], "gone")
    await pool.execute("UPDATE messages SET changed_at = now() - interval '1 hour' WHERE id = $1", launched[0])
    await reconciler.expire_lost_claims(pool)
    assert await pool.fetchval("SELECT state FROM messages WHERE id = $1", launched[0]) == "unknown"
