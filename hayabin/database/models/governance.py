"""Who did what, who approved what, and how much was sent."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from hayabin.database.models.columns import at, identity, metadata, now, tenant


def _line() -> list[Column[Any]]:
    """Who did what; tenant 0 is the platform. No foreign key: the trail outlives what it tells of."""
    return [
        Column("tenant_id", BigInteger, nullable=False),
        Column("at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
        Column("actor", Text, nullable=False),  # key, operator (the command), scheduler
        Column("key_id", BigInteger),
        Column("user_id", BigInteger),
        Column("action", Text, nullable=False),  # operation id, or what a command or the scheduler did
        Column("object_type", Text, nullable=False, server_default=""),
        Column("object_id", Text, nullable=False, server_default=""),
        Column("trace_id", Text, nullable=False, server_default=""),
        Column("ip", Text, nullable=False, server_default=""),
        Column("detail", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    ]


audit_pending = Table(  # written in the transaction of the change; the scheduler moves it into the chain
    "audit_pending",
    metadata,
    Column("entry_id", BigInteger, Identity(always=True), primary_key=True),
    *_line(),
    Index("ix_audit_pending_tenant_id_entry_id", "tenant_id", "entry_id"),
)

audit_log = Table(  # append-only by a trigger, for its owner too; see docs/adr/0027-audit-chain.md
    "audit_log",
    metadata,
    *_line(),
    Column("entry_id", BigInteger, nullable=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("prev_hash", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    UniqueConstraint("tenant_id", "entry_id"),
    Index("ix_audit_log_tenant_id_object_type_object_id_entry_id", "tenant_id", "object_type", "object_id", "entry_id"),
    Index("ix_audit_log_tenant_id_action_entry_id", "tenant_id", "action", "entry_id"),
)

audit_heads = Table(  # the last link of each tenant
    "audit_heads",
    metadata,
    Column("tenant_id", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    now("linked_at"),
)

approvals = Table(
    "approvals",
    metadata,
    identity(),
    tenant(),
    Column("campaign_id", BigInteger, ForeignKey("campaigns.id", ondelete="CASCADE"), nullable=False),
    Column("hash", LargeBinary, nullable=False),  # of what was approved; see services.api.approving
    Column("approver", Text, nullable=False),  # user:5, or key:7 for a key of no user
    Column("key_id", BigInteger, nullable=False),
    Column("user_id", BigInteger),
    now("approved_at"),
    at("withdrawn_at"),
    Index("ix_approvals_campaign_id", "campaign_id"),
    Index("ix_approvals_tenant_id", "tenant_id"),
    Index("uq_approvals_standing", "campaign_id", "hash", "approver", unique=True,
          postgresql_where=text("withdrawn_at IS NULL")),
)  # fmt: skip

quota_uses = Table(  # what each launch takes of the tenant's quotas
    "quota_uses",
    metadata,
    Column("campaign_id", BigInteger, primary_key=True, autoincrement=False),
    tenant(),
    Column("day", Date, nullable=False),  # of the launch, in UTC
    Column("mails", BigInteger, nullable=False),  # as counted at the launch; as filled once settled
    Column("settled", Boolean, nullable=False, server_default=text("false")),
    Index("ix_quota_uses_tenant_id_day", "tenant_id", "day"),
    Index("ix_quota_uses_unsettled", "campaign_id", postgresql_where=text("NOT settled")),
)

sending_rates = Table(  # how far each tenant's rate of requests that send is used up; see services.api.sending_rate
    "sending_rates",
    metadata,
    Column(
        "tenant_id", BigInteger, ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    ),
    Column("used_until", DateTime(timezone=True), nullable=False),
)
