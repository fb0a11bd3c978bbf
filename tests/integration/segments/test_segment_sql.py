"""Rules as SQL say what the oracle says, for random people; nothing in them is ever read as SQL; on a real PostgreSQL."""

import json
import random
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from hayabin.database import segments
from hayabin.database.engine import Connection, Pool
from hayabin.database.segment_compiling import MAX_JOINED, Parameters
from hayabin.database.segment_count import count_sql
from hayabin.domain.segment_rules import parse
from tests.integration.segments.random_segments import NAMES, NOW, TEXTS, a_contact, a_tree
from tests.integration.segments.segment_oracle import Contact, Tree, World, meets
from tests.support.seed import seed_campaign

PEOPLE, TREES = 60, 250


async def several(connection: Connection, sql: str, *arguments: Any, number: int) -> list[int]:
    """Run an INSERT again and again; give the ids."""
    return [await connection.fetchval(sql, *arguments, str(n)) for n in range(number)]


async def write(connection: Connection, tenant_id: int, contact: Contact) -> None:
    """Put somebody into the database, with all that is known of them."""
    contact.id = await connection.fetchval(
        "INSERT INTO contacts (tenant_id, address, wire, address_key, attributes, stage, locale, time_zone, flags, "
        "created_at) VALUES ($1, $2, $2, $2, $3, $4, $5, $6, $7, $8) RETURNING id",
        tenant_id, contact.address_key, contact.attributes, contact.stage, contact.locale, contact.time_zone,
        contact.flags, contact.created_at,
    )  # fmt: skip
    for list_id, (state, basis) in contact.lists.items():
        await connection.execute(
            "INSERT INTO list_members (list_id, contact_id, state, consent) VALUES ($1, $2, $3, $4)",
            list_id, contact.id, state, basis,
        )  # fmt: skip
    if contact.last:
        await connection.execute(
            "INSERT INTO contact_activity VALUES ($1, $2, $3, $4, $5)", tenant_id, contact.id,
            *(contact.last.get(kind) for kind in ("received", "opened", "clicked")),
        )  # fmt: skip
    for campaign_id, (state, kinds) in contact.campaigns.items():
        message_id = await connection.fetchval(
            "INSERT INTO messages (tenant_id, campaign_id, address_key, state) VALUES ($1, $2, $3, $4) RETURNING id",
            tenant_id, campaign_id, contact.address_key, state,
        )  # fmt: skip
        await connection.execute(
            "INSERT INTO recipients (message_id, tenant_id, campaign_id, contact_id, wire, name, variables) "
            "VALUES ($1, $2, $3, $4, '', '', '{}')",
            message_id, tenant_id, campaign_id, contact.id,
        )  # fmt: skip
        for kind in kinds:
            await connection.execute("INSERT INTO engagements (message_id, kind) VALUES ($1, $2)", message_id, kind)


async def found(connection: Connection, tenant_id: int, tree: Tree) -> set[int]:
    """Who meets rules, as the database says."""
    loaded = await segments.load(connection, tenant_id, parse(tree, {}))
    parameters = Parameters()
    where = segments.where(loaded, tenant_id, NOW, parameters)
    return {
        row["id"] for row in await connection.fetch(f"SELECT c.id FROM contacts c WHERE {where}", *parameters.values)
    }


async def count_as(connection: Connection, tenant_id: int, tree: Tree) -> tuple[int, str]:
    """How many meet rules, by the statement that counts; and it."""
    sql, parameters = count_sql(await segments.load(connection, tenant_id, parse(tree, {})), tenant_id, NOW)
    rows = await segments.bounded(connection, sql, parameters)
    return int(rows[0]["count"]), sql


@pytest.mark.parametrize("seed", [1, 2])
async def test_rules_as_sql_find_whom_the_oracle_finds(pool: Pool, seed: int) -> None:
    """Hundreds of random trees over random people, with nested segments; another tenant's people are never found."""
    dice = random.Random(seed)
    async with pool.acquire() as connection:
        seeded = await seed_campaign(connection, ["other@x.example"], slug="other")
        await connection.execute('UPDATE contacts SET attributes = \'{"plan": "gold"}\'')
        tenant_id = await connection.fetchval("INSERT INTO tenants (slug, name) VALUES ('t', 't') RETURNING id")
        lists = await several(
            connection, "INSERT INTO lists (tenant_id, name) VALUES ($1, $2) RETURNING id", tenant_id, number=3
        )
        campaigns = [seeded.campaign_id + n for n in range(1, 4)]
        people = [a_contact(dice, n, lists, campaigns) for n in range(PEOPLE)]
        for contact in people:
            await write(connection, tenant_id, contact)
        world = World(NOW)
        for n in range(3):
            tree = a_tree(dice, 3, lists, campaigns, list(world.segments))
            segment_id = await connection.fetchval(
                "INSERT INTO segments (tenant_id, name, rules) VALUES ($1, $2, $3) RETURNING id",
                tenant_id,
                str(n),
                tree,
            )
            world.segments[segment_id] = tree
        divided = 0
        for _ in range(TREES):
            tree = a_tree(dice, 4, lists, campaigns, list(world.segments))
            expected = {contact.id for contact in people if meets(tree, contact, world)}
            assert await found(connection, tenant_id, tree) == expected, json.dumps(tree, ensure_ascii=False)
            assert (await count_as(connection, tenant_id, tree))[0] == len(expected), json.dumps(tree)
            divided += 0 < len(expected) < PEOPLE
        assert divided > TREES / 3  # the rules are not all empty or everybody
        ways = await lists_and_activities(connection, tenant_id, dice, people, lists, campaigns)
        assert min(ways.values()) > TREES / 20, ways


