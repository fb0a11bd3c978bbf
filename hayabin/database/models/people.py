"""People: contacts, lists, suppressions, imports."""

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
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from hayabin.database.duplicates import MAILBOX_SQL, VARIANT_SQL
from hayabin.database.models.columns import at, identity, metadata, now, one_of, tenant
from hayabin.domain.consent import ConsentBasis, SubscriptionState

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
    Column("stage", Text, nullable=False, server_default=""),  # of contact_stages, where the tenant has any
    Column("time_zone", Text, nullable=False, server_default=""),  # IANA; empty: not known
    Column("flags", ARRAY(Text), nullable=False, server_default="{}"),  # hayabin.domain.address_flags
    now("created_at"),
    now("updated_at"),
    UniqueConstraint("tenant_id", "address_key"),
    Index("ix_contacts_tenant_id_id", "tenant_id", "id"),
    Index("ix_contacts_tenant_id_mailbox", "tenant_id", text(MAILBOX_SQL), postgresql_where=text(VARIANT_SQL)),
)

lists = Table(
    "lists",
    metadata,
    identity(),
    tenant(),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    Column("public", Boolean, nullable=False, server_default=text("false")),  # shown in the preference centre
    Column("public_name", Text, nullable=False, server_default=""),  # what recipients read; empty: the name
    now("created_at"),
    UniqueConstraint("tenant_id", "name"),
)

list_members = Table(
    "list_members",
    metadata,
    Column("list_id", BigInteger, ForeignKey("lists.id", ondelete="CASCADE"), primary_key=True),
    Column("contact_id", BigInteger, ForeignKey("contacts.id", ondelete="CASCADE"), primary_key=True),
    Column("state", Text, nullable=False, server_default="subscribed"),
    Column("consent", Text, nullable=False, server_default="unspecified"),  # the basis of what brought them here
    now("updated_at"),
    one_of("state", SubscriptionState),
    one_of("consent", ConsentBasis),
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
    Index("ix_suppressions_address_key", "address_key"),  # of every tenant: the gate asks for the platform's too
    Index("ix_suppressions_expires_at", "expires_at", postgresql_where=text("expires_at IS NOT NULL")),
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
    Column("format", Text),
    Column("delimiter", Text),
    Column("mode", Text, nullable=False, server_default="upsert"),
    Column("mapping", JSONB),  # column -> target; NULL: as the names of the columns say
    Column("consent", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("dry_run", Boolean, nullable=False, server_default=text("false")),
    Column("size_bytes", BigInteger, nullable=False, server_default="0"),
    Column("bytes_read", BigInteger, nullable=False, server_default="0"),
    Column("people", BigInteger, nullable=False, server_default="0"),  # different addresses in the file
    Column("people_merged", BigInteger, nullable=False, server_default="0"),
    Column("merged_through", Text, nullable=False, server_default=""),  # the last address key that was merged
    Column("rows_read", BigInteger, nullable=False, server_default="0"),
    Column("rows_imported", BigInteger, nullable=False, server_default="0"),
    Column("rows_duplicate", BigInteger, nullable=False, server_default="0"),  # the same address again further down
    Column("rows_invalid", BigInteger, nullable=False, server_default="0"),
    Column("rows_exists", BigInteger, nullable=False, server_default="0"),  # not inserted: there already
    Column("rows_unknown", BigInteger, nullable=False, server_default="0"),  # not updated: not there
    Column("rows_erased", BigInteger, nullable=False, server_default="0"),  # had their data erased
    Column("rows_unsubscribed", BigInteger, nullable=False, server_default="0"),
    Column("rows_kept_unsubscribed", BigInteger, nullable=False, server_default="0"),  # were off the list, and stay off
    Column("error", Text),
    now("created_at"),
    at("started_at"),
    at("heartbeat_at"),
    at("finished_at"),
    CheckConstraint("state IN ('preview', 'queued', 'running', 'completed', 'failed', 'cancelled')", name="state"),
    CheckConstraint("mode IN ('insert', 'update', 'upsert', 'unsubscribe')", name="mode"),
    Index("ix_import_jobs_open", "tenant_id", postgresql_where=text("state IN ('queued', 'running', 'preview')")),
    Index("ix_import_jobs_tenant_id_id", "tenant_id", "id"),
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
