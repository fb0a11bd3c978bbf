"""Tenants."""

from sqlalchemy import BigInteger, Column, ForeignKey, LargeBinary, SmallInteger, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from hayabin.database.models.columns import identity, metadata, now

_RANDOM_KEY = "decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex')"

tenants = Table(
    "tenants",
    metadata,
    identity(),
    Column("slug", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("settings", JSONB, nullable=False, server_default=text("'{}'::jsonb")),  # hayabin.domain.tenant_settings
    Column("audit_key", LargeBinary, nullable=False, server_default=text(_RANDOM_KEY)),  # hashes addresses in the trail
    Column(  # of the hashes of erased addresses: random for each tenant, never shown
        "erasure_key",
        LargeBinary,
        nullable=False,
        server_default=text("decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex')"),
    ),
    now("created_at"),
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
