"""Moves on a list: the tables of the domain, history and consent ledger in one statement."""

import dataclasses

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hayabin.database import subscriptions
from hayabin.domain.consent import ConsentAction as A
from hayabin.domain.consent import SubscriptionState as S
from hayabin.domain.consent import may_become
from tests.integration.consent.conftest import PEOPLE, SOURCE, People, evidence


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    asked=st.lists(
        st.tuples(st.sets(st.integers(0, 10), min_size=1, max_size=5), st.sampled_from(S), st.sampled_from(A)),
        max_size=12,
    )
)
async def test_moves_of_any_order_are_those_of_the_table(people: People, asked: list[tuple[set[int], S, A]]) -> None:
    """Whatever is asked for in whatever order: who moves, where they stand and the history are as the tables say."""
    known: dict[int, S | None] = dict.fromkeys(people.ids)
    await people.pool.execute("DELETE FROM list_members")
    stranger = max(people.ids) + 1000
    for numbers, to, action in asked:
        ids = [people.ids[n] if n < len(people.ids) else stranger for n in sorted(numbers)]
        wanted = [i for i in ids if i in known and may_become(known[i], to, action)]
        before = await people.pool.fetchval("SELECT COALESCE(max(id), 0) FROM subscription_changes")
        assert await people.move(ids, to, action) == wanted
        rows = await people.pool.fetch(
            "SELECT contact_id, was, state FROM subscription_changes WHERE id > $1 ORDER BY id", before
        )
        assert [tuple(row) for row in rows] == [(i, known[i], to) for i in wanted]
        known |= dict.fromkeys(wanted, to)
    assert await people.states() == [known[i] for i in people.ids]


async def test_move_writes_history_and_evidence_of_each_and_nothing_when_asked_again(people: People) -> None:
    """One row of each kind for each who moved, with all that is known; the second time nobody moves."""
    await people.pool.execute("DELETE FROM list_members")
    ids = people.ids[:2]
    for moved in (ids, []):
        assert await people.move([*ids, *ids], S.SUBSCRIBED, A.OPT_IN) == moved
    assert await people.history() == [(i, None, "subscribed", "opt_in", SOURCE) for i in ids]
    assert await people.ledger() == [(PEOPLE[n], people.seeded.list_id, "opt_in", "form") for n in (0, 1)]
    row = await people.pool.fetchrow("SELECT * FROM consents ORDER BY id LIMIT 1")
    assert row is not None
    assert (row["contact_id"], row["wording"], row["ip"], row["user_agent"]) == (
        ids[0],
        "v1",
        "192.0.2.7",
        "Mozilla/5.0",
    )
    assert row["occurred_at"] == row["recorded_at"]
    members = await people.pool.fetch("SELECT consent FROM list_members")
    assert [member["consent"] for member in members] == ["form", "form"]


async def test_evidence_for_who_is_subscribed_without_any_is_kept_once(people: People) -> None:
    """Nobody moves, but the basis is known from then on, and the ledger has the row."""
    for _ in range(2):
        assert await people.move(people.ids[:1], S.SUBSCRIBED, A.OPT_IN) == []
    assert await people.ledger() == [(PEOPLE[0], people.seeded.list_id, "opt_in", "form")]
    assert await people.history() == []
    basis = await people.pool.fetchval("SELECT consent FROM list_members WHERE contact_id = $1", people.ids[0])
    assert basis == "form"


async def test_opt_out_suppresses_for_the_list_and_confirmation_lifts_it(people: People) -> None:
    """The gate knows at once; who unsubscribed from everything and comes back to one list has that list alone."""
    tenant_id, list_id = people.seeded.tenant_id, people.seeded.list_id
    other = await people.pool.fetchval("INSERT INTO lists (tenant_id, name) VALUES ($1, 'o') RETURNING id", tenant_id)
    await people.move(people.ids[:1], S.UNSUBSCRIBED, A.OPT_OUT)
    assert await people.suppressions() == [(PEOPLE[0], list_id, "unsubscribe")]
    await people.pool.execute(
        "INSERT INTO suppressions (tenant_id, address_key, list_id, reason) VALUES ($1, $2, 0, 'unsubscribe'), "
        "($1, $3, 0, 'manual')",
        tenant_id,
        PEOPLE[0],
        PEOPLE[1],
    )
    assert await people.move(people.ids[:2], S.SUBSCRIBED, A.OPT_IN) == []
    assert len(await people.suppressions()) == 3
    assert await people.move(people.ids[:2], S.SUBSCRIBED, A.CONFIRM) == people.ids[:1]
    assert await people.suppressions() == [(PEOPLE[0], other, "unsubscribe"), (PEOPLE[1], 0, "manual")]


