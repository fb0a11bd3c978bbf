"""Mails for the dispatcher without a renderer: rows of a launched campaign, batches published as a renderer would.

Promises: the ledger has each row as due, its lease is alive, and a batch has up to 50 mails of one lane, compressed as
the renderer's; the content differs from mail to mail as much as a newsletter's (names, tokens), so it compresses alike.
What is postponed or deferred and due again is published again (``feed_for_ever``), as the feeder and a renderer do it.
"""

import asyncio
import base64
import random
import secrets
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from benchmarks.newsletter import newsletter
from hayabin.broker import Broker, Outgoing
from hayabin.broker.topology import DISPATCH
from hayabin.contracts.codec import encode
from hayabin.contracts.dispatch_pb2 import Mail, MailBatch
from hayabin.database.engine import Pool
from hayabin.domain.lane import lane_of
from tests.support.seed import launch_whole, seed_campaign

MAILS_PER_BATCH = 50
FEED_S = 0.25
_LEASE_S = 600
_PUBLISHED_AT_ONCE = 40
_TOKENS = 12


@dataclass(slots=True)
class Belt:
    """What is published for one campaign; ``content_bytes`` is about the size of a mail."""

    pool: Pool
    broker: Broker
    ip_pool: str
    content_bytes: int
    campaign_id: int = 0
    fed_again: int = 0

    async def launch(self, addresses: Sequence[str]) -> None:
        """Launch a campaign to these addresses; nothing is published yet."""
        async with self.pool.acquire() as connection, connection.transaction():
            seeded = await seed_campaign(
                connection,
                list(addresses),
                slug=f"bench-{secrets.token_hex(4)}",
                pool=self.ip_pool,
            )
            await launch_whole(connection, seeded)
        self.campaign_id = seeded.campaign_id
        for table in ("messages", "recipients"):  # as autovacuum would have done after a while
            await self.pool.execute(f"ANALYZE {table}")

    async def publish(self, ids: Sequence[int] | None = None) -> int:
        """Publish what waits (of ``ids``), in the order of the ledger; returns how many mails."""
        rows = await self.pool.fetch(
            "SELECT m.id, m.attempt, m.tenant_id, r.wire FROM messages m JOIN recipients r ON r.message_id = m.id "
            "WHERE m.campaign_id = $1 AND m.state IN ('due', 'deferred') AND ($2::bigint[] IS NULL OR m.id = ANY($2)) "
            "ORDER BY m.id",
            self.campaign_id,
            ids,
        )
        batches = self._batches(rows)
        for start in range(0, len(batches), _PUBLISHED_AT_ONCE):
            await self.broker.publish([self._outgoing(*batch) for batch in batches[start : start + _PUBLISHED_AT_ONCE]])
            await asyncio.sleep(0)
        return len(rows)

    async def feed_for_ever(self) -> None:
        """Publish what is due again."""
        while True:
            await asyncio.sleep(FEED_S)
            rows = await self.pool.fetch(
                "UPDATE messages SET next_attempt_at = now() + interval '5 minutes' "
                "WHERE id IN (SELECT id FROM messages WHERE campaign_id = $1 AND state IN ('due', 'deferred') "
                "AND next_attempt_at <= now() ORDER BY next_attempt_at LIMIT 10000) RETURNING id",
                self.campaign_id,
            )
            if rows:
                self.fed_again += await self.publish([row["id"] for row in rows])

    @staticmethod
    def _batches(rows: Sequence[asyncpg.Record]) -> list[tuple[str, list[asyncpg.Record]]]:
        """Cut into batches: each has up to 50 mails of a lane and attempt; full ones leave in the order of the rows."""
        batches: list[tuple[str, list[asyncpg.Record]]] = []
        gathering: dict[tuple[str, int], list[asyncpg.Record]] = defaultdict(list)
        for row in rows:
            lane = lane_of(row["wire"].rpartition("@")[2], "bulk")
            mine = gathering[lane, row["attempt"]]
            mine.append(row)
            if len(mine) == MAILS_PER_BATCH:
                batches.append((lane, mine))
                gathering[lane, row["attempt"]] = []
        return [*batches, *((lane, mine) for (lane, _), mine in gathering.items() if mine)]

    def _outgoing(self, lane: str, rows: Sequence[asyncpg.Record]) -> Outgoing:
        batch = MailBatch(
            tenant_id=rows[0]["tenant_id"],
            campaign_id=self.campaign_id,
            attempt=rows[0]["attempt"],
            pool=self.ip_pool,
            lane=lane,
            mails=[
                Mail(
                    message_id=row["id"],
                    return_path=f"b{row['id']}@bounce.hayabin.example",
                    recipient=row["wire"],
                    content=content(row["id"], self.content_bytes),
                )
                for row in rows
            ],
            lease_expires_ms=int((time.time() + _LEASE_S) * 1000),
            launched_ms=int(time.time() * 1000),
        )
        return Outgoing(DISPATCH, f"{self.ip_pool}.{lane}", encode(batch))


def _body_lines() -> list[bytes]:
    """Give the lines of the newsletter as it stands in a mail: HTML in base64."""
    return base64.encodebytes((newsletter().html or "").encode()).splitlines()


_LINES = _body_lines()


def content(number: int, size_bytes: int) -> bytes:
    """Give a mail of about this size: headers, a signature and tokens of its own, the rest shared by all."""
    own = random.Random(number)
    tokens = [base64.b64encode(own.randbytes(24)) for _ in range(_TOKENS)]
    head = (
        b"From: news@bench.example\r\nSubject: =?utf-8?b?5LuK6YCx44Gu44GK55+l44KJ44Gb?=\r\n"
        b"Message-ID: <%d@bench.example>\r\nDKIM-Signature: v=1; a=rsa-sha256; d=bench.example; s=rsa; b=%s\r\n"
        b"MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    ) % (number, base64.b64encode(own.randbytes(256)))
    wanted = max(_TOKENS, (size_bytes - len(head)) // 78)
    lines = (_LINES * (wanted // len(_LINES) + 1))[:wanted]
    for place, token in enumerate(tokens):
        lines[place * wanted // _TOKENS] = token
    return head + b"\r\n".join(lines) + b"\r\n"
