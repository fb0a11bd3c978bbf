"""The gate: an address, its domain, a list, a tenant, the platform, and an end; on real PostgreSQL."""

from hayabin.database import ledger
from hayabin.database.launch import launch
from hayabin.database.suppressing import suppressed_sql
from hayabin.domain.consent import ConsentAction, SubscriptionState
from tests.integration.consent.conftest import PEOPLE, People

_INSERT_SQL = (
    "INSERT INTO suppressions (tenant_id, address_key, list_id, reason, expires_at) "
    "VALUES ($1, $2, $3, 'manual', now() + $4::text::interval)"
)


async def launched(people: People) -> list[int]:
    """The ledger ids of a campaign to all ten."""
    async with people.pool.acquire() as connection, connection.transaction():
        await launch(connection, people.seeded.campaign_id, tenant_id=people.seeded.tenant_id)
    return [row["id"] for row in await people.pool.fetch("SELECT id FROM messages ORDER BY id")]


async def refused(people: People, ids: list[int]) -> list[int]:
    """Which of the ten the gate refuses, by their place."""
    async with people.pool.acquire() as connection:
        granted = await ledger.claim(connection, [(i, 0) for i in ids], "d1")
    return [place for place, i in enumerate(ids) if i not in granted]


_EVERYBODY = list(range(10))
_CASES: tuple[tuple[str, str, str, str | None, list[int]], ...] = (
    # whose, key, on which list, ends in, stops whom
    ("own", PEOPLE[3], "every", None, [3]),
    ("own", PEOPLE[3], "this", None, [3]),
    ("own", PEOPLE[3], "other", None, []),
    ("own", PEOPLE[3], "every", "1 hour", [3]),
    ("own", PEOPLE[3], "every", "-1 second", []),
    ("own", "@example.com", "every", None, _EVERYBODY),
    ("own", "@example.com", "this", "1 hour", _EVERYBODY),
    ("own", "@example.com", "other", None, []),
    ("own", "@example.com", "every", "-1 second", []),
    ("own", "@mple.com", "every", None, []),
    ("own", "@mail.example.com", "every", None, []),
    ("own", "example.com", "every", None, []),
    ("platform", PEOPLE[3], "every", None, [3]),
    ("platform", "@example.com", "every", None, _EVERYBODY),
    ("platform", "@example.com", "every", "-1 second", []),
    ("foreign", PEOPLE[3], "every", None, []),
    ("foreign", "@example.com", "every", None, []),
)


async def test_suppression_stops_whom_it_names_and_nobody_else(people: People) -> None:
    """Every kind of row that a suppression can be, looked for by the one statement of the gate."""
    ids = await launched(people)
    foreign = await people.pool.fetchval("INSERT INTO tenants (slug, name) VALUES ('o', 'o') RETURNING id")
    tenants = {"own": people.seeded.tenant_id, "platform": 0, "foreign": foreign}
    lists = {"every": 0, "this": people.seeded.list_id, "other": people.seeded.list_id + 1}
    for whose, key, on_list, ends_in, stops in _CASES:
        async with people.pool.acquire() as connection:
            undone = connection.transaction()
            await undone.start()
            await connection.execute(_INSERT_SQL, tenants[whose], key, lists[on_list], ends_in)
            granted = await ledger.claim(connection, [(i, 0) for i in ids], "d1")
            states = [row["state"] for row in await connection.fetch("SELECT state FROM messages ORDER BY id")]
            await undone.rollback()
        case = (whose, key, on_list, ends_in)
        assert [place for place, i in enumerate(ids) if i not in granted] == stops, case
        assert [place for place, state in enumerate(states) if state == "suppressed"] == stops, case


async def test_local_part_with_an_at_sign_counts_by_its_last_domain(people: People) -> None:
    """A key is quoted text before the last @: its domain is what comes after that one."""
    sql = f"SELECT {suppressed_sql('$1', '$2', '0')}"
    await people.pool.execute(_INSERT_SQL, people.seeded.tenant_id, "@docomo.ne.jp", 0, None)
    for key, found in (('"a..b"@docomo.ne.jp', True), ('"x@docomo.ne.jp"@example.jp', False), ("@docomo.ne.jp", True)):
        assert await people.pool.fetchval(sql, people.seeded.tenant_id, key) is found


async def test_opt_out_during_the_run_is_refused_at_the_next_claim(people: People) -> None:
    """By whatever way somebody opts out while the campaign sends: the ledger has them already, the gate stops them."""
    ids = await launched(people)
    assert await refused(people, ids[:2]) == []
    await people.move(people.ids[1:5], SubscriptionState.UNSUBSCRIBED, ConsentAction.OPT_OUT)
    assert await refused(people, ids[2:]) == [0, 1, 2]
