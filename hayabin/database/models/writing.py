"""What is written, and from whom it comes."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB

from hayabin.database.models.columns import at, identity, metadata, now, tenant

templates = Table(
    "templates",
    metadata,
    identity(),
    tenant(),
    Column("name", Text, nullable=False),
    now("created_at"),
    UniqueConstraint("tenant_id", "name"),
)

template_versions = Table(
    "template_versions",
    metadata,
    identity(),
    Column("template_id", BigInteger, ForeignKey("templates.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("text_source", Text),
    Column("compiled", JSONB, nullable=False),  # hayabin.content.compile.CompiledTemplate
    now("created_at"),
    at("published_at"),  # NULL: draft; a published version never changes
    UniqueConstraint("template_id", "number"),
)

domains = Table(
    "domains",
    metadata,
    identity(),
    tenant(),
    Column("name", Text, nullable=False),
    at("verified_at"),
    now("created_at"),
    UniqueConstraint("tenant_id", "name"),
)

dkim_keys = Table(
    "dkim_keys",
    metadata,
    identity(),
    Column("domain_id", BigInteger, ForeignKey("domains.id", ondelete="CASCADE"), nullable=False),
    Column("selector", Text, nullable=False),
    Column("algorithm", Text, nullable=False),
    Column("public_key", Text, nullable=False),  # the p= of the DNS record
    Column("private_key", LargeBinary, nullable=False),  # AES-GCM, bound to the tenant; see hayabin.database.sealing
    now("created_at"),
    at("retired_at"),
    CheckConstraint("algorithm IN ('rsa-sha256', 'ed25519-sha256')", name="algorithm"),
    UniqueConstraint("domain_id", "selector"),
)
