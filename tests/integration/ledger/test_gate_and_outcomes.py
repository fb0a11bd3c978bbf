"""The gate and the outcome writer, on a real PostgreSQL."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from hayabin.database import ledger
from hayabin.database.counters import read_counters
from hayabin.database.engine import Pool
from hayabin.database.ledger import Outcome
from hayabin.domain.message import MessageState
from tests.support.seed import Seeded


async def claim(pool: Pool, rows: list[tuple[int, int]], owner: str = "d1") -> frozenset[int]:
    """One claim on a connection of its own."""
    async with pool.acquire() as connection:
        return frozenset(await ledger.claim(connection, rows, owner))


async def record(pool: Pool, outcomes: list[Outcome]) -> list[ledger.Recorded]:
    """One write on a connection of its own."""
    async with pool.acquire() as connection, connection.transaction():
        return await ledger.record(connection, outcomes)


async def states(pool: Pool) -> dict[int, str]:
    """The state of every row."""
    return {row["id"]: row["state"] for row in await pool.fetch("SELECT id, state FROM messages")}


async def test_claim_due_rows_lets_each_through_once(pool: Pool, launched: list[int]) -> None:
    """A second claim at the same attempt gets nothing: a redelivered batch cannot send again."""
    rows = [(i, 0) for i in launched]
    assert await claim(pool, rows) == frozenset(launched)
    assert await claim(pool, rows, "d2") == frozenset()
    assert set((await states(pool)).values()) == {"claimed"}


async def test_claim_wrong_attempt_gets_nothing(pool: Pool, launched: list[int]) -> None:
    """A batch of an earlier or later attempt than the ledger's is refused."""
    assert await claim(pool, [(launched[0], 1)]) == frozenset()
    await claim(pool, [(launched[0], 0)])
    await record(
        pool, [Outcome(launched[0], 1, MessageState.DEFERRED, next_attempt_at=datetime.now(UTC), reason="greylisted")]
    )
    assert await claim(pool, [(launched[0], 0)]) == frozenset()
    assert await claim(pool, [(launched[0], 1)]) == frozenset({launched[0]})


async def test_claim_from_many_dispatchers_at_once_grants_each_row_once(pool: Pool, launched: list[int]) -> None:
    """Eight dispatchers ask for the same rows at the same time; the grants do not overlap and miss nothing."""
    rows = [(i, 0) for i in launched]
    grants = await asyncio.gather(*(claim(pool, rows[n % 3 :] + rows[: n % 3], f"d{n}") for n in range(8)))
    assert sum(len(grant) for grant in grants) == len(launched)
    assert frozenset().union(*grants) == frozenset(launched)


@pytest.mark.parametrize("state", ["paused", "cancelled"])
async def test_claim_campaign_not_sending_gets_nothing(
    pool: Pool, seeded: Seeded, launched: list[int], state: str
) -> None:
    """A pause or cancel holds from its commit on; the rows stay due."""
    await pool.execute("UPDATE campaigns SET state = $1", state)
    assert await claim(pool, [(i, 0) for i in launched]) == frozenset()
    assert set((await states(pool)).values()) == {"due"}


async def test_claim_suppressed_address_becomes_suppressed(pool: Pool, seeded: Seeded, launched: list[int]) -> None:
    """Suppressed after the launch, for all mail or for this list: not sent, and counted; another list does not matter."""
    await pool.execute(
        "INSERT INTO suppressions (tenant_id, address_key, list_id, reason, expires_at) VALUES "
        "($1, 'user0@example.com', 0, 'manual', NULL), ($1, 'user1@example.com', $2, 'unsubscribe', NULL), "
        "($1, 'user2@example.com', $3, 'unsubscribe', NULL), "
        "($1, 'user3@example.com', 0, 'manual', now() - interval '1 minute')",
        seeded.tenant_id,
        seeded.list_id,
        seeded.list_id + 1,
    )
    assert await claim(pool, [(i, 0) for i in launched]) == frozenset(launched[2:])
    found = await states(pool)
    assert [found[i] for i in launched[:4]] == ["suppressed", "suppressed", "claimed", "claimed"]
    async with pool.acquire() as connection:
        assert (await read_counters(connection, seeded.campaign_id))["suppressed"] == 2