async def test_confirmation_by_a_link_ends_the_bounce_on_every_list_and_anybody_elses_word_does_not(
    people: People,
) -> None:
    """A mailbox that got the mail works: other lists are as before the bounce; that somebody says so proves nothing."""
    tenant_id, list_id = people.seeded.tenant_id, people.seeded.list_id
    other = await people.pool.fetchval("INSERT INTO lists (tenant_id, name) VALUES ($1, 'o') RETURNING id", tenant_id)
    one = people.ids[:1]
    async with people.pool.acquire() as connection, connection.transaction():
        await subscriptions.move(connection, tenant_id, other, one, S.PENDING, evidence(A.OPT_IN))
        await subscriptions.move_everywhere(connection, [(tenant_id, PEOPLE[0], "message:1")], S.BOUNCED, A.CHANGE)
        await connection.execute(
            "INSERT INTO suppressions (tenant_id, address_key, list_id, reason) VALUES ($1, $2, 0, 'hard_bounce')",
            tenant_id,
            PEOPLE[0],
        )
    states = "SELECT array_agg(state ORDER BY list_id) FROM list_members WHERE contact_id = $1"
    await people.move(one, S.SUBSCRIBED, A.CONFIRM)
    assert await people.pool.fetchval(states, one[0]) == ["subscribed", "bounced"]
    assert await people.suppressions() == [(PEOPLE[0], 0, "hard_bounce")]
    async with people.pool.acquire() as connection, connection.transaction():
        by_link = dataclasses.replace(evidence(A.CONFIRM), by_link=True)
        await subscriptions.move(connection, tenant_id, list_id, one, S.SUBSCRIBED, by_link)
    assert await people.pool.fetchval(states, one[0]) == ["subscribed", "pending"]
    assert await people.suppressions() == []


async def test_bounce_leaves_no_word_on_consent_and_is_taken_back_when_the_mailbox_works(people: People) -> None:
    """Whose mailbox ended is bounced on every list, and later what they were before on each."""
    tenant_id = people.seeded.tenant_id
    other = await people.pool.fetchval("INSERT INTO lists (tenant_id, name) VALUES ($1, 'o') RETURNING id", tenant_id)
    async with people.pool.acquire() as connection, connection.transaction():
        await subscriptions.move(connection, tenant_id, other, people.ids[:1], S.PENDING, evidence(A.OPT_IN))
        said = await people.ledger()
        mailboxes = [(tenant_id, PEOPLE[0], "message:1"), (tenant_id, "nobody@example.com", "message:2")]
        for count in (2, 0):
            assert await subscriptions.move_everywhere(connection, mailboxes, S.BOUNCED, A.CHANGE) == count
    assert (await people.states())[:2] == ["bounced", "subscribed"]
    assert [row[4] for row in await people.history()][-2:] == ["message:1", "message:1"]
    async with people.pool.acquire() as connection, connection.transaction():
        for count in (2, 0):
            assert await subscriptions.reinstate(connection, tenant_id, PEOPLE[:1], "api_key:1") == count
    rows = await people.pool.fetch(
        "SELECT state FROM list_members WHERE contact_id = $1 ORDER BY list_id", people.ids[0]
    )
    assert [row["state"] for row in rows] == ["subscribed", "pending"]
    assert (await people.ledger())[: len(said)] == said


async def test_lists_and_people_of_another_tenant_are_left_out(people: People) -> None:
    """Neither a foreign list nor a foreign contact is touched."""
    other = await people.pool.fetchval("INSERT INTO tenants (slug, name) VALUES ('other', 'other') RETURNING id")
    async with people.pool.acquire() as connection, connection.transaction():
        told = evidence(A.OPT_OUT)
        moved = await subscriptions.move(connection, other, people.seeded.list_id, people.ids, S.UNSUBSCRIBED, told)
    assert moved == []
    assert set(await people.states()) == {"subscribed"}
    assert await people.ledger() == []


async def test_taking_somebody_off_keeps_the_history_and_who_left_by_themselves_stays_so(people: People) -> None:
    """A row goes with a line in the history; an own wish is not forgotten by being taken off."""
    await people.move(people.ids[1:2], S.UNSUBSCRIBED, A.OPT_OUT)
    async with people.pool.acquire() as connection, connection.transaction():
        ours = (people.seeded.tenant_id, people.seeded.list_id)
        assert await subscriptions.take_off(connection, *ours, people.ids[0], "api_key:1")
        assert not await subscriptions.take_off(connection, *ours, people.ids[0], "api_key:1")
        assert not await subscriptions.take_off(connection, *ours, people.ids[1], "api_key:1")
    assert (await people.states())[:2] == [None, "unsubscribed"]
    assert (await people.history())[-1] == (people.ids[0], "subscribed", None, "change", "api_key:1")
