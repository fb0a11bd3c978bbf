"""Campaigns and the ledger."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from hayabin.database.models.columns import at, identity, metadata, now, one_of, tenant
from hayabin.domain.campaign import CampaignState, MergePolicy, MessageClass
from hayabin.domain.message import MessageState

campaigns = Table(
    "campaigns",
    metadata,
    identity(),
    tenant(),
    Column("name", Text, nullable=False),
    Column("class", Text, nullable=False, server_default=MessageClass.BULK),
    Column("kind", Text, nullable=False, server_default="campaign"),  # campaign | test | confirmation
    Column("state", Text, nullable=False, server_default=CampaignState.DRAFT),
    Column("state_reason", Text, nullable=False, server_default=""),
    Column("template_version_id", BigInteger, ForeignKey("template_versions.id"), nullable=False),
    Column("list_id", BigInteger, ForeignKey("lists.id")),  # NULL only for test sends
    Column("domain_id", BigInteger, ForeignKey("domains.id"), nullable=False),
    Column("from_name", Text, nullable=False),
    Column("from_address", Text, nullable=False),
    Column("reply_to", Text, nullable=False, server_default=""),
    Column("pool", Text, ForeignKey("ip_pools.name"), nullable=False),
    Column("merge_policy", Text, nullable=False, server_default=MergePolicy.FALLBACK),
    at("schedule_at"),
    at("send_by"),  # overdue rows expire at the gate; an overdue schedule is held for a person
    now("created_at"),
    now("updated_at"),
    Column("edited_by_key", BigInteger),  # who wrote what stands here, and so may not be alone in approving it
    Column("edited_by_user", BigInteger),
    at("launched_at"),
    at("completed_at"),
    Column("audience", BigInteger, nullable=False, server_default="0"),  # in the ledger so far
    # hayabin.domain.audience: what it is made of besides list_id; empty: the list alone
    Column("audience_definition", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("fingerprint", LargeBinary),  # of the content that was launched; NULL before
    Column("filled_through_id", BigInteger, nullable=False, server_default="0"),  # cursor over the contacts
    Column("fill_turns", Integer, nullable=False, server_default="0"),  # pages so far, for fairness
    Column("filling", Boolean, nullable=False, server_default=text("false")),  # some of the audience is still to come
    Column("fed_through_id", BigInteger, nullable=False, server_default="0"),  # feeder's cursor over first attempts
    Column("traceparent", Text, nullable=False, server_default=""),  # W3C trace context of the launch request
    one_of("state", CampaignState),
    one_of("class", MessageClass),
    one_of("merge_policy", MergePolicy),
    CheckConstraint("kind IN ('campaign', 'test', 'confirmation')", name="kind"),
    Index("ix_campaigns_tenant_id_id", "tenant_id", "id"),
    Index("ix_campaigns_running", "id", postgresql_where=text("state IN ('scheduled', 'sending')")),
    Index("ix_campaigns_filling", "id", postgresql_where=text("filling")),
    Index(
        "ix_campaigns_tenant_id_fingerprint",
        "tenant_id",
        "fingerprint",
        postgresql_where=text("fingerprint IS NOT NULL"),
    ),
)

recipients = Table(  # the snapshot: immutable, one row for each ledger row, same id
    "recipients",
    metadata,
    Column("message_id", BigInteger, primary_key=True, autoincrement=False),
    Column("tenant_id", BigInteger, nullable=False),
    Column("campaign_id", BigInteger, nullable=False),
    Column("contact_id", BigInteger, nullable=False),
    Column("wire", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("variables", JSON, nullable=False),  # json, not jsonb: read as text, once
    # What somebody got of a campaign; a fill appends to it, as campaigns are filled in the order of contacts.
    Index("ix_recipients_campaign_id_contact_id", "campaign_id", "contact_id", postgresql_include=["message_id"]),
)

messages = Table(  # the ledger
    "messages",
    metadata,
    identity(),
    Column("tenant_id", BigInteger, nullable=False),
    Column("campaign_id", BigInteger, nullable=False),
    Column("address_key", Text, nullable=False),
    Column("state", Text, nullable=False, server_default=MessageState.DUE),
    Column("attempt", SmallInteger, nullable=False, server_default="0"),  # attempts begun
    at("next_attempt_at"),  # NULL: never tried and not fallen off the belt
    at("changed_at"),
    Column("claimed_by", Text),
    Column("reason", Text),  # of the last outcome: BounceReason, or why it waits
    one_of("state", MessageState),
    Index("ix_messages_campaign_id_id", "campaign_id", "id"),
    # Not one index names `state`, in its columns or its predicate: that would make every claim and outcome a non-HOT
    # update. Only a deferral touches next_attempt_at.
    Index("ix_messages_next_attempt_at", "next_attempt_at", postgresql_where=text("next_attempt_at IS NOT NULL")),
    postgresql_with={"fillfactor": "50"},
)

attempts = Table(  # one row for each SMTP transaction that the gate let through
    "attempts",
    metadata,
    Column("message_id", BigInteger, primary_key=True, autoincrement=False),
    Column("attempt", SmallInteger, primary_key=True),
    Column("tenant_id", BigInteger, nullable=False),
    now("finished_at"),
    Column("state", Text, nullable=False),  # the state that the row took
    Column("reason", Text),
    Column("phase", Text),
    Column("code", SmallInteger),
    Column("enhanced", Text),
    Column("reply", Text),  # at most 500 characters
    Column("source_ip", Text),
    Column("mx", Text),
    Column("lane", Text),
    Column("tls", Boolean),
    Column("duration_ms", Integer),
    Column("address", Text),  # of the MX host
    Column("tls_version", Text),  # such as TLSv1.3
    Column("tls_policy", Text),  # what was asked of TLS: none, opportunistic, required, mta-sts, mta-sts-testing, dane
    Column("tls_result", Text),  # what came of it: cleartext, unverified, verified-pkix, verified-dane, failed-...
)

transcripts = Table(  # what was said in an attempt, content left out; dropped after a time
    "transcripts",
    metadata,
    Column("message_id", BigInteger, primary_key=True, autoincrement=False),
    Column("attempt", SmallInteger, primary_key=True),
    Column("tenant_id", BigInteger, nullable=False),
    now("finished_at"),
    Column("lines", Text, nullable=False),
    Index("ix_transcripts_finished_at", "finished_at", postgresql_using="brin"),
)

feeds = Table(  # leases on what is on the belt: a row stays until each of its rows has left `due` at that attempt
    "feeds",
    metadata,
    identity(),
    Column("campaign_id", BigInteger, ForeignKey("campaigns.id", ondelete="CASCADE"), nullable=False),
    Column("attempt", SmallInteger, nullable=False),
    Column("message_ids", ARRAY(BigInteger), nullable=False),
    now("fed_at"),
    Column("lease_expires_at", DateTime(timezone=True), nullable=False),
    Index("ix_feeds_campaign_id", "campaign_id"),
)

instances = Table(  # running processes; a claim whose owner is not here any more is expired by the reconciler
    "instances",
    metadata,
    Column("name", Text, primary_key=True),
    Column("service", Text, nullable=False),
    now("started_at"),
    now("seen_at"),
)

counters = Table(
    "counters",
    metadata,
    Column("campaign_id", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Text, primary_key=True),
    Column("n", BigInteger, nullable=False),
)

counter_deltas = Table(  # appended by whoever changes a state, in the same transaction; folded by the scheduler
    "counter_deltas",
    metadata,
    identity(),
    Column("campaign_id", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("n", BigInteger, nullable=False),
    Index("ix_counter_deltas_campaign_id", "campaign_id"),
)
