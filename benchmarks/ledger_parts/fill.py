"""Fills a ledger with what campaigns of the past have left, and launches the one that is sent.

Promises: rows of the past are as the dispatcher leaves them (most accepted at the first attempt, one of
``BOUNCED_EVERY`` bounced), ``CAMPAIGNS`` campaigns one after the other, with an attempt each, counters, and for the
last of them the snapshot of its recipients, which lists of messages show. The campaign that is sent goes through the
launch of production, and has the newest ids. Vacuumed and analysed before it is launched, as autovacuum leaves it.
Units: seconds; bytes.
"""

import time
from dataclasses import dataclass

import asyncpg

from benchmarks.ledger_parts.layout import HASH_PARTITIONS, Layout, lay_out, without_indexes
from hayabin.database.engine import open_pool
from tests.support.seed import Seeded, launch_whole, seed_campaign

CAMPAIGNS = 10
BOUNCED_EVERY = 50
SUPPRESSED = 20_000
"""Addresses that must not be mailed, so that each look-up has something to pass by; none of them is in the audience."""

_CAMPAIGNS_SQL = """
INSERT INTO campaigns (tenant_id, name, state, template_version_id, list_id, domain_id, from_name, from_address, pool,
                       audience, launched_at, completed_at)
SELECT tenant_id, 'past ' || n, 'completed', template_version_id, list_id, domain_id, from_name, from_address, pool,
       $2, now() - interval '9 days', now() - interval '8 days'
FROM campaigns, generate_series(1, $3) n WHERE id = $1 RETURNING id"""

_MESSAGES_SQL = f"""
INSERT INTO messages (id, tenant_id, campaign_id, address_key, state, attempt, changed_at, claimed_by, reason)
OVERRIDING SYSTEM VALUE
SELECT n, $1, ($2::bigint[])[1 + (n - 1) / $3], 'past' || n || '@d' || n % 2000 || '.example',
       CASE WHEN n % {BOUNCED_EVERY} = 0 THEN 'bounced' ELSE 'accepted' END, 1, now() - interval '8 days',
       'dispatcher-0-0123456789', CASE WHEN n % {BOUNCED_EVERY} = 0 THEN 'user_unknown' END
FROM generate_series(1, $4::bigint) n"""  # noqa: S608 - a number of ours

_ATTEMPTS_SQL = """
INSERT INTO attempts (message_id, attempt, tenant_id, finished_at, state, phase, code, enhanced, reply, source_ip, mx,
                      lane, tls, duration_ms, address)
SELECT id, 1, tenant_id, changed_at, state, 'end_of_data', 250, '2.0.0', 'Ok: queued as 4bK2mD6Q8Tz3', '192.0.2.10',
       'mx.d1.example', 'example', true, 212, '198.51.100.25'
FROM messages"""

_RECIPIENTS_SQL = """
INSERT INTO recipients (message_id, tenant_id, campaign_id, contact_id, wire, name, variables)
SELECT id, tenant_id, campaign_id, id, address_key, 'Name ' || id, '{"company": "A company"}'
FROM messages WHERE campaign_id = $1"""

_COUNTERS_SQL = """
INSERT INTO counters (campaign_id, name, n)
SELECT campaign_id, state, count(*) FROM messages WHERE campaign_id = ANY($1) GROUP BY 1, 2"""


@dataclass(frozen=True, slots=True)
class Plan:
    """How large a ledger is, how it lies, and how many mails are sent from it."""

    layout: Layout
    past: int
    mails: int


@dataclass(frozen=True, slots=True)
class Filled:
    """A ledger that is ready."""

    seeded: Seeded
    ids: list[int]
    last_past_id: int | None
    """The last campaign of the past; None where there is none."""
    fill_s: float
    launch_s: float
    launch_wal_bytes: int


async def fill(url: str, plan: Plan) -> Filled:
    """Fill an empty schema."""
    connection = await asyncpg.connect(
        url
    )  # statements of a fill take longer than a connection of production lets them
    began_s = time.monotonic()
    span = -(-(plan.past + plan.mails + 1) // (HASH_PARTITIONS - 1))
    await lay_out(connection, plan.layout, span)
    people = [f"user{n}@d{n % 2000}.example" for n in range(plan.mails)]
    seeded = await seed_campaign(connection, people, slug="bench")
    await connection.execute(
        "INSERT INTO suppressions (tenant_id, address_key, list_id, reason) "
        "SELECT $1, 'gone' || n || '@d' || n % 2000 || '.example', 0, 'hard_bounce' FROM generate_series(1, $2::int) n",
        seeded.tenant_id,
        SUPPRESSED,
    )
    last = await _fill_past(connection, plan, seeded) if plan.past else None
    for table in ("messages", "attempts", "contacts", "list_members", "suppressions", "recipients", "counters"):
        await connection.execute(f"VACUUM ANALYZE {table}")
    filled_s = time.monotonic()
    wal = await connection.fetchval("SELECT pg_current_wal_insert_lsn()")
    pool = await open_pool(url, name="bench-launch", size=1)
    async with pool.acquire() as launching:
        await launch_whole(launching, seeded)
    launched_s = time.monotonic()
    wal_bytes = await connection.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), $1)::bigint", wal)
    rows = await connection.fetch("SELECT id FROM messages WHERE campaign_id = $1 ORDER BY id", seeded.campaign_id)
    await pool.close()
    await connection.close()
    ids = [row["id"] for row in rows]
    return Filled(seeded, ids, last, filled_s - began_s, launched_s - filled_s, wal_bytes)


async def _fill_past(connection: asyncpg.Connection, plan: Plan, seeded: Seeded) -> int:
    each = -(-plan.past // CAMPAIGNS)
    made = await connection.fetch(_CAMPAIGNS_SQL, seeded.campaign_id, each, CAMPAIGNS)
    campaigns = [row["id"] for row in made]
    await connection.execute("SET maintenance_work_mem = '512MB'")
    indexes = {table: await without_indexes(connection, table) for table in ("messages", "attempts")}
    await connection.execute(_MESSAGES_SQL, seeded.tenant_id, campaigns, each, plan.past)
    await connection.execute(_ATTEMPTS_SQL)
    for made_again in indexes.values():
        for statement in made_again.statements:
            await connection.execute(statement)
    await connection.execute("SELECT setval(pg_get_serial_sequence('messages', 'id'), $1)", plan.past)
    await connection.execute(_COUNTERS_SQL, campaigns)
    last: int = campaigns[-1]
    await connection.execute(_RECIPIENTS_SQL, last)
    await connection.execute("RESET maintenance_work_mem")
    return last
