"""How the ledger lies in a database: one table as in production, or partitions, made here by DDL alone.

Promises: columns, checks, fill factor and indexes are those of the migrations, but for what the layout says; the
primary key of ``BY_CAMPAIGN`` has the campaign as well, since PostgreSQL wants the partition key in it.
"""

from dataclasses import dataclass
from enum import StrEnum

import asyncpg

HASH_PARTITIONS = 16
FILLFACTOR, TIGHT_FILLFACTOR = 50, 70
_COPY_SQL = "LIKE messages INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING IDENTITY"


class Layout(StrEnum):
    """What the ledger is cut by."""

    WHOLE = "whole"
    """One table: that of the migrations."""
    TIGHT = "tight"
    """One table whose pages are filled to ``TIGHT_FILLFACTOR``: no room for two more versions of each row."""
    BY_CAMPAIGN = "by_campaign"
    """Hash of the campaign: the rows of a campaign are together, an id says nothing of where its row is."""
    BY_ID = "by_id"
    """Ranges of ids: an id names its partition, and old ones can be dropped whole."""


@dataclass(frozen=True, slots=True)
class Indexes:
    """The statements that make what ``without_indexes`` took away."""

    statements: list[str]


async def lay_out(connection: asyncpg.Connection, layout: Layout, span: int) -> None:
    """Replace the empty ledger by one of that layout; ``span`` is the ids of one partition of ``BY_ID``."""
    match layout:
        case Layout.WHOLE:
            return
        case Layout.TIGHT:
            await connection.execute(f"ALTER TABLE messages SET (fillfactor = {TIGHT_FILLFACTOR})")
            return
        case Layout.BY_CAMPAIGN:
            by, key = "HASH (campaign_id)", "id, campaign_id"
            parts = [
                f"FOR VALUES WITH (MODULUS {HASH_PARTITIONS}, REMAINDER {number})" for number in range(HASH_PARTITIONS)
            ]
        case Layout.BY_ID:
            by, key = "RANGE (id)", "id"
            parts = [f"FOR VALUES FROM ({n * span}) TO ({(n + 1) * span})" for n in range(HASH_PARTITIONS)]
    await connection.execute(
        f"CREATE TABLE parted ({_COPY_SQL}) PARTITION BY {by};"
        "DROP TABLE messages CASCADE; ALTER TABLE parted RENAME TO messages"
    )
    for number, values in enumerate(parts):
        await connection.execute(
            f"CREATE TABLE messages_{number} PARTITION OF messages {values} WITH (fillfactor = {FILLFACTOR})"
        )
    await connection.execute(
        f"ALTER TABLE messages ADD CONSTRAINT pk_messages PRIMARY KEY ({key});"
        "CREATE INDEX ix_messages_campaign_id_id ON messages (campaign_id, id);"
        "CREATE INDEX ix_messages_next_attempt_at ON messages (next_attempt_at) WHERE next_attempt_at IS NOT NULL"
    )


async def without_indexes(connection: asyncpg.Connection, table: str) -> Indexes:
    """Take the indexes of a table away, for a fill; returns how they are made again."""
    keys = await connection.fetch(
        "SELECT conname, pg_get_constraintdef(oid) AS definition FROM pg_constraint "
        "WHERE conrelid = $1::regclass AND contype = 'p'",
        table,
    )
    others = await connection.fetch(
        "SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS definition FROM pg_index i "
        "WHERE i.indrelid = $1::regclass AND NOT i.indisprimary",
        table,
    )
    for key in keys:
        await connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {key['conname']}")
    for index in others:
        await connection.execute(f"DROP INDEX {index['name']}")
    return Indexes(
        [f"ALTER TABLE {table} ADD CONSTRAINT {key['conname']} {key['definition']}" for key in keys]
        + [index["definition"] for index in others]
    )
