"""The installation's row: its pulse, its hold, its release, and what a process knows of it; on a real PostgreSQL."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hayabin.database import installation, ledger
from hayabin.database.engine import Connection, Pool, open_pool
from hayabin.database.installation import SEQUENCE_GAP, Beat, HoldReason, Mark, Watch, read_mark
from hayabin.database.launch import launch
from tests.conftest import new_database, with_database
from tests.support.seed import Seeded, seed_campaign

NUMBERS = st.integers(0, 2**62)


@pytest.fixture
async def connection(pool: Pool) -> AsyncIterator[Connection]:
    """One connection of the pool."""
    async with pool.acquire() as connection:
        yield connection


async def beat(connection: Connection, known: Mark | None = None, belt_problem: str = "") -> Beat:
    """One committed beat."""
    async with connection.transaction():
        return await installation.beat(connection, belt_problem=belt_problem, known=known)


async def row(connection: Connection) -> dict[str, object]:
    """The installation's row."""
    found = await connection.fetchrow("SELECT epoch, pulse, held_reason, held_at, belt_problem FROM installation")
    assert found is not None
    return dict(found)


async def campaigns(connection: Connection) -> dict[str, tuple[str, str]]:
    """State and reason of each campaign, by its tenant's name."""
    rows = await connection.fetch(
        "SELECT t.slug, c.state, c.state_reason FROM campaigns c JOIN tenants t ON t.id = c.tenant_id"
    )
    return {row["slug"]: (row["state"], row["state_reason"]) for row in rows}


async def sequences(connection: Connection) -> dict[str, int]:
    """How far each sequence has come."""
    rows = await connection.fetch("SELECT sequencename AS name, COALESCE(last_value, 0) AS last FROM pg_sequences")
    return {row["name"]: row["last"] for row in rows}


async def seed_scheduled(connection: Connection, slug: str = "scheduled") -> Seeded:
    """A campaign whose time has come."""
    seeded = await seed_campaign(connection, ["later@x.example"], slug=slug)
    await connection.execute(
        "UPDATE campaigns SET state = 'scheduled', schedule_at = now() - interval '1 second' WHERE id = $1",
        seeded.campaign_id,
    )
    return seeded


async def test_pulse_grows_with_each_beat_and_says_what_to_keep_outside(connection: Connection) -> None:
    """The mark is that of the row, and what the belt has to say stands beside it."""
    for pulse in range(1, 4):
        beaten = await beat(connection, Mark(1, pulse - 1), belt_problem="blocked")
        assert (beaten.mark, beaten.held_reason) == (Mark(1, pulse), "")
    assert abs(beaten.at_s - await connection.fetchval("SELECT EXTRACT(EPOCH FROM now())::float8")) < 30
    assert await row(connection) == {
        "epoch": 1, "pulse": 3, "held_reason": "", "held_at": None, "belt_problem": "blocked",
    }  # fmt: skip
    assert await connection.fetchval("SELECT identity FROM installation") == await installation.identity(connection)


async def test_pulse_that_is_not_committed_did_not_grow(connection: Connection) -> None:
    """A beat is its transaction's: whoever keeps the mark after the commit never runs ahead of the database."""
    transaction = connection.transaction()
    await transaction.start()
    await installation.beat(connection, belt_problem="", known=None)
    await transaction.rollback()
    assert (await row(connection))["pulse"] == 0


@pytest.mark.parametrize(("known", "held"), [(None, False), (4, False), (5, False), (6, True), (5000, True)])
async def test_database_behind_the_latest_mark_is_held_and_no_other(
    connection: Connection, known: int | None, held: bool
) -> None:
    """As far as the mark is far enough, one beat less is not; and the pulse is then ahead of everything known."""
    await connection.execute("UPDATE installation SET pulse = 5")
    beaten = await beat(connection, None if known is None else Mark(1, known))
    assert beaten.held_reason == ("database_restored" if held else "")
    assert beaten.mark == (Mark(2, (known or 0) + 1) if held else Mark(1, 6))
    assert ((await row(connection))["held_at"] is not None) is held