async def test_claim_whoever_left_the_list_that_they_came_by_is_suppressed(
    pool: Pool, seeded: Seeded, launched: list[int]
) -> None:
    """Of a campaign to two lists: who left one is still sent to by the other; by a segment, nobody can say."""
    other = await pool.fetchval(
        "INSERT INTO lists (tenant_id, name) VALUES ($1, 'other') RETURNING id", seeded.tenant_id
    )
    await pool.execute(
        "UPDATE campaigns SET audience_definition = jsonb_build_object('include_lists', jsonb_build_array($1::bigint, $2::bigint))",
        seeded.list_id,
        other,
    )
    await pool.execute(
        "DELETE FROM list_members m USING contacts c WHERE c.id = m.contact_id AND c.address_key = 'user0@example.com'"
    )
    await pool.execute(
        "INSERT INTO list_members (list_id, contact_id, state) SELECT $1, id, 'unsubscribed' FROM contacts "
        "WHERE address_key IN ('user0@example.com', 'user1@example.com')",
        other,
    )
    assert await claim(pool, [(launched[0], 0), (launched[1], 0)]) == {launched[1]}
    assert (await states(pool))[launched[0]] == "suppressed"
    await pool.execute(
        "UPDATE campaigns SET audience_definition = audience_definition || '{\"include_segments\": [1]}'"
    )
    await pool.execute("UPDATE messages SET state = 'due' WHERE id = $1", launched[0])
    assert await claim(pool, [(launched[0], 0)]) == {launched[0]}


async def test_claim_other_tenants_suppression_does_not_matter(pool: Pool, launched: list[int]) -> None:
    """A suppression belongs to one tenant."""
    other = await pool.fetchval("INSERT INTO tenants (slug, name) VALUES ('other', 'other') RETURNING id")
    await pool.execute(
        "INSERT INTO suppressions (tenant_id, address_key, list_id, reason) VALUES ($1, 'user0@example.com', 0, 'x')",
        other,
    )
    assert await claim(pool, [(launched[0], 0)]) == frozenset({launched[0]})


async def test_claim_after_send_by_expires(pool: Pool, seeded: Seeded, launched: list[int]) -> None:
    """Past its deadline a row is expired instead of sent late."""
    await pool.execute("UPDATE campaigns SET send_by = now() - interval '1 second'")
    assert await claim(pool, [(i, 0) for i in launched]) == frozenset()
    assert set((await states(pool)).values()) == {"expired"}


async def test_record_writes_state_attempt_and_counters_together(
    pool: Pool, seeded: Seeded, launched: list[int]
) -> None:
    """Each outcome shows in the ledger, in the attempts and in the counters."""
    await claim(pool, [(i, 0) for i in launched[:4]])
    later = datetime.now(UTC) + timedelta(minutes=5)
    written = await record(
        pool,
        [
            Outcome(
                launched[0], 1, MessageState.ACCEPTED, phase="dot", code=250, reply="ok\x00", source_ip="127.0.0.2"
            ),
            Outcome(launched[1], 1, MessageState.BOUNCED, reason="user_unknown", phase="rcpt", code=550),
            Outcome(launched[2], 1, MessageState.DEFERRED, next_attempt_at=later, reason="greylisted", code=451),
            Outcome(launched[3], 1, MessageState.UNKNOWN, reason="network", phase="dot"),
        ],
    )
    assert len(written) == 4
    found = await states(pool)
    assert [found[i] for i in launched[:4]] == ["accepted", "bounced", "deferred", "unknown"]
    async with pool.acquire() as connection:
        counted = await read_counters(connection, seeded.campaign_id)
    assert counted == {
        "accepted": 1, "bounced": 1, "bounced:user_unknown": 1, "deferrals": 1, "deferred:greylisted": 1, "unknown": 1,
    }  # fmt: skip
    attempts = await pool.fetch("SELECT message_id, state, code, reply FROM attempts ORDER BY message_id")
    assert [(a["message_id"], a["state"], a["code"], a["reply"]) for a in attempts] == [
        (launched[0], "accepted", 250, "ok"),
        (launched[1], "bounced", 550, None),
        (launched[2], "deferred", 451, None),
        (launched[3], "unknown", None, None),
    ]


async def test_record_twice_or_unclaimed_changes_nothing(pool: Pool, seeded: Seeded, launched: list[int]) -> None:
    """An outcome counts once, and only for a row that was claimed at that attempt."""
    await claim(pool, [(launched[0], 0)])
    accepted = Outcome(launched[0], 1, MessageState.ACCEPTED)
    assert len(await record(pool, [accepted])) == 1
    assert await record(pool, [accepted, Outcome(launched[1], 1, MessageState.ACCEPTED)]) == []
    assert await record(pool, [Outcome(launched[0], 1, MessageState.BOUNCED)]) == []
    async with pool.acquire() as connection:
        assert await read_counters(connection, seeded.campaign_id) == {"accepted": 1}


