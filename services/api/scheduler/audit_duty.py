"""The audit log is linked into one chain for each tenant, a moment after its lines were written.

Promises: lines come into the chain in the order in which their transactions became visible, each once, by one replica
at a time (advisory lock), so no chain forks; nobody who writes a line waits for anybody. The heads are logged from time
to time: a log that is kept elsewhere shows then where the end of a chain was removed together with its head.
Fails: database errors come out; the lines stay pending for the next turn.
"""

from typing import Final

from hayabin.database.engine import Pool
from hayabin.domain.audit_chain import ROOT, linked
from hayabin.telemetry.logging import get_logger
from services.api.audit_lines import line_of

LINK_LOCK: Final = 7246009
LINES_A_TURN: Final = 2000

_PENDING_SQL = "SELECT * FROM audit_pending ORDER BY entry_id LIMIT $1"
_HEADS_SQL = "SELECT tenant_id, seq, hash FROM audit_heads WHERE tenant_id = ANY($1) FOR UPDATE"

_LINK_SQL = """
WITH moved AS (DELETE FROM audit_pending WHERE entry_id = ANY($1::bigint[]) RETURNING *)
INSERT INTO audit_log (tenant_id, at, actor, key_id, user_id, action, object_type, object_id, trace_id, ip, detail,
                       entry_id, seq, prev_hash, hash)
SELECT m.tenant_id, m.at, m.actor, m.key_id, m.user_id, m.action, m.object_type, m.object_id, m.trace_id, m.ip,
       m.detail, m.entry_id, l.seq, l.prev_hash, l.hash
FROM moved m JOIN unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bytea[]) AS l(entry_id, seq, prev_hash, hash)
    USING (entry_id)"""

_HEAD_SQL = """
INSERT INTO audit_heads (tenant_id, seq, hash) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[])
ON CONFLICT (tenant_id) DO UPDATE SET seq = excluded.seq, hash = excluded.hash, linked_at = now()"""


async def link_lines(pool: Pool) -> int:
    """Link what is pending, up to a number of lines; returns how many."""
    async with pool.acquire() as connection, connection.transaction():
        if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", LINK_LOCK):
            return 0
        pending = await connection.fetch(_PENDING_SQL, LINES_A_TURN)
        if not pending:
            return 0
        tenants = sorted({row["tenant_id"] for row in pending})
        heads = dict.fromkeys(tenants, (0, ROOT))
        for head in await connection.fetch(_HEADS_SQL, tenants):
            heads[head["tenant_id"]] = (head["seq"], head["hash"])
        links = []
        for row in pending:
            before_seq, before = heads[row["tenant_id"]]
            seq = before_seq + 1
            after = linked(before, seq, line_of(row))
            links.append((row["entry_id"], seq, before, after))
            heads[row["tenant_id"]] = (seq, after)
        await connection.execute(_LINK_SQL, *(list(column) for column in zip(*links, strict=True)))
        last = [heads[tenant_id] for tenant_id in tenants]
        await connection.execute(_HEAD_SQL, tenants, [seq for seq, _ in last], [hash_ for _, hash_ in last])
        return len(links)


class HeadLog:
    """Logs each tenant's head where it has moved since this process logged it last."""

    def __init__(self) -> None:
        """Begin with nothing logged, so that the first turn logs all."""
        self._logged: dict[int, int] = {}

    async def turn(self, pool: Pool) -> None:
        """Log what has moved."""
        for row in await pool.fetch("SELECT tenant_id, seq, hash FROM audit_heads ORDER BY tenant_id"):
            if self._logged.get(row["tenant_id"]) != row["seq"]:
                get_logger().info("audit_head", tenant_id=row["tenant_id"], seq=row["seq"], hash=row["hash"].hex())
                self._logged[row["tenant_id"]] = row["seq"]
