"""What a mail costs the ledger: versions of its row, how many of them HOT, and bytes of WAL.

Units: per mail; bytes.
"""

import asyncio
from dataclasses import dataclass

import asyncpg

# Partitions and all; the statistics of sessions that have ended are in.
_SQL = """
SELECT COALESCE(sum(s.n_tup_ins), 0)::bigint AS inserted, COALESCE(sum(s.n_tup_upd), 0)::bigint AS updated,
       COALESCE(sum(s.n_tup_hot_upd), 0)::bigint AS hot,
       pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint AS wal_bytes
FROM pg_stat_user_tables s
WHERE s.relid = 'messages'::regclass OR s.relid IN (SELECT relid FROM pg_partition_tree('messages'::regclass))"""
_SETTLED_S = 1.0
"""A session tells the statistics at its end, which is a moment after its connection was closed."""


@dataclass(frozen=True, slots=True)
class Versions:
    """Counts so far."""

    inserted: int
    updated: int
    hot: int
    wal_bytes: int

    def per_mail(self, before: "Versions", mails: int) -> dict[str, float]:
        """What one of so many mails cost since ``before``."""
        updated = self.updated - before.updated
        return {
            "updates": round(updated / mails, 3),
            "hot_share": round((self.hot - before.hot) / updated, 4) if updated else 1.0,
            "wal_bytes": round((self.wal_bytes - before.wal_bytes) / mails, 1),
        }


async def versions(connection: asyncpg.Connection) -> Versions:
    """Read the counts."""
    await asyncio.sleep(_SETTLED_S)
    row = await connection.fetchrow(_SQL)
    if row is None:
        raise SystemExit("no statistics of the ledger")
    return Versions(row["inserted"], row["updated"], row["hot"], row["wal_bytes"])
