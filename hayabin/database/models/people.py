"""People: contacts, lists, suppressions, imports."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from hayabin.database.models.columns import at, identity, metadata, now, tenant

contacts = Table(
    "contacts",
    metadata,
    identity(),
    tenant(),
    Column("address", Text, nullable=False),  # as given
    Column("wire", Text, nullable=False),  # what RCPT TO says
    Column("address_key", Text, nullable=False),  # what uniqueness and suppression use
    Column("name", Text, nullable=False, server_default=""),
    Column("locale", Text, nullable=False, server_default="ja"),
    Column("attributes", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    now("created_at"),
    now("updated_at"),
    UniqueConstraint("tenant_id", "address_key"),
    Index("ix_contacts_tenant_id_id", "tenant_id", "id"),
)

lists = Table(
    "lists",
    metadata,
    identity(),
    tenant(),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    now("created_at"),
    UniqueConstraint("tenant_id", "name"),
)

list_members = Table(
    "list_members",
    metadata,
    Column("list_id", BigInteger, ForeignKey("lists.id", ondelete="CASCADE"), primary_key=True),
    Column("contact_id", BigInteger, ForeignKey("contacts.id", ondelete="CASCADE"), primary_key=True),
    Column("state", Text, nullable=False, server_default="subscribed"),
    now("updated_at"),
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
    now("created_at"),
    at("expires_at"),
)

import_jobs = Table(
    "import_jobs",
    metadata,
    identity(),
    tenant(),
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
    now("created_at"),
    at("started_at"),
    at("heartbeat_at"),
    at("finished_at"),
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
