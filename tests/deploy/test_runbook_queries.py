"""The SQL of the runbooks runs on the schema that the migrations make."""

import re

import asyncpg

from tests.deploy.rendering import ROOT

RUNBOOKS = sorted((ROOT / "docs" / "runbooks").glob("*.md"))


async def test_queries_of_every_runbook_run_on_a_migrated_database(database_url: str) -> None:
    """Each query runs on a migrated database, in a transaction that may only read; all that fail are named."""
    queries = [
        (path.stem, query)
        for path in RUNBOOKS
        for query in re.findall(r"```sql\n(.+?)```", path.read_text(), re.DOTALL)
    ]
    connection = await asyncpg.connect(database_url)
    failed = {}
    try:
        for runbook, query in queries:
            try:
                async with connection.transaction(readonly=True):
                    await connection.execute(query)
            except asyncpg.PostgresError as error:
                failed[runbook] = str(error)
    finally:
        await connection.close()

    assert len(queries) >= 8
    assert failed == {}
