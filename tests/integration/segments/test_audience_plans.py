"""A page of an audience by rules looks up its own people and nobody else, also on tables that no ANALYZE has seen."""

import json
from datetime import UTC, datetime

import pytest

from hayabin.database.audience import by_definition
from hayabin.database.audience_sql import Audience
from hayabin.database.engine import Pool
from hayabin.domain.audience import AudienceDefinition
from hayabin.domain.segment import AnyOf
from hayabin.domain.segment_rules import parse
from tests.integration.ledger.test_plans import explained, scans
from tests.support.seed import launch_whole, seed_campaign

PEOPLE, WINDOW = 5000, 100
TABLES = ("contacts", "list_members", "contact_activity", "recipients", "messages", "suppressions")


@pytest.mark.parametrize("analysed", [False, True])
@pytest.mark.parametrize("includes", ["lists", "segments"])
async def test_page_by_rules_touches_what_it_looks_at(pool: Pool, includes: str, analysed: bool) -> None:
    """Each rule, each exclusion and each limit is a look-up for each of a hundred people."""
    async with pool.acquire() as connection:
        seeded = await seed_campaign(connection, [f"u{n}@x.example" for n in range(PEOPLE)])
        await launch_whole(connection, seeded)
        await connection.execute(
            "INSERT INTO contact_activity (tenant_id, contact_id, last_opened_at) SELECT tenant_id, id, now() FROM contacts"
        )
        if analysed:
            await connection.execute("VACUUM ANALYZE")
        rules = {
            "any": [{"activity": "opened", "is": "within_last_days", "value": 9}, {"field": "stage", "is": "is_set"}]
        }
        middle = await connection.fetchval("SELECT id FROM contacts ORDER BY id OFFSET $1 LIMIT 1", PEOPLE // 2)
        audience = Audience(
            campaign_id=seeded.campaign_id, tenant_id=seeded.tenant_id, list_id=seeded.list_id,
            definition=AudienceDefinition(
                include_lists=(seeded.list_id,), include_segments=(1,) if includes == "segments" else (),
                exclude_segments=(2,), exclude_campaigns=(seeded.campaign_id + 1,),
            ),
            nested={1: parse(rules, {}), 2: AnyOf((parse({"list": "any", "is": "consent_in", "value": ["api"]}, {}),))},
            now=datetime.now(UTC), needs_evidence=False, cap=3, cap_since=datetime(2026, 1, 1, tzinfo=UTC),
            cap_campaigns=(seeded.campaign_id,), same_content=(seeded.campaign_id + 2,),
        )  # fmt: skip
        sql, parameters = by_definition(audience, middle, WINDOW)
        for cost in ("enable_sort", "enable_bitmapscan"):  # as ``segments.bounded`` sets them
            await connection.execute(f"SET {cost} = off")
        plan = await explained(connection, sql, *parameters.values)
    touched: dict[str, float] = {}
    for table, n in scans(plan):
        if table in TABLES:
            touched[table] = max(n, touched.get(table, 0))
    assert {"contacts", "list_members", "recipients", "messages"} <= touched.keys()
    assert max(touched.values()) <= 3 * WINDOW, (touched, json.dumps(plan))
