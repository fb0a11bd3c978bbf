"""Who may act for a tenant: people, their keys and those of programs."""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, LargeBinary, Table, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY

from hayabin.database.models.columns import at, identity, metadata, now, one_of, tenant
from hayabin.domain.roles import Role, UserState

users = Table(
    "users",
    metadata,
    identity(),
    tenant(),
    Column("email", Text, nullable=False),  # as given
    Column("email_key", Text, nullable=False),  # what uniqueness goes by
    Column("name", Text, nullable=False, server_default=""),
    Column("role", Text, nullable=False),
    Column("state", Text, nullable=False, server_default=UserState.ACTIVE),
    now("created_at"),
    at("last_seen_at"),  # to the minute
    one_of("role", Role),
    one_of("state", UserState),
    UniqueConstraint("tenant_id", "email_key"),
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
    Column("last_used_from", Text),  # the address that the last noted use came from
    Column("user_id", BigInteger, ForeignKey("users.id", ondelete="CASCADE")),  # NULL: a program's
    Column("cidrs", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),  # empty: from anywhere
    Column("replaces", BigInteger, ForeignKey("api_keys.id", ondelete="SET NULL")),  # the key that was rotated
    Index("ix_api_keys_tenant_id_id", "tenant_id", "id"),
    Index("ix_api_keys_user_id", "user_id", postgresql_where=text("user_id IS NOT NULL")),
)
