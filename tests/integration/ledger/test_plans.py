"""The bulk statements read what they are asked for and nothing else, also on a table that no ANALYZE has seen."""

import json
from collections.abc import Iterator
from typing import Any

from hayabin.database.engine import Pool, open_pool
from hayabin.database.launch import launch
from hayabin.database.ledger import CLAIM_SQL
from tests.support.seed import seed_campaign

ROWS = 5000
ASKED = 100


def scans(node: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Table and rows touched (returned or filtered away) of every scan in a plan."""
    if "Relation Name" in node:
        touched = (
            node["Actual Rows"] + node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
        )
        yield node["Relation Name"], touched * node["Actual Loops"]
    for below in node.get("Plans", []):
        yield from scans(below)


async def test_claim_on_a_young_table_looks_up_only_what_it_is_asked_for(database_url: str, pool: Pool) -> None:
    """Right after a launch a claim of 100 rows touches about 100 rows, not the campaign."""
    async with pool.acquire() as connection, connection.transaction():
        seeded = await seed_campaign(connection, [f"u{n}@x.example" for n in range(ROWS)])  # type: ignore[arg-type]
        await launch(connection, seeded.campaign_id, tenant_id=seeded.tenant_id)
    looking = await open_pool(database_url, name="look-ups", size=1, look_ups=True)
    async with looking.acquire() as connection:
        ids = [row["id"] for row in await connection.fetch("SELECT id FROM messages ORDER BY id LIMIT $1", ASKED)]
        for _ in range(2):  # the second time with whatever the first one taught the planner
            plan = json.loads(
                await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {CLAIM_SQL}", ids, [0] * ASKED, "d1")
            )
            touched = [n for table, n in scans(plan[0]["Plan"]) if table == "messages"]
            assert touched
            assert max(touched) <= 2 * ASKED, json.dumps(plan)
    await looking.close()
