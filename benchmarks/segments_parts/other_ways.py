"""What was not chosen, and what was, by its price: an index on attributes, and the index on who got a campaign.

Promises: rows are written in batches into copies of the tables, once with the index and once without, in turns; the
figure is the median. Units: microseconds for a row; milliseconds for a count.
"""

import statistics
import time
from typing import Any

from hayabin.database.engine import Connection

_ROUNDS = 3


async def prices(connection: Connection, rows: int) -> dict[str, Any]:
    """What each index costs whoever writes, and what the one on attributes would gain."""
    return {
        "rows": rows,
        "gin_on_attributes": {
            **await _writing(connection, "contacts", "USING gin (attributes jsonb_path_ops)", rows),
            **await _gain(connection),
        },
        "campaign_and_contact_on_recipients": await _writing(
            connection, "recipients", "(campaign_id, contact_id) INCLUDE (message_id)", rows
        ),
    }


async def _writing(connection: Connection, table: str, index: str, rows: int) -> dict[str, float]:
    """Microseconds to insert a row, without and with the index."""
    copy = f"INSERT INTO price OVERRIDING SYSTEM VALUE SELECT * FROM {table} ORDER BY 1 OFFSET $1 LIMIT 5000"  # noqa: S608 - a name of ours
    times: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(_ROUNDS):
        for indexed in (False, True):
            await connection.execute(f"CREATE TABLE price (LIKE {table} INCLUDING ALL)")
            for name in await _indexes(connection):
                if "campaign_id_contact_id" in name:
                    await connection.execute(f"DROP INDEX {name}")
            if indexed:
                await connection.execute(f"CREATE INDEX ON price {index}")
            began_s = time.perf_counter()
            for start in range(0, rows, 5000):
                await connection.execute(copy, start)
            times[indexed].append((time.perf_counter() - began_s) * 1e6 / rows)
            await connection.execute("DROP TABLE price")
    return {
        "us_a_row_without": round(statistics.median(times[False]), 1),
        "us_a_row_with": round(statistics.median(times[True]), 1),
    }


async def _indexes(connection: Connection) -> list[str]:
    return [
        row["indexname"] for row in await connection.fetch("SELECT indexname FROM pg_indexes WHERE tablename = 'price'")
    ]


async def _gain(connection: Connection) -> dict[str, Any]:
    """Count by containment with the index; for the whole table, as a tenant could not under row-level security."""
    sql = 'SELECT count(*) FROM contacts c WHERE c.attributes @> \'{"plan": "gold"}\''
    await connection.execute("CREATE INDEX bench_gin ON contacts USING gin (attributes jsonb_path_ops)", timeout=1200)
    times = []
    for _ in range(5):
        began_s = time.perf_counter()
        await connection.fetchval(sql)
        times.append((time.perf_counter() - began_s) * 1000)
    size = await connection.fetchval("SELECT pg_relation_size('bench_gin')")
    plan = [row[0] for row in await connection.fetch(f"EXPLAIN (ANALYZE) {sql}")]
    await connection.execute("DROP INDEX bench_gin")
    return {"bytes": size, "count_ms": round(statistics.median(times), 1), "plan": plan}
