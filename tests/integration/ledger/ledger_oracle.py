"""What a test knows of a ledger by itself, and the comparison of the two.

Promises: ``Oracle.check`` fails where the ledger breaks a promise of its own: a move that the table does not have, a
counter that is not what the rows say, an attempt kept that was not taken, a claim that no lease covers.
Units: an attempt is the number after the claim.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from hayabin.contracts.codec import decode
from hayabin.contracts.render_pb2 import RenderChunk
from hayabin.database import outbox
from hayabin.database.counters import read_counters
from hayabin.database.engine import Connection, Pool
from hayabin.domain.message import OPEN, TRANSITIONS, MessageState

FINAL = frozenset(MessageState) - OPEN
RENDER_EXCHANGE = "hayabin.render"

_ROWS_SQL = "SELECT id, tenant_id, campaign_id, address_key, state, attempt FROM messages ORDER BY id"

_UNCOVERED_SQL = """
SELECT m.id FROM messages m WHERE m.state = 'claimed' AND NOT EXISTS (
    SELECT 1 FROM feeds f WHERE m.id = ANY(f.message_ids) AND f.attempt = m.attempt - 1)"""


@dataclass(frozen=True, slots=True)
class Seen:
    """A row as it was seen last."""

    message_id: int
    tenant_id: int
    campaign_id: int
    address_key: str
    state: MessageState
    attempt: int


@dataclass(slots=True)
class Oracle:
    """Who was granted what, and what was told to whom."""

    rows: dict[int, Seen] = field(default_factory=dict)
    heard: list[tuple[int, int]] = field(default_factory=list)  # (id, attempts begun), of every chunk there ever was
    heard_at: dict[tuple[int, int], int] = field(default_factory=dict)  # the time when it was fed last, in leases
    leases_ended: int = 0  # the time
    granted: dict[tuple[int, int], str] = field(default_factory=dict)  # (id, attempt) → owner
    taken: dict[tuple[int, int], MessageState] = field(default_factory=dict)  # outcomes that the ledger took
    suppressed: set[tuple[int, str]] = field(default_factory=set)

    async def listen(self, pool: Pool) -> None:
        """Take all chunks off the outbox; nothing that was heard is ever forgotten."""
        rows: list[outbox.OutboxRow] = []

        async def publish(some: Iterable[outbox.OutboxRow]) -> None:
            rows.extend(some)

        while await outbox.relay(pool, publish):
            pass
        for row in rows:
            if row.exchange == RENDER_EXCHANGE:
                chunk = decode(RenderChunk, row.body)
                fed = [(message_id, chunk.attempt) for message_id in chunk.message_ids]
                self.heard += fed
                self.heard_at |= dict.fromkeys(fed, self.leases_ended)

    def in_hand(self, pair: tuple[int, int]) -> bool:
        """Whether a dispatcher may still have it: nobody holds a mail for two leases (``EXPIRED_SQL`` counts on that)."""
        return self.leases_ended - self.heard_at[pair] <= 1

    def grant(self, owner: str, asked: dict[int, int], answer: Iterable[int]) -> None:
        """Take note of what the gate let through."""
        for message_id in answer:
            row, attempt = self.rows[message_id], asked[message_id] + 1
            assert (message_id, attempt) not in self.granted, f"granted twice: {message_id} {attempt}"
            assert row.attempt == asked[message_id], f"granted at {attempt}, and the row was at {row.attempt}"
            assert (row.tenant_id, row.address_key) not in self.suppressed, f"granted though suppressed: {message_id}"
            self.granted[message_id, attempt] = owner

    async def check(self, connection: Connection, *, moves: int = 1) -> None:
        """Compare; a row may have made up to ``moves`` moves since the last time."""
        now = {row["id"]: Seen(*row.values()) for row in await connection.fetch(_ROWS_SQL)}
        for message_id, row in now.items():
            was = self.rows.get(message_id)
            if was is not None:
                assert row.state in _within(was.state, moves), f"{message_id}: {was.state} -> {row.state}"
                assert row.attempt - was.attempt in (0, 1), f"{message_id}: attempt {was.attempt} -> {row.attempt}"
        assert self.rows.keys() <= now.keys(), "a row is gone"
        self.rows = now
        await self._check_counters(connection)
        await self._check_attempts(connection)
        uncovered = [row["id"] for row in await connection.fetch(_UNCOVERED_SQL)]
        assert not uncovered, f"claimed under no lease, so nobody would find them: {uncovered}"

    async def _check_counters(self, connection: Connection) -> None:
        by_campaign: dict[int, Counter[str]] = {}
        for row in self.rows.values():
            by_campaign.setdefault(row.campaign_id, Counter())[row.state] += 1
        for campaign_id, counted in by_campaign.items():
            told = await read_counters(connection, campaign_id)
            assert {s: told.get(s, 0) for s in FINAL} == {s: counted[s] for s in FINAL}
            audience = await connection.fetchval("SELECT audience FROM campaigns WHERE id = $1", campaign_id)
            assert sum(told.get(s, 0) for s in FINAL) + sum(counted[s] for s in OPEN) == audience

    async def _check_attempts(self, connection: Connection) -> None:
        kept = await connection.fetch("SELECT message_id, attempt, state FROM attempts")
        assert {(row["message_id"], row["attempt"]): row["state"] for row in kept} == self.taken


def _within(state: str, moves: int) -> set[str]:
    reached = {state}
    for _ in range(moves):
        reached |= {after for one in reached for after in TRANSITIONS[MessageState(one)]}
    return reached
