"""What is old is dropped, what is not stays; on a real PostgreSQL."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from hayabin.database.engine import Pool
from services.api.scheduler.forgetting import PAGE_ROWS, PAGES_A_TURN, forget_old, forget_transcripts
from services.api.scheduler.settings import SchedulerSettings

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


async def said(pool: Pool, first: int, count: int, ago: timedelta) -> None:
    """Transcripts of messages from ``first`` on, some time ago."""
    await pool.execute(
        "INSERT INTO transcripts (message_id, attempt, tenant_id, lines, finished_at) "
        "SELECT n, 1, 1, 'S: 250 ok', now() - $3::interval FROM generate_series($1::bigint, $1 + $2 - 1) n",
        first,
        count,
        ago,
    )


async def test_transcripts_past_their_days_are_dropped_in_pages(pool: Pool) -> None:
    """More than one page goes in one turn; what is younger stays."""
    await said(pool, 1, PAGE_ROWS + 10, 8 * DAY)
    await said(pool, 100_000, 20, 7 * DAY - HOUR)
    assert await forget_transcripts(pool, 7) == PAGE_ROWS + 10
    assert await pool.fetchval("SELECT count(*) FROM transcripts") == 20
    assert await forget_transcripts(pool, 7) == 0
    assert await forget_transcripts(pool, 0) == 20


async def test_transcripts_are_dropped_a_bounded_number_at_a_turn(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn ends after its pages, so that a process that is told to stop stops; the next one goes on."""
    monkeypatch.setattr("services.api.scheduler.forgetting.PAGE_ROWS", 10)
    await said(pool, 1, 10 * PAGES_A_TURN + 5, 8 * DAY)
    assert await forget_transcripts(pool, 7) == 10 * PAGES_A_TURN
    assert await forget_transcripts(pool, 7) == 5


async def test_old_transcripts_are_found_by_their_time_and_not_by_reading_all(pool: Pool) -> None:
    """The BRIN index leads to the old blocks of a large table."""
    await said(pool, 1, 200, 8 * DAY)
    await said(pool, 1000, 60_000, HOUR)
    await pool.execute("VACUUM ANALYZE transcripts")
    plan = await pool.fetch(
        "EXPLAIN SELECT ctid FROM transcripts WHERE finished_at <= now() - make_interval(days => 7) LIMIT 5000"
    )
    assert "ix_transcripts_finished_at" in str(plan)


async def test_old_rows_of_the_engine_are_dropped_and_young_ones_stay(pool: Pool) -> None:
    """Each small table keeps what somebody may still ask for."""
    await pool.execute("INSERT INTO ip_pools (name) VALUES ('main')")
    for name, ago in (("old", DAY + HOUR), ("young", DAY - HOUR)):
        await pool.execute(
            "INSERT INTO lane_reports (pool, source_ip, lane, dispatcher, state, waiting, connections, "
            "connection_limit, begun_per_s, begun_today, reported_at) "
            "VALUES ('main', $1, 'gmail', 'd', 'open', 0, 0, 0, 0, 0, now() - $2::interval)",
            name,
            ago,
        )
        await pool.execute("INSERT INTO belt_depths VALUES ($1, 0, now() - $2::interval)", name, ago)
        await pool.execute(
            "INSERT INTO suspensions (pool, origin, reason, until) VALUES ($1, 'rule', '', now() - $2::interval)",
            name,
            ago,
        )
        await pool.execute(
            "INSERT INTO mta_sts_policies VALUES ($1, 'i', 'enforce', '{}', now(), now() + $2::interval)",
            name,
            DAY if name == "young" else -HOUR,
        )
    await pool.execute("INSERT INTO suspensions (provider, origin, reason) VALUES ('gmail', 'operator', 'no end')")
    await pool.execute(
        "INSERT INTO lane_usage SELECT '192.0.2.1', 'gmail', (now() AT TIME ZONE 'UTC')::date - n, 1 "
        "FROM unnest(ARRAY[0, 60, 61, 90]) n"
    )
    await forget_old(pool)
    assert await pool.fetchval("SELECT array_agg(source_ip) FROM lane_reports") == ["young"]
    assert await pool.fetchval("SELECT array_agg(queue) FROM belt_depths") == ["young"]
    assert await pool.fetchval("SELECT array_agg(pool ORDER BY pool) FROM suspensions") == ["young", None]
    assert await pool.fetchval("SELECT array_agg(domain) FROM mta_sts_policies") == ["young"]
    assert await pool.fetchval("SELECT count(*) FROM lane_usage") == 2


def test_transcript_days_are_a_week_unless_set() -> None:
    """The setting's default, and that it cannot be negative."""
    urls = {"database_url": "postgresql://x", "broker_url": "postgresql://x"}
    assert SchedulerSettings.model_validate(urls).transcript_days == 7
    with pytest.raises(ValidationError):
        SchedulerSettings.model_validate({**urls, "transcript_days": -1})
