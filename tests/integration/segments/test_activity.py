"""What contacts did last: opens and clicks by the tracker, what was received by the scheduler's sweeps."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hayabin.database import activity
from hayabin.database.activity import sweep_next
from hayabin.database.engine import Pool
from services.api.admission import Admission, Limits
from services.tracker.projection import Fact, project
from tests.support.seed import Seeded, launch_whole, seed_campaign

PEOPLE = 12
T = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
async def launched(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> Seeded:
    """A campaign to twelve, all of it in the ledger for two minutes; sweeps take five rows at a time."""
    monkeypatch.setattr(activity, "PAGE_ROWS", 5)
    async with pool.acquire() as connection:
        seeded = await seed_campaign(connection, [f"u{n}@x.example" for n in range(PEOPLE)])
        await launch_whole(connection, seeded)
    await pool.execute("UPDATE campaigns SET launched_at = now() - interval '2 minutes'")
    return seeded


async def of_all(pool: Pool, column: str) -> list[Any]:
    """One time of everybody, in the order of contacts; None where nothing is known."""
    rows = await pool.fetch(
        f"SELECT a.{column} FROM contacts c LEFT JOIN contact_activity a ON a.contact_id = c.id ORDER BY c.id"
    )
    return [row[column] for row in rows]


async def swept(pool: Pool) -> int:
    """Sweep until there is nothing to do; give the rows."""
    rows = 0
    while found := await sweep_next(pool):
        rows += found
    return rows


def fact(number: int, message_id: int, kind: str, at: datetime) -> Fact:
    """An open or a click."""
    return Fact(number.to_bytes(16, "big"), message_id, kind, None, "", at)


async def test_opens_and_clicks_keep_the_last_of_a_contact_however_often_they_arrive(
    pool: Pool, launched: Seeded
) -> None:
    """Late ones do not take the time back, nor do those that come again; the kinds do not touch each other."""
    ids = [row["id"] for row in await pool.fetch("SELECT id FROM messages ORDER BY id")]
    hour = timedelta(hours=1)
    facts = [fact(1, ids[0], "open", T), fact(2, ids[0], "open", T + hour), fact(3, ids[1], "click", T)]
    async with pool.acquire() as connection:
        for batch in (facts, facts[:1], [fact(4, ids[0], "open", T - hour), fact(5, ids[0], "click", T)], facts):
            async with connection.transaction():
                await project(connection, batch)
    assert await of_all(pool, "last_opened_at") == [T + hour, *[None] * 11]
    assert await of_all(pool, "last_clicked_at") == [T, T, *[None] * 10]
    assert await of_all(pool, "last_received_at") == [None] * 12


async def test_sweeps_note_what_was_received_and_nothing_twice(pool: Pool, launched: Seeded) -> None:
    """While it is sent, later again, and once more after its end; what is not received is not noted."""
    await pool.execute("UPDATE messages SET state = 'accepted', changed_at = $1 WHERE id <= 6", T)
    await pool.execute("UPDATE messages SET state = 'bounced', changed_at = $1 WHERE id = 1", T)
    await pool.execute("UPDATE messages SET state = 'unknown', changed_at = $1 WHERE id = 2", T)
    assert await swept(pool) == PEOPLE
    assert await of_all(pool, "last_received_at") == [None, *[T] * 5, *[None] * 6]
    await pool.execute("UPDATE messages SET state = 'accepted', changed_at = $1 WHERE id > 6", T)
    assert await swept(pool) == 0  # it was swept a moment ago
    later = "UPDATE activity_sweeps SET swept_at = swept_at - interval '11 minutes'"
    await pool.execute(later)
    assert await swept(pool) == PEOPLE
    assert await of_all(pool, "last_received_at") == [None, *[T] * 11]
    await pool.execute("UPDATE messages SET state = 'accepted', changed_at = $1 WHERE id = 1", T)
    await pool.execute("UPDATE campaigns SET state = 'completed', completed_at = now(), updated_at = now()")
    await pool.execute(later)
    assert await swept(pool) == 0  # it has ended just now
    await pool.execute(
        "UPDATE campaigns SET completed_at = now() - interval '5 m', updated_at = now() - interval '5 m'"
    )
    versions = await pool.fetch("SELECT xmin::text FROM contact_activity WHERE contact_id > 1 ORDER BY contact_id")
    assert await swept(pool) == PEOPLE
    assert await of_all(pool, "last_received_at") == [T] * 12
    assert (
        await pool.fetch("SELECT xmin::text FROM contact_activity WHERE contact_id > 1 ORDER BY contact_id") == versions
    )  # what was known is not written again
    assert await swept(pool) == 0


async def test_newer_mail_is_not_undone_by_an_older_campaign(pool: Pool, launched: Seeded) -> None:
    """Campaigns are swept in any order."""
    await pool.execute("UPDATE messages SET state = 'accepted', changed_at = $1", T)
    await pool.execute(
        "INSERT INTO contact_activity (tenant_id, contact_id, last_received_at, last_opened_at) "
        "SELECT tenant_id, id, $1, $2 FROM contacts", T + timedelta(days=1), T,
    )  # fmt: skip
    await swept(pool)
    assert await of_all(pool, "last_received_at") == [T + timedelta(days=1)] * 12
    assert await of_all(pool, "last_opened_at") == [T] * 12


async def test_admission_takes_the_rest_of_a_segment_for_as_dense_as_its_beginning(
    pool: Pool, launched: Seeded
) -> None:
    """What is to come of an audience by rules is estimated, that of a list counted."""
    admission = Admission(Limits(backlog=1))
    await pool.execute("UPDATE campaigns SET filling = true, audience = 3, filled_through_id = "
                       "(SELECT id FROM contacts ORDER BY id OFFSET 5 LIMIT 1)")  # fmt: skip
    async with pool.acquire() as connection:
        await admission.read(connection)
        assert admission.figures is not None
        assert admission.figures.waiting == {launched.tenant_id: 3 + 6}
        await connection.execute("UPDATE campaigns SET audience_definition = '{\"include_segments\": [1]}'")
        await admission.read(connection)
        assert admission.figures.waiting == {launched.tenant_id: 3 + 3}
