"""People to count: contacts with five attributes, lists, campaigns that they received, what they opened and clicked.

Promises: a tenant has ``contacts`` of them, another one a tenth of that in the same tables; every campaign of the past
went to four in ten, its events are spread over a year, and what contacts did last is what the events say. Everything is
vacuumed and analysed, as autovacuum leaves it.
"""

from dataclasses import dataclass

from benchmarks.engine_parts.stage import say
from hayabin.database.engine import Pool

CAMPAIGNS = 10
REACHED = 10, 4
"""Of ten contacts, so many get a campaign."""

_CONTACTS_SQL = """
INSERT INTO contacts (tenant_id, address, wire, address_key, name, locale, stage, attributes, created_at)
SELECT $1, a, a, a, '田中 ' || n, CASE WHEN n % 12 = 0 THEN 'en' ELSE 'ja' END,
       (ARRAY['', '', '見込み', '見積', '成約', '失注'])[1 + (hashint8(n) & 2147483647) % 6],
       jsonb_build_object(
           'plan', (ARRAY['free', 'free', 'free', 'silver', 'gold'])[1 + ((hashint8(n * 3) & 2147483647) % 5)],
           'company', 'サンプル商事 ' || n % 20000, 'prefecture', 'p' || (hashint8(n * 7) & 2147483647) % 47,
           'age', 18 + (hashint8(n * 11) & 2147483647) % 70,
           'joined', to_char(date '2015-01-01' + (n % 4000)::int, 'YYYY-MM-DD')),
       now() - make_interval(days => (n % 1500)::int)
FROM (SELECT n, 'user' || n || '@d' || n % 5000 || '.example' AS a FROM generate_series(1, $2::bigint) n) g"""

_LIST_SQL = """
WITH l AS (INSERT INTO lists (tenant_id, name) VALUES ($1, $2) RETURNING id)
INSERT INTO list_members (list_id, contact_id, state, consent)
SELECT l.id, c.id, CASE WHEN c.id % 7 = 0 THEN 'unsubscribed' ELSE 'subscribed' END,
       CASE WHEN c.id % 5 = 0 THEN 'form' ELSE 'import' END
FROM contacts c CROSS JOIN l WHERE c.tenant_id = $1 AND c.id % $3::bigint = 0 RETURNING list_id"""

_LEDGER_SQL = """
WITH led AS (
    INSERT INTO messages (tenant_id, campaign_id, address_key, state, attempt, changed_at)
    SELECT $1, $2, c.id::text, CASE WHEN c.id % 50 = 0 THEN 'bounced' ELSE 'accepted' END, 1,
           now() - make_interval(days => $3)
    FROM contacts c WHERE c.tenant_id = $1 AND (c.id + $2) % 10 < $4 ORDER BY c.id
    RETURNING id, address_key)
INSERT INTO recipients (message_id, tenant_id, campaign_id, contact_id, wire, name, variables)
SELECT id, $1, $2, address_key::bigint, address_key, '田中', '{"company": "サンプル商事"}' FROM led"""

_EVENTS_SQL = """
INSERT INTO events (event_id, tenant_id, campaign_id, message_id, kind, occurred_at)
SELECT decode(lpad(to_hex(n), 32, '0'), 'hex'), $1, m.campaign_id, m.id,
       CASE WHEN n % 4 = 0 THEN 'click' ELSE 'open' END,
       now() - make_interval(secs => ((hashint8(n) & 2147483647) % 31536000))
FROM generate_series(1, $2::bigint) n JOIN messages m ON m.id = 1 + (hashint8(n * 13) & 2147483647) % $3::bigint"""

_ENGAGED_SQL = """
INSERT INTO engagements (message_id, kind, first_at)
SELECT message_id, kind, min(occurred_at) FROM events GROUP BY message_id, kind"""

_ACTIVE_SQL = """
INSERT INTO contact_activity (tenant_id, contact_id, last_received_at, last_opened_at, last_clicked_at)
SELECT r.tenant_id, r.contact_id, max(m.changed_at) FILTER (WHERE m.state = 'accepted'), max(e.opened_at),
       max(e.clicked_at)
FROM recipients r JOIN messages m ON m.id = r.message_id
LEFT JOIN (SELECT message_id, max(occurred_at) FILTER (WHERE kind = 'open') AS opened_at,
                  max(occurred_at) FILTER (WHERE kind = 'click') AS clicked_at FROM events GROUP BY message_id) e
     ON e.message_id = r.message_id
GROUP BY r.tenant_id, r.contact_id ORDER BY r.contact_id"""