async def test_hold_pauses_what_was_sending_and_takes_scheduled_campaigns_back(
    connection: Connection, seeded: Seeded, launched: list[int]
) -> None:
    """Both with the reason; a draft and what has ended stay as they are."""
    await seed_scheduled(connection)
    for slug, state in (("draft", "draft"), ("done", "completed"), ("stopped", "cancelled")):
        other = await seed_campaign(connection, [], slug=slug)
        await connection.execute("UPDATE campaigns SET state = $2 WHERE id = $1", other.campaign_id, state)
    await beat(connection, Mark(1, 9))
    assert await campaigns(connection) == {
        "acme": ("paused", "database_restored"),
        "scheduled": ("failed", "database_restored"),
        "draft": ("draft", ""),
        "done": ("completed", ""),
        "stopped": ("cancelled", ""),
    }


async def test_hold_closes_the_gate_whatever_a_campaign_says_and_release_opens_it(
    connection: Connection, launched: list[int]
) -> None:
    """The hold itself stands in the gate's statement: a campaign that goes on all the same sends nothing."""
    first, second = launched[:2]
    held = await beat(connection, Mark(1, 9))
    await connection.execute("UPDATE campaigns SET state = 'sending'")
    assert await ledger.claim(connection, [(first, 0)], "d1", pulse=held.mark.pulse) == {}
    assert await installation.release(connection) == "database_restored"
    assert set(await ledger.claim(connection, [(first, 0)], "d1", pulse=held.mark.pulse)) == {first}
    assert await ledger.claim(connection, [(second, 0)], "d1", pulse=held.mark.pulse + 1) == {}


async def test_release_says_what_it_ended_and_starts_no_campaign(connection: Connection, launched: list[int]) -> None:
    """Campaigns wait for their owners; a release of nothing says so."""
    await beat(connection, Mark(1, 9))
    assert await installation.release(connection) == "database_restored"
    assert await installation.release(connection) == ""
    found = await row(connection)
    assert (found["held_reason"], found["held_at"]) == ("", None)
    assert await campaigns(connection) == {"acme": ("paused", "database_restored")}
    assert (await beat(connection, Mark(2, 10))).held_reason == ""


async def test_ids_that_may_have_been_given_since_are_left_out(connection: Connection, launched: list[int]) -> None:
    """Every sequence goes on by the gap, also one that nothing was taken from yet."""
    before = await sequences(connection)
    assert 0 in before.values()
    await beat(connection, Mark(1, 9))
    assert await sequences(connection) == {name: last + SEQUENCE_GAP for name, last in before.items()}
    fresh = await seed_campaign(connection, ["new@x.example"], slug="fresh")
    async with connection.transaction():
        await launch(connection, fresh.campaign_id, tenant_id=fresh.tenant_id)
    new = await connection.fetchval("SELECT id FROM messages WHERE campaign_id = $1", fresh.campaign_id)
    assert new > max(launched) + SEQUENCE_GAP


async def test_hold_by_an_operator_leaves_ids_as_they_are(connection: Connection, launched: list[int]) -> None:
    """Nothing was lost then; all else is the same hold."""
    before = await sequences(connection)
    async with connection.transaction():
        held = await installation.hold(connection, HoldReason.BY_OPERATOR)
    assert (held.held_reason, held.mark) == ("by_operator", Mark(2, 1))
    assert await sequences(connection) == before
    assert await campaigns(connection) == {"acme": ("paused", "by_operator")}


async def test_held_database_beats_on_and_is_not_held_anew(connection: Connection) -> None:
    """One restore is one hold: its own mark, and the one before it, say nothing against it any more."""
    held = await beat(connection, Mark(1, 9))
    moved = await sequences(connection)
    for known in (held.mark, Mark(1, 9), None):
        beaten = await beat(connection, known)
        assert (beaten.held_reason, beaten.mark.epoch) == ("database_restored", 2)
    assert await sequences(connection) == moved


async def test_two_schedulers_that_find_it_out_at_once_hold_once(pool: Pool) -> None:
    """The row is locked: the second one sees a pulse that is ahead of what it knows."""

    async def one() -> Beat:
        async with pool.acquire() as connection:
            return await beat(connection, Mark(1, 9))

    beaten = await asyncio.gather(*(one() for _ in range(6)))
    assert {one.held_reason for one in beaten} == {"database_restored"}
    assert await pool.fetchval("SELECT epoch FROM installation") == 2
    assert sorted(one.mark.pulse for one in beaten) == list(range(10, 16))


