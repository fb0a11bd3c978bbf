"""Erasure and export of one person."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from hayabin.database.models.columns import at, identity, metadata, now, tenant

erased_addresses = Table(  # all that stays of an erased person; see hayabin.database.erasing
    "erased_addresses",
    metadata,
    Column("tenant_id", BigInteger, ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True),
    Column("hash", LargeBinary, primary_key=True),  # SHA-256 of the tenant's erasure_key and the address key
    now("erased_at"),
)

person_jobs = Table(
    "person_jobs",
    metadata,
    identity(),
    tenant(),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="queued"),
    Column("step", Text, nullable=False, server_default=""),  # what is done next
    Column("address_key", Text),  # NULL as soon as the job is over
    Column("hash", LargeBinary, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("requested_by_key_id", BigInteger),
    Column("requested_by_user_id", BigInteger),
    Column("notes", JSONB, nullable=False, server_default=text("'{}'::jsonb")),  # cursors, while it runs
    Column("counts", JSONB, nullable=False, server_default=text("'{}'::jsonb")),  # rows, by table and what became
    Column("certificate", JSONB),
    Column("result", LargeBinary),  # the export, until expires_at
    Column("error", Text),
    now("created_at"),
    at("started_at"),
    at("heartbeat_at"),
    at("not_before"),  # a step waits for somebody else until then
    at("finished_at"),
    at("expires_at"),
    CheckConstraint("kind IN ('erase', 'export')", name="kind"),
    CheckConstraint("state IN ('queued', 'running', 'completed', 'failed')", name="state"),
    Index("ix_person_jobs_open", "id", postgresql_where=text("state IN ('queued', 'running')")),
    Index("ix_person_jobs_tenant_id_id", "tenant_id", "id"),
    Index("ix_person_jobs_expires_at", "expires_at", postgresql_where=text("expires_at IS NOT NULL")),
)
