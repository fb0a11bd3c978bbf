"""The bulk statements read what they are asked for and nothing else, also on a table that no ANALYZE has seen."""

import json
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from hayabin.database.audience import FILL_FROM_LIST_SQL, PAGE_ROWS
from hayabin.database.engine import Pool, open_pool
from hayabin.database.feeds import DUE_NOW_SQL, WAITING_ON_BELT_SQL
from hayabin.database.ledger import CLAIM_SQL, POSTPONE_SQL, RECORD_SQL
from services.api.routes.campaign_rows import MESSAGES_SQL
from tests.support.seed import launch_whole, seed_campaign

ROWS = 5000
ASKED = 100


def scans(node: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Table (or what is scanned like one) and rows touched (returned or filtered away) of every scan in a plan."""
    if "Relation Name" in node or node["Node Type"] in ("CTE Scan", "Function Scan"):
        touched = (
            node["Actual Rows"] + node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
        )
        yield node.get("Relation Name", node["Node Type"]), touched * node["Actual Loops"]
    for below in node.get("Plans", []):
        yield from scans(below)


async def test_claim_on_a_young_table_looks_up_only_what_it_is_asked_for(database_url: str, pool: Pool) -> None:
    """Right after a launch a claim of 100 rows touches about 100 rows, not the campaign."""
    async with pool.acquire() as connection, connection.transaction():
        seeded = await seed_campaign(connection, [f"u{n}@x.example" for n in range(ROWS)])
        await launch_whole(connection, seeded)
    looking = await open_pool(database_url, name="look-ups", size=1, look_ups=True)
    async with looking.acquire() as connection:
        ids = [row["id"] for row in await connection.fetch("SELECT id FROM messages ORDER BY id LIMIT $1", ASKED)]
        for _ in range(2):  # the second time with whatever the first one taught the planner
            plan = json.loads(
                await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {CLAIM_SQL}", ids, [0] * ASKED, "d1", 0)
            )
            touched = [n for table, n in scans(plan[0]["Plan"]) if table == "messages"]
            assert touched
            assert max(touched) <= 2 * ASKED, json.dumps(plan)
    await looking.close()


async def grown_since_analyze(pool: Pool) -> None:
    """Two campaigns: the first one small and seen by ANALYZE, the second one large and not."""
    async with pool.acquire() as connection, connection.transaction():
        small = await seed_campaign(connection, [f"u{n}@x.example" for n in range(50)], slug="small")
        await launch_whole(connection, small)
    await pool.execute("ANALYZE")
    async with pool.acquire() as connection, connection.transaction():
        large = await seed_campaign(connection, [f"v{n}@x.example" for n in range(ROWS)], slug="large")
        await launch_whole(connection, large)


async def explained(connection: asyncpg.pool.PoolConnectionProxy, sql: str, *arguments: Any) -> dict[str, Any]:
    """The plan with what it did, taken back afterwards."""
    transaction = connection.transaction()
    await transaction.start()
    plan = json.loads(await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", *arguments))
    await transaction.rollback()
    found: dict[str, Any] = plan[0]["Plan"]
    return found


async def beside_an_old_one(pool: Pool) -> None:
    """A large campaign that is through and was seen by ANALYZE, so that rows that wait seem not to exist, and a new one."""
    async with pool.acquire() as connection:
        old = await seed_campaign(connection, [f"u{n}@x.example" for n in range(ROWS)], slug="old")
        await launch_whole(connection, old)
        await connection.execute("UPDATE messages SET state = 'accepted', attempt = 1, claimed_by = 'd0'")
        await connection.execute("UPDATE campaigns SET state = 'completed'")
        await connection.execute("VACUUM ANALYZE")
        new = await seed_campaign(connection, [f"v{n}@x.example" for n in range(2 * ASKED)], slug="new")
        await launch_whole(connection, new)


@pytest.mark.parametrize("prepared", [grown_since_analyze, beside_an_old_one])
@pytest.mark.parametrize("statement", ["claim", "record", "postpone"])
async def test_statement_whatever_the_statistics_say_looks_up_only_what_it_is_asked_for(
    database_url: str, pool: Pool, statement: str, prepared: Callable[[Pool], Awaitable[None]]
) -> None:
    """Neither a table that grew nor one in which rows that wait are rare makes it compare each row with each other."""
    await prepared(pool)
    ids = [row["id"] for row in await pool.fetch("SELECT id FROM messages ORDER BY id DESC LIMIT $1", ASKED)]
    if statement == "record":
        await pool.execute("UPDATE messages SET state = 'claimed', attempt = 1 WHERE id = ANY($1)", ids)
    nothing = [None] * ASKED
    asked: dict[str, tuple[Any, ...]] = {
        "claim": (CLAIM_SQL, ids, [0] * ASKED, "d1", 0),
        "record": (RECORD_SQL, ids, [1] * ASKED, ["accepted"] * ASKED, *([nothing] * 15)),
        "postpone": (POSTPONE_SQL, ids, [0] * ASKED, [datetime.now(UTC)] * ASKED, "busy"),
    }
    looking = await open_pool(database_url, name="look-ups", size=1, look_ups=True)
    async with looking.acquire() as connection:
        plan = await explained(connection, *asked[statement])
    await looking.close()
    touched = [n for table, n in scans(plan) if table in ("messages", "CTE Scan", "Function Scan")]
    assert touched
    assert max(touched) <= 2 * ASKED, json.dumps(plan)


async def test_end_of_all_leases_beside_a_large_ledger_looks_up_only_what_was_fed(pool: Pool) -> None:
    """An emptied belt or a dead dispatcher costs what was on the belt, and at the most one reading of the ledger."""
    await grown_since_analyze(pool)
    fed = await pool.fetchval("SELECT sum(cardinality(message_ids)) FROM feeds")
    await pool.execute(
        "UPDATE messages SET next_attempt_at = now() + interval '1 h' "
        "WHERE id IN (SELECT unnest(message_ids) FROM feeds LIMIT $1)",
        ASKED,
    )
    async with pool.acquire() as connection:
        waiting = [row["id"] for row in await connection.fetch(WAITING_ON_BELT_SQL, None)]
        found = await explained(connection, WAITING_ON_BELT_SQL, None)
        changed = await explained(connection, DUE_NOW_SQL, waiting)
    assert len(waiting) == ASKED
    assert 2 * fed < ROWS
    for plan, most in ((found, fed), (changed, await pool.fetchval("SELECT count(*) FROM messages"))):
        touched = [n for table, n in scans(plan) if table == "messages"]
        assert max(touched) <= most, json.dumps(plan)


async def test_launch_of_a_list_that_grew_since_analyze_reads_each_contact_once(pool: Pool) -> None:
    """A new tenant's list is not compared with each of its contacts, and a later page reads nobody of those before."""
    await grown_since_analyze(pool)
    async with pool.acquire() as connection:
        row = await connection.fetchrow("SELECT id, tenant_id, list_id FROM campaigns ORDER BY id DESC LIMIT 1")
        assert row is not None
        ids = [row["id"], row["tenant_id"], row["list_id"]]
        middle = await connection.fetchval(
            "SELECT contact_id FROM list_members WHERE list_id = $1 ORDER BY contact_id OFFSET $2 LIMIT 1",
            ids[2],
            ROWS // 2,
        )
        first = await explained(connection, FILL_FROM_LIST_SQL, *ids, 0, datetime.now(UTC), PAGE_ROWS)
        later = await explained(connection, FILL_FROM_LIST_SQL, *ids, middle, datetime.now(UTC), ASKED)
    for plan, most in ((first, 2 * ROWS), (later, 2 * ASKED)):
        touched = [n for table, n in scans(plan) if table in ("contacts", "list_members")]
        assert max(touched) <= most, json.dumps(plan)


@pytest.mark.parametrize("analysed", [False, True])
async def test_claim_asks_for_suppressions_by_two_look_ups_of_an_index(
    database_url: str, pool: Pool, analysed: bool
) -> None:
    """However many a tenant, its domains, the platform and other tenants have, and whatever the statistics say."""
    await grown_since_analyze(pool)
    await pool.execute(
        "INSERT INTO suppressions (tenant_id, address_key, list_id, reason) "
        "SELECT t.id, CASE n % 3 WHEN 0 THEN '@d' || n || '.example' ELSE 'gone' || n || '@x.example' END, 0, 'manual' "
        "FROM tenants t, generate_series(1, $1) n",
        ROWS,
    )
    if analysed:
        await pool.execute("ANALYZE")
    ids = [row["id"] for row in await pool.fetch("SELECT id FROM messages ORDER BY id DESC LIMIT $1", ASKED)]
    looking = await open_pool(database_url, name="look-ups", size=1, look_ups=True)
    async with looking.acquire() as connection:
        plan = await explained(connection, CLAIM_SQL, ids, [0] * ASKED, "d1", 0)
    await looking.close()
    nodes = list(nodes_of(plan))
    ways = {node["Node Type"] for node in nodes if node.get("Relation Name") == "suppressions"}
    assert ways <= {"Index Scan", "Bitmap Heap Scan"}, ways
    looked_up = [node for node in nodes if node.get("Index Name") == "ix_suppressions_address_key"]
    assert looked_up
    assert all("address_key = ANY" in node["Index Cond"] for node in looked_up)
    assert sum(n for table, n in scans(plan) if table == "suppressions") == 0, json.dumps(plan)


def nodes_of(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan's nodes, from the top."""
    yield node
    for below in node.get("Plans", []):
        yield from nodes_of(below)


async def test_page_far_into_a_campaign_reads_neither_table_from_its_beginning(pool: Pool) -> None:
    """Where the page begins costs nothing: of both tables as many rows are read as are shown."""
    await beside_an_old_one(pool)
    ((campaign_id, tenant_id),) = await pool.fetch("SELECT id, tenant_id FROM campaigns WHERE state = 'completed'")
    far = await pool.fetchval("SELECT max(id) - $2 FROM messages WHERE campaign_id = $1", campaign_id, 2 * ASKED)
    async with pool.acquire() as connection:
        plan = await explained(connection, MESSAGES_SQL, campaign_id, far, ASKED, None, tenant_id)
    touched = dict(scans(plan))
    assert touched.keys() == {"messages", "recipients"}
    assert max(touched.values()) <= 2 * ASKED, json.dumps(plan)
