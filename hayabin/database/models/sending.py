"""Pools, source IPs, lanes: how mail leaves."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    Float,
    ForeignKey,
    Integer,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB

from hayabin.database.models.columns import at, identity, metadata, now

ip_pools = Table(  # platform-wide: tenants choose a pool by name
    "ip_pools",
    metadata,
    Column("name", Text, primary_key=True),
    Column("description", Text, nullable=False, server_default=""),
    now("created_at"),
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
    now("seen_at"),
)

source_ips = Table(  # what the operator says of source IPs at run time, over what the dispatchers' settings say
    "source_ips",
    metadata,
    Column("pool", Text, ForeignKey("ip_pools.name", ondelete="CASCADE"), primary_key=True),
    Column("address", Text, primary_key=True),
    Column("ehlo_name", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="active"),
    Column("owner", Text),  # the dispatcher that uses it; only one does
    at("owner_seen_at"),
    Column("problem", Text, nullable=False, server_default=""),  # why nobody uses it, as the last who tried says
    now("created_at"),
    CheckConstraint("state IN ('active', 'removed')", name="state"),
)

provider_policies = Table(  # platform-wide: single keys of a provider's policy that replace those of its file
    "provider_policies",
    metadata,
    Column("provider", Text, primary_key=True),
    Column("settings", JSONB, nullable=False),
    now("updated_at"),
)

effective_policies = Table(  # what the dispatchers of a pool go by now: shipped files, override folder, API
    "effective_policies",
    metadata,
    Column("pool", Text, primary_key=True),
    Column("provider", Text, primary_key=True),
    Column("settings", JSONB, nullable=False),
    now("reported_at"),
)

suspensions = Table(  # lanes that open no transaction; NULL stands for any
    "suspensions",
    metadata,
    identity(),
    Column("pool", Text),
    Column("source_ip", Text),
    Column("provider", Text),
    Column("origin", Text, nullable=False),  # operator | rule
    Column("reason", Text, nullable=False),
    at("until"),  # NULL: until somebody resumes it
    now("created_at"),
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
    at("next_try_at"),
    Column("waiting", Integer, nullable=False),  # messages in hand that wait for the lane (of all source IPs)
    Column("connections", Integer, nullable=False),
    Column("connection_limit", Integer, nullable=False),
    Column("begun_per_s", Float, nullable=False),  # messages begun, over the last minute
    Column("limit_per_s", Float),
    Column("begun_today", BigInteger, nullable=False),
    Column("cap_today", BigInteger),  # of the warm-up or the daily rate
    now("reported_at"),
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
    now("created_at"),
)

lane_usage = Table(  # messages that a lane was granted on a day (UTC), reserved before they begin
    "lane_usage",
    metadata,
    Column("source_ip", Text, primary_key=True),
    Column("lane", Text, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("granted", BigInteger, nullable=False),
)