async def test_record_two_attempts_of_a_row_at_once_keeps_each_attempt_its_own(pool: Pool, launched: list[int]) -> None:
    """A late outcome of the first attempt beside that of the second: the first attempt's row stays as it was."""
    i = launched[0]
    now = datetime.now(UTC)
    await claim(pool, [(i, 0)])
    await record(pool, [Outcome(i, 1, MessageState.DEFERRED, next_attempt_at=now, reason="greylisted")])
    await claim(pool, [(i, 1)])
    await record(pool, [Outcome(i, 1, MessageState.UNKNOWN, reason="late"), Outcome(i, 2, MessageState.ACCEPTED)])
    rows = await pool.fetch("SELECT attempt, state FROM attempts ORDER BY attempt")
    assert [tuple(row) for row in rows] == [(1, "deferred"), (2, "accepted")]


async def test_claim_in_a_held_installation_or_a_database_that_went_back_gets_nothing(
    pool: Pool, launched: list[int]
) -> None:
    """The fence stands in the gate's own statement: neither a hold nor an older pulse lets anybody through."""
    await pool.execute("UPDATE installation SET pulse = 10")
    async with pool.acquire() as connection:
        assert await ledger.claim(connection, [(launched[0], 0)], "d1", pulse=11) == {}
        await pool.execute("UPDATE installation SET held_reason = 'by_operator'")
        assert await ledger.claim(connection, [(launched[0], 0)], "d1", pulse=10) == {}
        await pool.execute("UPDATE installation SET held_reason = ''")
        assert set(await ledger.claim(connection, [(launched[0], 0)], "d1", pulse=10)) == {launched[0]}


async def test_record_late_outcome_of_a_lost_claim_corrects_the_counters(
    pool: Pool, seeded: Seeded, launched: list[int]
) -> None:
    """A dispatcher that was taken for dead and then reports: unknown → accepted, counted once in all."""
    await claim(pool, [(launched[0], 0)])
    async with pool.acquire() as connection:
        assert await ledger.move(connection, [launched[0]], MessageState.UNKNOWN, "dispatcher_lost") == [launched[0]]
    await record(pool, [Outcome(launched[0], 1, MessageState.ACCEPTED)])
    async with pool.acquire() as connection:
        assert await read_counters(connection, seeded.campaign_id) == {"unknown": 0, "accepted": 1}


async def test_move_final_state_stays(pool: Pool, launched: list[int]) -> None:
    """A bounced row moves nowhere; an accepted one may bounce or complain later."""
    await claim(pool, [(i, 0) for i in launched[:2]])
    await record(
        pool,
        [
            Outcome(launched[0], 1, MessageState.BOUNCED, reason="user_unknown"),
            Outcome(launched[1], 1, MessageState.ACCEPTED),
        ],
    )
    async with pool.acquire() as connection:
        assert await ledger.move(connection, launched[:2], MessageState.COMPLAINED, "arf") == [launched[1]]
        assert await ledger.move(connection, launched[:2], MessageState.DUE, "again") == []


async def test_postpone_keeps_the_attempt_number(pool: Pool, launched: list[int]) -> None:
    """A row given back unattempted waits until its time with its attempt uncounted."""
    until = datetime.now(UTC) + timedelta(minutes=1)
    async with pool.acquire() as connection:
        assert await ledger.postpone(connection, [(launched[0], 0, until)], "lane_busy") == [launched[0]]
    row = await pool.fetchrow("SELECT state, attempt, next_attempt_at, reason FROM messages WHERE id = $1", launched[0])
    assert row is not None
    assert (row["state"], row["attempt"], row["next_attempt_at"], row["reason"]) == ("due", 0, until, "lane_busy")


async def test_claim_and_accept_are_hot_updates(pool: Pool, launched: list[int]) -> None:
    """No index follows a state: both writes of an accepted mail stay on the page (insert + 2 updates, HOT)."""
    await claim(pool, [(i, 0) for i in launched])
    await record(pool, [Outcome(i, 1, MessageState.ACCEPTED) for i in launched])
    await pool.execute("SELECT pg_stat_force_next_flush()")
    await asyncio.sleep(0.1)
    async with pool.acquire() as connection:
        await connection.execute("SELECT pg_stat_force_next_flush()")
    stats = None
    for _ in range(50):
        stats = await pool.fetchrow(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'messages'"
        )
        assert stats is not None
        if stats["n_tup_upd"] >= 2 * len(launched):
            break
        await asyncio.sleep(0.1)
    assert stats is not None
    assert stats["n_tup_upd"] == stats["n_tup_hot_upd"] == 2 * len(launched)