async def lists_and_activities(
    connection: Connection,
    tenant_id: int,
    dice: random.Random,
    people: list[Contact],
    lists: list[int],
    campaigns: list[int],
) -> Counter[str]:
    """Count by rules about lists and activities alone; says which ways there were of counting."""
    ways: Counter[str] = Counter(contacts=0, members=0, joins=0, foreign=0)
    foreign = await connection.fetchval("SELECT list_id FROM list_members WHERE NOT list_id = ANY($1)", lists)
    for _ in range(TREES // 2):
        several = [a_tree(dice, 3, lists, campaigns, [], ["list", "activity"]) for _ in range(2)]
        tree: Tree = {"all": several}
        expected = sum(meets(tree, contact, World(NOW)) for contact in people)
        count, sql = await count_as(connection, tenant_id, tree)
        assert count == expected, json.dumps(tree)
        ways["contacts" if "FROM contacts" in sql else "members"] += 1
        ways["joins"] += "LEFT JOIN" in sql
        stolen = {"all": [{"list": foreign, "is": "state_in", "value": ["subscribed"]}, {"any": several}]}
        assert (await count_as(connection, tenant_id, stolen))[0] == 0
        ways["foreign"] += "FROM contacts" not in sql
    return ways


async def test_joins_of_a_count_are_bounded(pool: Pool) -> None:
    """However many rules of which one is enough: each join has memory of its own, so the others are looked up."""
    async with pool.acquire() as connection:
        tenant_id = await connection.fetchval("INSERT INTO tenants (slug, name) VALUES ('t', 't') RETURNING id")
        people = [Contact(address_key=f"u{n}@x.example", last={"opened": NOW - timedelta(days=n)}) for n in range(30)]
        for contact in people:
            await write(connection, tenant_id, contact)
        days = range(1, 2 * MAX_JOINED)
        tree: Tree = {"any": [{"activity": "opened", "is": "within_last_days", "value": n} for n in days]}
        count, sql = await count_as(connection, tenant_id, tree)
        assert count == sum(meets(tree, contact, World(NOW)) for contact in people) == days[-1] + 1
        assert sql.count("LEFT JOIN") == MAX_JOINED


async def test_hostile_text_in_every_place_is_a_value_and_nothing_else(pool: Pool) -> None:
    """Names and values that would be SQL find exactly who has them; the statement's text is the same for each."""
    texts = [*TEXTS, *NAMES, "');--", "$2::bigint", "\u202e", "x" * 100, "OR true", "/*", "*/", "E'\\x41'"]
    async with pool.acquire() as connection:
        tenant_id = await connection.fetchval("INSERT INTO tenants (slug, name) VALUES ('t', 't') RETURNING id")
        everybody = {}
        for n, text in enumerate(texts):
            contact = Contact(address_key=f"u{n}@x.example", attributes={text or "empty": text}, stage=text)
            await write(connection, tenant_id, contact)
            everybody[contact.id] = contact
        statements = set()
        for text in texts:
            for tree in (
                {"attribute": text or "empty", "type": "string", "is": "equals", "value": text},
                {"field": "stage", "is": "equals", "value": text},
                {"field": "stage", "is": "in", "value": [text]},
                {"not": {"field": "stage", "is": "contains", "value": text}},
                {"attribute": text or "empty", "type": "list", "is": "contains_any", "value": [text]},
            ):
                expected = {one for one, contact in everybody.items() if meets(tree, contact, World(NOW))}
                assert await found(connection, tenant_id, tree) == expected, tree
                parameters = Parameters()
                loaded = await segments.load(connection, tenant_id, parse(tree, {}))
                statements.add(segments.where(loaded, tenant_id, NOW, parameters))
        assert len(statements) == 5
        assert await connection.fetchval("SELECT count(*) FROM contacts") == len(texts)
