"""Exports: jobs and the files that they leave for some days. Imports are in ``people``, with what they fill."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from hayabin.database.models.columns import at, identity, metadata, now, tenant

export_jobs = Table(
    "export_jobs",
    metadata,
    identity(),
    tenant(),
    Column("what", Text, nullable=False),  # hayabin.domain.transfer.ExportSubject
    Column("filter", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("columns", ARRAY(Text), nullable=False),
    Column("format", Text, nullable=False),
    Column("encoding", Text, nullable=False),
    Column("masked", Boolean, nullable=False),  # whoever asked may not read personal data
    Column("state", Text, nullable=False, server_default="queued"),
    Column("rows", BigInteger, nullable=False, server_default="0"),
    Column("size_bytes", BigInteger, nullable=False, server_default="0"),
    Column("characters_replaced", BigInteger, nullable=False, server_default="0"),  # that the encoding does not have
    Column("error", Text),
    Column("key_id", BigInteger),  # of the API key that asked for it
    now("created_at"),
    at("started_at"),
    at("heartbeat_at"),
    at("finished_at"),
    at("expires_at"),
    CheckConstraint("state IN ('queued', 'running', 'completed', 'failed', 'cancelled', 'expired')", name="state"),
    CheckConstraint("format IN ('csv', 'ndjson')", name="format"),
    Index("ix_export_jobs_tenant_id_id", "tenant_id", "id"),
    Index("ix_export_jobs_open", "tenant_id", postgresql_where=text("state IN ('queued', 'running')")),
)

export_chunks = Table(
    "export_chunks",
    metadata,
    Column("job_id", BigInteger, ForeignKey("export_jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("content", LargeBinary, nullable=False),
)
