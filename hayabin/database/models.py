"""The schema, as SQLAlchemy Core tables; migrations are checked against it (``alembic check``).

Promises: every table of a tenant has ``tenant_id``; the two hot tables are ``recipients`` (immutable: who, with pinned
variables) and ``messages`` (the ledger: small rows, fillfactor 50, no index that names ``state``, so that a claim and
an outcome are HOT updates).
Fails: constraints refuse states that are not in ``hayabin.domain``; see the names ``ck_*``.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from hayabin.domain.campaign import CampaignState, MergePolicy, MessageClass
from hayabin.domain.message import MessageState

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _identity() -> Column[int]:
    return Column("id", BigInteger, Identity(always=True), primary_key=True)


def _tenant() -> Column[int]:
    return Column("tenant_id", BigInteger, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False)


def _now(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())


def _at(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True))


def _one_of(column: str, values: type) -> CheckConstraint:
    names = ", ".join(f"'{member}'" for member in values)  # type: ignore[attr-defined]
    return CheckConstraint(f"{column} IN ({names})", name=column)


# --- tenants and access ------------------------------------------------------------------------------------------

tenants = Table(
    "tenants",
    metadata,
    _identity(),
    Column("slug", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    _now("created_at"),
)

api_keys = Table(
    "api_keys",
    metadata,
    _identity(),
    _tenant(),
    Column("name", Text, nullable=False),
    Column("prefix", Text, nullable=False, unique=True),  # public part of the key, finds the row
    Column("secret_hash", LargeBinary, nullable=False),  # SHA-256 of a 256-bit random secret: no slow hash is needed
    Column("scopes", ARRAY(Text), nullable=False),
    _now("created_at"),
    _at("expires_at"),
    _at("revoked_at"),
    _at("last_used_at"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant_id", BigInteger, ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),  # of method, path and body
    Column("status", SmallInteger),  # NULL while the first request is in flight
    Column("headers", JSONB),
    Column("body", LargeBinary),
    _now("created_at"),
)

# --- people ------------------------------------------------------------------------------------------------------

contacts = Table(
    "contacts",
    metadata,
    _identity(),
    _tenant(),
    Column("address", Text, nullable=False),  # as given
    Column("wire", Text, nullable=False),  # what RCPT TO says
    Column("address_key", Text, nullable=False),  # what uniqueness and suppression use
    Column("name", Text, nullable=False, server_default=""),
    Column("locale", Text, nullable=False, server_default="ja"),
    Column("attributes", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    _now("created_at"),
    _now("updated_at"),
    UniqueConstraint("tenant_id", "address_key"),
    Index("ix_contacts_tenant_id_id", "tenant_id", "id"),
)

lists = Table(
    "lists",
    metadata,
    _identity(),
    _tenant(),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    _now("created_at"),
    UniqueConstraint("tenant_id", "name"),
)

list_members = Table(
    "list_members",
    metadata,
    Column("list_id", BigInteger, ForeignKey("lists.id", ondelete="CASCADE"), primary_key=True),
    Column("contact_id", BigInteger, ForeignKey("contacts.id", ondelete="CASCADE"), primary_key=True),
    Column("state", Text, nullable=False, server_default="subscribed"),
    _now("updated_at"),
    CheckConstraint("state IN ('subscribed', 'unsubscribed')", name="state"),
    Index("ix_list_members_contact_id", "contact_id"),
)

suppressions = Table(
    "suppressions",
    metadata,
    Column("tenant_id", BigInteger, ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True),
    Column("address_key", Text, primary_key=True),
    Column("list_id", BigInteger, primary_key=True),  # 0: every mail of the tenant
    Column("reason", Text, nullable=False),  # hayabin.domain.suppression.SuppressionReason
    Column("source", Text, nullable=False, server_default=""),  # e.g. "message:17", "api"
    _now("created_at"),
    _at("expires_at"),
)

import_jobs = Table(
    "import_jobs",
    metadata,
    _identity(),
    _tenant(),
    Column("list_id", BigInteger, ForeignKey("lists.id", ondelete="CASCADE")),
    Column("filename", Text, nullable=False, server_default=""),
    Column("state", Text, nullable=False, server_default="queued"),
    Column("encoding", Text),
    Column("size_bytes", BigInteger, nullable=False, server_default="0"),
    Column("rows_read", BigInteger, nullable=False, server_default="0"),
    Column("rows_imported", BigInteger, nullable=False, server_default="0"),
    Column("rows_duplicate", BigInteger, nullable=False, server_default="0"),  # the same address again further down
    Column("rows_invalid", BigInteger, nullable=False, server_default="0"),
    Column("error", Text),
    _now("created_at"),
    _at("started_at"),
    _at("heartbeat_at"),
    _at("finished_at"),
    CheckConstraint("state IN ('queued', 'running', 'completed', 'failed')", name="state"),
)

import_chunks = Table(  # the uploaded bytes, so that any replica can go on with the job
    "import_chunks",
    metadata,
    Column("job_id", BigInteger, ForeignKey("import_jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("content", LargeBinary, nullable=False),
)

import_errors = Table(
    "import_errors",
    metadata,
    Column("job_id", BigInteger, ForeignKey("import_jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("line", BigInteger, primary_key=True),
    Column("column_name", Text, nullable=False, server_default=""),
    Column("reason", Text, nullable=False),
    Column("value", Text, nullable=False, server_default=""),
)

# --- what is written and from whom ---------------------------------------------------------------------------------

templates = Table(
    "templates",
    metadata,
    _identity(),
    _tenant(),
    Column("name", Text, nullable=False),
    _now("created_at"),
    UniqueConstraint("tenant_id", "name"),
)

template_versions = Table(
    "template_versions",
    metadata,
    _identity(),
    Column("template_id", BigInteger, ForeignKey("templates.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("text_source", Text),
    Column("compiled", JSONB, nullable=False),  # hayabin.content.compile.CompiledTemplate
    _now("created_at"),
    _at("published_at"),  # NULL: draft; a published version never changes
    UniqueConstraint("template_id", "number"),
)

domains = Table(
    "domains",
    metadata,
    _identity(),
    _tenant(),
    Column("name", Text, nullable=False),
    _at("verified_at"),
    _now("created_at"),
    UniqueConstraint("tenant_id", "name"),
)

dkim_keys = Table(
    "dkim_keys",
    metadata,
    _identity(),
    Column("domain_id", BigInteger, ForeignKey("domains.id", ondelete="CASCADE"), nullable=False),
    Column("selector", Text, nullable=False),
    Column("algorithm", Text, nullable=False),
    Column("public_key", Text, nullable=False),  # the p= of the DNS record
    Column("private_key", LargeBinary, nullable=False),  # AES-GCM, bound to the tenant; see hayabin.database.sealing
    _now("created_at"),
    _at("retired_at"),
    CheckConstraint("algorithm IN ('rsa-sha256', 'ed25519-sha256')", name="algorithm"),
    UniqueConstraint("domain_id", "selector"),
)

ip_pools = Table(  # platform-wide: tenants choose a pool by name
    "ip_pools",
    metadata,
    Column("name", Text, primary_key=True),
    Column("description", Text, nullable=False, server_default=""),
    _now("created_at"),
    Column("state", Text, nullable=False, server_default="active"),
    CheckConstraint("name ~ '^[a-z0-9][a-z0-9-]{0,39}$'", name="name"),
    CheckConstraint("state IN ('active', 'removed')", name="state"),
)

pool_sources = Table(  # reported by the dispatcher that owns them, at start and with its heartbeat
    "pool_sources",
    metadata,
    Column("pool", Text, ForeignKey("ip_pools.name", ondelete="CASCADE"), primary_key=True),
    Column("address", Text, primary_key=True),
    Column("ehlo_name", Text, nullable=False),
    Column("dispatcher", Text, nullable=False),
    _now("seen_at"),
)

source_ips = Table(  # what the operator says of source IPs at run time, over what the dispatchers' settings say
    "source_ips",
    metadata,
    Column("pool", Text, ForeignKey("ip_pools.name", ondelete="CASCADE"), primary_key=True),
    Column("address", Text, primary_key=True),
    Column("ehlo_name", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="active"),
    Column("owner", Text),  # the dispatcher that uses it; only one does
    _at("owner_seen_at"),
    Column("problem", Text, nullable=False, server_default=""),  # why nobody uses it, as the last who tried says
    _now("created_at"),
    CheckConstraint("state IN ('active', 'removed')", name="state"),
)

provider_policies = Table(  # platform-wide: single keys of a provider's policy that replace those of its file
    "provider_policies",
    metadata,
    Column("provider", Text, primary_key=True),
    Column("settings", JSONB, nullable=False),
    _now("updated_at"),
)

effective_policies = Table(  # what the dispatchers of a pool go by now: shipped files, override folder, API
    "effective_policies",
    metadata,
    Column("pool", Text, primary_key=True),
    Column("provider", Text, primary_key=True),
    Column("settings", JSONB, nullable=False),
    _now("reported_at"),
)

suspensions = Table(  # lanes that open no transaction; NULL stands for any
    "suspensions",
    metadata,
    _identity(),
    Column("pool", Text),
    Column("source_ip", Text),
    Column("provider", Text),
    Column("origin", Text, nullable=False),  # operator | rule
    Column("reason", Text, nullable=False),
    _at("until"),  # NULL: until somebody resumes it
    _now("created_at"),
    CheckConstraint("origin IN ('operator', 'rule')", name="origin"),
    UniqueConstraint("pool", "source_ip", "provider", "origin", postgresql_nulls_not_distinct=True),
)

lane_reports = Table(  # what each dispatcher says of its lanes every few seconds
    "lane_reports",
    metadata,
    Column("pool", Text, primary_key=True),
    Column("source_ip", Text, primary_key=True),
    Column("lane", Text, primary_key=True),  # a provider, or mx:HOST
    Column("dispatcher", Text, nullable=False),
    Column("state", Text, nullable=False),  # open | slowed | resting | suspended | capped
    Column("reason", Text, nullable=False, server_default=""),
    _at("next_try_at"),
    Column("waiting", Integer, nullable=False),  # messages in hand that wait for the lane (of all source IPs)
    Column("connections", Integer, nullable=False),
    Column("connection_limit", Integer, nullable=False),
    Column("begun_per_s", Float, nullable=False),  # messages begun, over the last minute
    Column("limit_per_s", Float),
    Column("begun_today", BigInteger, nullable=False),
    Column("cap_today", BigInteger),  # of the warm-up or the daily rate
    _now("reported_at"),
)

warmups = Table(  # plans by source IP x provider ('*': each provider that has no plan of its own)
    "warmups",
    metadata,
    Column("source_ip", Text, primary_key=True),
    Column("provider", Text, primary_key=True),
    Column("start_per_day", BigInteger, nullable=False),
    Column("growth", Float, nullable=False),  # factor from one day to the next
    Column("end_per_day", BigInteger, nullable=False),  # once reached, the plan is over
    Column("started_on", Date, nullable=False),
    _now("created_at"),
)

lane_usage = Table(  # messages that a lane was granted on a day (UTC), reserved before they begin
    "lane_usage",
    metadata,
    Column("source_ip", Text, primary_key=True),
    Column("lane", Text, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("granted", BigInteger, nullable=False),
)

# --- campaigns and the ledger --------------------------------------------------------------------------------------

campaigns = Table(
    "campaigns",
    metadata,
    _identity(),
    _tenant(),
    Column("name", Text, nullable=False),
    Column("class", Text, nullable=False, server_default=MessageClass.BULK),
    Column("kind", Text, nullable=False, server_default="campaign"),  # campaign | test
    Column("state", Text, nullable=False, server_default=CampaignState.DRAFT),
    Column("state_reason", Text, nullable=False, server_default=""),
    Column("template_version_id", BigInteger, ForeignKey("template_versions.id"), nullable=False),
    Column("list_id", BigInteger, ForeignKey("lists.id")),  # NULL only for test sends
    Column("domain_id", BigInteger, ForeignKey("domains.id"), nullable=False),
    Column("from_name", Text, nullable=False),
    Column("from_address", Text, nullable=False),
    Column("reply_to", Text, nullable=False, server_default=""),
    Column("pool", Text, ForeignKey("ip_pools.name"), nullable=False),
    Column("merge_policy", Text, nullable=False, server_default=MergePolicy.FALLBACK),
    _at("schedule_at"),
    _at("send_by"),  # overdue rows expire at the gate; an overdue schedule is held for a person
    _now("created_at"),
    _now("updated_at"),
    _at("launched_at"),
    _at("completed_at"),
    Column("audience", BigInteger, nullable=False, server_default="0"),  # in the ledger so far
    Column("filled_through_id", BigInteger, nullable=False, server_default="0"),  # cursor over the list's contacts
    Column("filling", Boolean, nullable=False, server_default=text("false")),  # some of the audience is still to come
    Column("fed_through_id", BigInteger, nullable=False, server_default="0"),  # feeder's cursor over first attempts
    Column("traceparent", Text, nullable=False, server_default=""),  # W3C trace context of the launch request
    _one_of("state", CampaignState),
    _one_of("class", MessageClass),
    _one_of("merge_policy", MergePolicy),
    CheckConstraint("kind IN ('campaign', 'test')", name="kind"),
    Index("ix_campaigns_tenant_id_id", "tenant_id", "id"),
    Index("ix_campaigns_running", "id", postgresql_where=text("state IN ('scheduled', 'sending')")),
    Index("ix_campaigns_filling", "id", postgresql_where=text("filling")),
)

recipients = Table(  # the snapshot: immutable, one row for each ledger row, same id
    "recipients",
    metadata,
    Column("message_id", BigInteger, primary_key=True, autoincrement=False),
    Column("tenant_id", BigInteger, nullable=False),
    Column("campaign_id", BigInteger, nullable=False),
    Column("contact_id", BigInteger, nullable=False),
    Column("wire", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("variables", JSON, nullable=False),  # json, not jsonb: read as text, once
)

messages = Table(  # the ledger
    "messages",
    metadata,
    _identity(),
    Column("tenant_id", BigInteger, nullable=False),
    Column("campaign_id", BigInteger, nullable=False),
    Column("address_key", Text, nullable=False),
    Column("state", Text, nullable=False, server_default=MessageState.DUE),
    Column("attempt", SmallInteger, nullable=False, server_default="0"),  # attempts begun
    _at("next_attempt_at"),  # NULL: never tried and not fallen off the belt
    _at("changed_at"),
    Column("claimed_by", Text),
    Column("reason", Text),  # of the last outcome: BounceReason, or why it waits
    _one_of("state", MessageState),
    Index("ix_messages_campaign_id_id", "campaign_id", "id"),
    # Not one index names `state`, in its columns or its predicate: that would make every claim and outcome a non-HOT
    # update. Only a deferral touches next_attempt_at.
    Index("ix_messages_next_attempt_at", "next_attempt_at", postgresql_where=text("next_attempt_at IS NOT NULL")),
    postgresql_with={"fillfactor": "50"},
)

attempts = Table(  # one row for each SMTP transaction that the gate let through
    "attempts",
    metadata,
    Column("message_id", BigInteger, primary_key=True, autoincrement=False),
    Column("attempt", SmallInteger, primary_key=True),
    Column("tenant_id", BigInteger, nullable=False),
    _now("finished_at"),
    Column("state", Text, nullable=False),  # the state that the row took
    Column("reason", Text),
    Column("phase", Text),
    Column("code", SmallInteger),
    Column("enhanced", Text),
    Column("reply", Text),  # at most 500 characters
    Column("source_ip", Text),
    Column("mx", Text),
    Column("lane", Text),
    Column("tls", Boolean),
    Column("duration_ms", Integer),
    Column("address", Text),  # of the MX host
    Column("tls_version", Text),  # such as TLSv1.3
    Column("tls_policy", Text),  # what was asked of TLS: none, opportunistic, required, mta-sts, mta-sts-testing, dane
    Column("tls_result", Text),  # what came of it: cleartext, unverified, verified-pkix, verified-dane, failed-...
)

transcripts = Table(  # what was said in an attempt, content left out; dropped after a time
    "transcripts",
    metadata,
    Column("message_id", BigInteger, primary_key=True, autoincrement=False),
    Column("attempt", SmallInteger, primary_key=True),
    Column("tenant_id", BigInteger, nullable=False),
    _now("finished_at"),
    Column("lines", Text, nullable=False),
    Index("ix_transcripts_finished_at", "finished_at", postgresql_using="brin"),
)

feeds = Table(  # leases on what is on the belt: a row stays until each of its rows has left `due` at that attempt
    "feeds",
    metadata,
    _identity(),
    Column("campaign_id", BigInteger, ForeignKey("campaigns.id", ondelete="CASCADE"), nullable=False),
    Column("attempt", SmallInteger, nullable=False),
    Column("message_ids", ARRAY(BigInteger), nullable=False),
    _now("fed_at"),
    Column("lease_expires_at", DateTime(timezone=True), nullable=False),
    Index("ix_feeds_campaign_id", "campaign_id"),
)

instances = Table(  # running processes; a claim whose owner is not here any more is expired by the reconciler
    "instances",
    metadata,
    Column("name", Text, primary_key=True),
    Column("service", Text, nullable=False),
    _now("started_at"),
    _now("seen_at"),
)

counters = Table(
    "counters",
    metadata,
    Column("campaign_id", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Text, primary_key=True),
    Column("n", BigInteger, nullable=False),
)

counter_deltas = Table(  # appended by whoever changes a state, in the same transaction; folded by the scheduler
    "counter_deltas",
    metadata,
    _identity(),
    Column("campaign_id", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("n", BigInteger, nullable=False),
    Index("ix_counter_deltas_campaign_id", "campaign_id"),
)

# --- what people did, what came back --------------------------------------------------------------------------------

events = Table(
    "events",
    metadata,
    _identity(),
    Column("event_id", LargeBinary, nullable=False, unique=True),  # 16 bytes from the producer: one effect
    Column("tenant_id", BigInteger, nullable=False),
    Column("campaign_id", BigInteger, nullable=False),
    Column("message_id", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),  # open | click | unsubscribe | bounce | complaint
    Column("link", Integer),
    Column("detail", Text, nullable=False, server_default=""),
    Column("occurred_at", DateTime(timezone=True), nullable=False),
    Index("ix_events_message_id", "message_id"),
    Index("ix_events_campaign_id_kind", "campaign_id", "kind"),
)

engagements = Table(  # the first of its kind for a message, so that unique counts are incremental
    "engagements",
    metadata,
    Column("message_id", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", Text, primary_key=True),
    _now("first_at"),
)

quarantine = Table(  # inbound mail that changed nothing: forged, unmatched or unparseable; kept for a look, bounded
    "quarantine",
    metadata,
    _identity(),
    _now("received_at"),
    Column("reason", Text, nullable=False),
    Column("mail_from", Text, nullable=False),
    Column("rcpt_to", Text, nullable=False),
    Column("remote_address", Text, nullable=False),
    Column("content", LargeBinary, nullable=False),
)

recipient_domains = Table(  # which provider runs the MX of a domain, learnt by dispatchers, read by renderers
    "recipient_domains",
    metadata,
    Column("name", Text, primary_key=True),
    Column("provider", Text, nullable=False),
    _now("seen_at"),
)

mta_sts_policies = Table(  # RFC 8461 §5.1: kept over restarts, so that nobody can talk us out of one
    "mta_sts_policies",
    metadata,
    Column("domain", Text, primary_key=True),
    Column("id", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("mx", ARRAY(Text), nullable=False),
    Column("fetched_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
)

# --- belt ---------------------------------------------------------------------------------------------------------

outbox = Table(
    "outbox",
    metadata,
    _identity(),
    Column("exchange", Text, nullable=False),
    Column("routing_key", Text, nullable=False),
    Column("headers", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("body", LargeBinary, nullable=False),
    _now("created_at"),
)

belt_depths = Table(  # ready messages of each queue, as the feeder last saw them
    "belt_depths",
    metadata,
    Column("queue", Text, primary_key=True),
    Column("ready", BigInteger, nullable=False),
    _now("seen_at"),
)

belt_messages = Table(  # the embedded broker's queues; empty where RabbitMQ is the broker
    "belt_messages",
    metadata,
    _identity(),
    Column("queue", Text, nullable=False),
    Column("headers", JSONB, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("consumer", Text),  # who holds it unacknowledged
    _at("held_until"),
    Column("deliveries", Integer, nullable=False, server_default="0"),
    _now("published_at"),
    Index("ix_belt_messages_queue_id", "queue", "id"),
)

# --- the installation itself --------------------------------------------------------------------------------------

installation = Table(  # one row; what guards against a database that was taken back to an earlier state
    "installation",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False, server_default="1"),
    Column("epoch", BigInteger, nullable=False, server_default="1"),  # grows with each hold: lives of the database
    Column("pulse", BigInteger, nullable=False, server_default="0"),  # grows every few seconds; never goes back
    _now("pulsed_at"),
    Column("identity", Text, nullable=False, server_default=""),  # of the cluster and database that pulsed last
    Column("held_reason", Text, nullable=False, server_default=""),  # not empty: nothing passes the gate
    _at("held_at"),
    Column("belt_problem", Text, nullable=False, server_default=""),  # why the belt takes nothing, as last seen
    _at("belt_seen_at"),
    CheckConstraint("id = 1", name="one_row"),
)
