"""Campaigns of the scheduler's tests: launched, attempted through the gate, looked at."""

from hayabin.database import feeds, ledger
from hayabin.database.counters import read_counters
from hayabin.database.engine import Pool
from hayabin.database.launch import launch
from hayabin.database.ledger import Outcome
from hayabin.domain.campaign import MessageClass, UnknownPolicy
from hayabin.domain.message import OPEN, MessageState
from tests.support.seed import Seeded, seed_campaign

HOLD = dict.fromkeys(MessageClass, UnknownPolicy.HOLD)
RESEND = dict.fromkeys(MessageClass, UnknownPolicy.RESEND_ONCE)


async def start(pool: Pool, message_class: str = "transactional", people: int = 2) -> tuple[Seeded, list[int]]:
    """A launched campaign, and the ids of its messages."""
    async with pool.acquire() as connection, connection.transaction():
        seeded = await seed_campaign(
            connection,
            [f"u{n}@x.example" for n in range(people)],
            slug=message_class,
            message_class=message_class,
        )
        await launch(connection, seeded.campaign_id, tenant_id=seeded.tenant_id)
    rows = await pool.fetch("SELECT id FROM messages WHERE campaign_id = $1 ORDER BY id", seeded.campaign_id)
    return seeded, [row["id"] for row in rows]


async def attempt(pool: Pool, message_id: int, begun: int, state: MessageState) -> None:
    """One attempt through the gate, with its outcome; ``begun`` counts those before it."""
    async with pool.acquire() as connection, connection.transaction():
        assert await ledger.claim(connection, [(message_id, begun)], "d1")
        assert await ledger.record(connection, [Outcome(message_id, begun + 1, state)])


async def lose_claim(pool: Pool, message_id: int, begun: int) -> None:
    """A claim whose dispatcher died long ago."""
    async with pool.acquire() as connection:
        assert await ledger.claim(connection, [(message_id, begun)], "dead")
    await pool.execute("UPDATE messages SET changed_at = now() - interval '1 minute' WHERE id = $1", message_id)


async def feed(pool: Pool) -> None:
    """Put on the belt what is due again."""
    async with pool.acquire() as connection, connection.transaction():
        for name in MessageClass:
            await feeds.feed_retries(connection, name, 100)


async def state_of(pool: Pool, message_id: int) -> tuple[str, int, str | None]:
    """State, attempts and reason."""
    row = await pool.fetchrow("SELECT state, attempt, reason FROM messages WHERE id = $1", message_id)
    assert row is not None
    return row["state"], row["attempt"], row["reason"]


async def campaign_state(pool: Pool, campaign_id: int) -> str:
    """The campaign's state."""
    return str(await pool.fetchval("SELECT state FROM campaigns WHERE id = $1", campaign_id))


async def assert_counted(pool: Pool, campaign_id: int) -> None:
    """The counters are the ledger."""
    async with pool.acquire() as connection:
        counted = await read_counters(connection, campaign_id)
    rows = await pool.fetch("SELECT state, count(*) AS n FROM messages WHERE campaign_id = $1 GROUP BY 1", campaign_id)
    final = {row["state"]: row["n"] for row in rows if row["state"] not in OPEN}
    assert {name: n for name, n in counted.items() if name in set(MessageState) - OPEN and n} == final