_EVENT_INDEXES = ("ix_events_message_id", "ix_events_campaign_id_kind")


@dataclass(frozen=True, slots=True)
class Population:
    """Ids of what was written, and how much it is."""

    tenant_id: int
    lists: tuple[int, int]
    campaigns: tuple[int, ...]
    sizes: dict[str, int]


async def populate(pool: Pool, contacts: int, events: int) -> Population:
    """Write everybody and everything that they did."""
    tenant_id = await pool.fetchval("INSERT INTO tenants (slug, name) VALUES ('bench', 'bench') RETURNING id")
    other_id = await pool.fetchval("INSERT INTO tenants (slug, name) VALUES ('other', 'other') RETURNING id")
    say(f"{contacts} contacts")
    await pool.execute(_CONTACTS_SQL, other_id, contacts // 10, timeout=600)
    await pool.execute(_CONTACTS_SQL, tenant_id, contacts, timeout=600)
    lists = [
        await pool.fetchval(_LIST_SQL, tenant_id, name, each, timeout=600) for name, each in (("all", 1), ("few", 20))
    ]
    campaigns = await _campaigns(pool, tenant_id)
    for place, campaign_id in enumerate(campaigns):
        say(f"campaign {place + 1} of {CAMPAIGNS}")
        await pool.execute(_LEDGER_SQL, tenant_id, campaign_id, 20 + 25 * place, REACHED[1], timeout=600)
    say(f"{events} events")
    for index in _EVENT_INDEXES:
        await pool.execute(f"DROP INDEX {index}")
    messages = await pool.fetchval("SELECT max(id) FROM messages")
    await pool.execute(_EVENTS_SQL, tenant_id, events, messages, timeout=1200)
    await pool.execute("CREATE INDEX ix_events_message_id ON events (message_id)", timeout=600)
    await pool.execute("CREATE INDEX ix_events_campaign_id_kind ON events (campaign_id, kind)", timeout=600)
    await pool.execute(_ENGAGED_SQL, timeout=1200)
    await pool.execute(_ACTIVE_SQL, timeout=1200)
    say("vacuum")
    await pool.execute("VACUUM ANALYZE", timeout=1200)
    return Population(tenant_id, (lists[0], lists[1]), campaigns, await _sizes(pool))


async def _campaigns(pool: Pool, tenant_id: int) -> tuple[int, ...]:
    template_id = await pool.fetchval(
        "INSERT INTO templates (tenant_id, name) VALUES ($1, 't') RETURNING id", tenant_id
    )
    version_id = await pool.fetchval(
        "INSERT INTO template_versions (template_id, number, kind, subject, source, compiled, published_at) "
        "VALUES ($1, 1, 'html', '', '', '{}', now()) RETURNING id",
        template_id,
    )
    domain_id = await pool.fetchval("INSERT INTO domains (tenant_id, name) VALUES ($1, 'd') RETURNING id", tenant_id)
    await pool.execute("INSERT INTO ip_pools (name) VALUES ('main') ON CONFLICT DO NOTHING")
    rows = await pool.fetch(
        "INSERT INTO campaigns (tenant_id, name, state, template_version_id, domain_id, from_name, from_address, pool, "
        "launched_at, completed_at) SELECT $1, 'past', 'completed', $2, $3, '', '', 'main', now() - interval '20 d', "
        "now() - interval '19 d' FROM generate_series(1, $4) RETURNING id",
        tenant_id,
        version_id,
        domain_id,
        CAMPAIGNS,
    )
    return tuple(row["id"] for row in rows)


async def _sizes(pool: Pool) -> dict[str, int]:
    """Rows and bytes (with indexes) of each table."""
    found = {}
    for table in ("contacts", "list_members", "contact_activity", "recipients", "messages", "events", "engagements"):
        found[f"{table}_rows"] = await pool.fetchval(f"SELECT count(*) FROM {table}", timeout=600)  # noqa: S608 - names of ours
        found[f"{table}_bytes"] = await pool.fetchval(f"SELECT pg_total_relation_size('{table}')")
    return found
