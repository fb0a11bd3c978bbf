"""A campaign that was sent: its people, its ledger, its attempts, by the ways of production.

Promises: contacts are copied in; the launch and every outcome go through ``hayabin.database``, so that rows, counters
and row versions are as after a real run. Of a hundred mails 97 were accepted, two bounced, one is unknown.
"""

from typing import Any

import asyncpg

from benchmarks.newsletter import newsletter
from hayabin.database import counters, ledger
from hayabin.database.engine import open_pool
from hayabin.database.ledger import Outcome
from hayabin.domain.message import MessageState
from tests.support.seed import Seeded, launch_whole, seed_campaign

_BATCH = 2000


async def send_campaign(url: str, addresses: list[str], *, slug: str) -> tuple[Seeded, list[int]]:
    """Seed, launch and settle a campaign; returns its ids and those of its messages."""
    seeding = await asyncpg.connect(url)
    seeded = await seed_campaign(seeding, addresses, slug=slug, compiled=newsletter().to_json())
    await seeding.close()
    pool = await open_pool(url, name="bench", size=2)
    await pool.execute("ANALYZE")
    async with pool.acquire() as connection:
        await launch_whole(connection, seeded)
    rows = await pool.fetch("SELECT id FROM messages WHERE campaign_id = $1 ORDER BY id", seeded.campaign_id)
    ids = [row["id"] for row in rows]
    for start in range(0, len(ids), _BATCH):
        batch = ids[start : start + _BATCH]
        async with pool.acquire() as connection, connection.transaction():
            await ledger.claim(connection, [(message_id, 0) for message_id in batch], "benchmark")
            await ledger.record(connection, [_outcome(message_id) for message_id in batch])
    async with pool.acquire() as connection:
        await counters.fold(connection)
    await pool.execute("VACUUM ANALYZE")
    await pool.close()
    return seeded, ids


def _outcome(message_id: int) -> Outcome:
    lane: dict[str, Any] = {
        "source_ip": "127.0.0.2",
        "mx": "mx1.example",
        "lane": "default@127.0.0.2",
        "duration_ms": 40,
    }
    match message_id % 100:
        case 1 | 2:
            refused: dict[str, Any] = {
                "reason": "user_unknown",
                "code": 550,
                "enhanced": "5.1.1",
                "reply": "550 5.1.1 no such user here",
            }
            return Outcome(message_id, 1, MessageState.BOUNCED, **refused, **lane)
        case 3:
            return Outcome(message_id, 1, MessageState.UNKNOWN, reason="reply_lost", **lane)
        case _:
            return Outcome(message_id, 1, MessageState.ACCEPTED, code=250, reply="250 ok", **lane)