async def test_copy_in_another_database_is_held_as_moved_and_the_original_goes_on(
    postgres_url: str, database_url: str
) -> None:
    """The same rows beside the original would send the same mails a second time."""
    pool = await open_pool(database_url, name="test", size=1)
    async with pool.acquire() as connection:
        seeded = await seed_campaign(connection, ["a@x.example"])
        await connection.execute("UPDATE campaigns SET state = 'sending' WHERE id = $1", seeded.campaign_id)
        kept = (await beat(connection)).mark
    await pool.close()
    with new_database(postgres_url, urlsplit(database_url).path[1:]) as name:
        copy = await open_pool(with_database(postgres_url, name), name="test", size=1)
        async with copy.acquire() as connection:
            held = await beat(connection, kept)
            assert (held.held_reason, held.mark) == ("database_moved", Mark(2, kept.pulse + 1))
            assert await campaigns(connection) == {"acme": ("paused", "database_moved")}
            assert (await beat(connection, held.mark)).mark == Mark(2, kept.pulse + 2)  # it is at home there now
        await copy.close()
    pool = await open_pool(database_url, name="test", size=1)
    async with pool.acquire() as connection:
        assert (await beat(connection, kept)).held_reason == ""
    await pool.close()


async def test_identity_names_cluster_and_database_or_the_database_alone(connection: Connection) -> None:
    """A user who may not ask the cluster for its name is not kept from beating."""
    oid = await connection.fetchval("SELECT oid FROM pg_database WHERE datname = current_database()")
    cluster = await connection.fetchval("SELECT system_identifier FROM pg_control_system()")
    assert await installation.identity(connection) == f"{cluster}/{oid}"
    role = f"hayabin_test_{secrets.token_hex(6)}"
    async with connection.transaction():
        await connection.execute(f"CREATE ROLE {role}")
        await connection.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
        await connection.execute(f"SET LOCAL ROLE {role}")
        assert await installation.identity(connection) == f"-/{oid}"
        await connection.execute("RESET ROLE")
        await connection.execute(f"DROP ROLE {role}")


async def test_watch_never_goes_back_and_knows_the_hold(connection: Connection) -> None:
    """A process that has seen a pulse asks the gate for it, although the database does not know it any more."""
    watch = Watch()
    await connection.execute("UPDATE installation SET pulse = 7, belt_problem = 'away', belt_seen_at = now()")
    await watch.read(connection)
    assert (watch.pulse, watch.held_reason, watch.belt_problem) == (7, "", "away")
    assert 0 <= watch.belt_age_s < 30
    await connection.execute("UPDATE installation SET pulse = 3, held_reason = 'by_operator', belt_seen_at = NULL")
    await watch.read(connection)
    assert (watch.pulse, watch.held_reason, watch.belt_age_s) == (7, "by_operator", 0.0)
    await connection.execute("UPDATE installation SET pulse = 8, held_reason = ''")
    await watch.read(connection)
    assert (watch.pulse, watch.held_reason) == (8, "")


async def test_database_without_the_row_says_so(connection: Connection) -> None:
    """A schema that is not migrated is no database that may send."""
    await connection.execute("DELETE FROM installation")
    with pytest.raises(RuntimeError, match="not migrated"):
        await beat(connection)
    with pytest.raises(RuntimeError, match="not migrated"):
        await Watch().read(connection)


@given(epoch=NUMBERS, pulse=NUMBERS)
def test_mark_reads_back_as_it_was_written(epoch: int, pulse: int) -> None:
    """What the belt keeps is what we knew."""
    assert read_mark(Mark(epoch, pulse).encode()) == Mark(epoch, pulse)


@given(body=st.binary(max_size=60))
def test_mark_that_we_did_not_write_is_none(body: bytes) -> None:
    """Whatever else lies on the queue is no witness, and breaks nothing."""
    assert read_mark(body) is None


@pytest.mark.parametrize("body", [None, b"{}", b"[]", b"7", b'{"epoch": 1}', b'{"epoch": 1, "pulse": null}'])
def test_mark_that_lacks_something_is_none(body: bytes | None) -> None:
    """Half of a mark is no mark."""
    assert read_mark(body) is None
