"""The database refuses to change what was recorded."""

from typing import Any

import asyncpg
import pytest

from hayabin.database import consent, tenancy
from hayabin.domain.consent import ConsentAction, SubscriptionState
from services.api.scheduler import forgetting
from tests.integration.consent.conftest import PEOPLE, People, evidence

HASH = bytes(32)


@pytest.fixture
async def said(people: People) -> People:
    """Two people who opted out, so all tables have something."""
    await people.move(people.ids[:2], SubscriptionState.UNSUBSCRIBED, ConsentAction.OPT_OUT)
    return people


_REFUSED = (
    "DELETE FROM consents",
    "UPDATE consents SET action = 'opt_in'",
    "UPDATE consents SET note = ''",
    "UPDATE consents SET address_key = ''",
    "UPDATE consents SET address_hash = '\\x00', address_key = '', ip = NULL, user_agent = '', note = '', list_id = 0",
    "UPDATE consents SET address_hash = '\\x00', address_key = '', ip = NULL, user_agent = ''",
    "TRUNCATE consents",
    "DELETE FROM subscription_changes",
    "TRUNCATE subscription_changes",
    "UPDATE subscription_changes SET state = 'subscribed'",
    "UPDATE subscription_changes SET changed_at = now()",
)


async def test_changing_or_removing_what_was_said_is_refused(said: People) -> None:
    """Not even the owner of the tables can, by a plain statement; an erasure must leave nothing of who it was."""
    for statement in _REFUSED:
        with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
            await said.pool.execute(statement)


async def test_tenant_may_add_and_read_its_own_rows_and_do_nothing_else(said: People) -> None:
    """The role of the API lacks the rights, and sees nothing of another tenant."""
    other = await said.pool.fetchval("INSERT INTO tenants (slug, name) VALUES ('o', 'o') RETURNING id")
    for statement in ("DELETE FROM consents", "UPDATE consents SET note = ''", "DELETE FROM subscription_changes"):
        async with said.pool.acquire() as connection, _undone(connection):
            await tenancy.enter(connection, said.seeded.tenant_id)
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    async with said.pool.acquire() as connection, _undone(connection):
        await tenancy.enter(connection, other)
        assert await connection.fetchval("SELECT count(*) FROM consents") == 0
        assert await connection.fetchval("SELECT count(*) FROM subscription_changes") == 0
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await consent.record_address(
                connection, said.seeded.tenant_id, 0, "a@b.example", evidence(ConsentAction.CHANGE)
            )


def _undone(connection: Any) -> Any:
    return _Undone(connection)


class _Undone:
    """A transaction that is always rolled back."""

    def __init__(self, connection: Any) -> None:
        self._transaction = connection.transaction()

    async def __aenter__(self) -> None:
        await self._transaction.start()

    async def __aexit__(self, *_: object) -> None:
        await self._transaction.rollback()


async def test_erasure_replaces_who_it_was_by_a_hash_once_and_keeps_what_was_done(said: People) -> None:
    """Address, IP, user agent and note go; action, basis, list and times stay; a second hash is refused."""
    before = await said.pool.fetchrow("SELECT * FROM consents WHERE address_key = $1", PEOPLE[0])
    assert before is not None
    async with said.pool.acquire() as connection, connection.transaction():
        assert await consent.anonymise(connection, said.seeded.tenant_id, PEOPLE[0], HASH) == 1
        assert await consent.anonymise(connection, said.seeded.tenant_id, PEOPLE[0], HASH) == 0
    after = await said.pool.fetchrow("SELECT * FROM consents WHERE id = $1", before["id"])
    assert after is not None
    gone = {"address_key": "", "address_hash": HASH, "ip": None, "user_agent": "", "note": ""}
    assert dict(after) == {**before, **gone}
    with pytest.raises(asyncpg.RestrictViolationError):
        await said.pool.execute("UPDATE consents SET address_hash = '\\x01' WHERE id = $1", before["id"])
    assert [row[0] for row in await said.ledger()] == ["", PEOPLE[1]]


async def test_rows_older_than_three_years_go_only_where_the_tenant_asked_and_never_earlier(said: People) -> None:
    """Nothing is dropped by default; with a time set, what is older than it; a time of days never counts below three years."""
    insert = (
        "INSERT INTO consents (tenant_id, address_key, list_id, action, basis, source, recorded_at) "
        "VALUES ($1, 'old@b.example', 0, 'opt_in', 'api', 's', now() - make_interval(days => $2))"
    )
    for days in (1094, 1096, 2001):
        await said.pool.execute(insert, said.seeded.tenant_id, days)
    assert await forgetting.forget_consents(said.pool) == 0
    with pytest.raises(asyncpg.RestrictViolationError):
        await said.pool.execute("DELETE FROM consents WHERE address_key = 'old@b.example'")
    for kept_days, dropped in ((2000, 1), (5, 1)):
        await said.pool.execute(
            "UPDATE tenants SET settings = jsonb_build_object('consent_retention_days', $1::int)", kept_days
        )
        assert await forgetting.forget_consents(said.pool) == dropped
    assert await said.pool.fetchval("SELECT count(*) FROM consents") == 3
    with pytest.raises(asyncpg.RestrictViolationError):
        await said.pool.execute("DELETE FROM consents")
