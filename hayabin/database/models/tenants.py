"""Tenants and who may act for them."""

from sqlalchemy import BigInteger, Column, ForeignKey, LargeBinary, SmallInteger, Table, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from hayabin.database.models.columns import at, identity, metadata, now, tenant

tenants = Table(
    "tenants",
    metadata,
    identity(),
    Column("slug", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("settings", JSONB, nullable=False, server_default=text("'{}'::jsonb")),  # hayabin.domain.tenant_settings
    now("created_at"),
)

api_keys = Table(
    "api_keys",
    metadata,
    identity(),
    tenant(),
    Column("name", Text, nullable=False),
    Column("prefix", Text, nullable=False, unique=True),  # public part of the key, finds the row
    Column("secret_hash", LargeBinary, nullable=False),  # SHA-256 of a 256-bit random secret: no slow hash is needed
    Column("scopes", ARRAY(Text), nullable=False),
    now("created_at"),
    at("expires_at"),
    at("revoked_at"),
    at("last_used_at"),
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
    now("created_at"),
)
