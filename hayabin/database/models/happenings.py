"""What people did, and what came back."""

from sqlalchemy import BigInteger, Column, DateTime, Index, Integer, LargeBinary, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY

from hayabin.database.models.columns import identity, metadata, now

events = Table(
    "events",
    metadata,
    identity(),
    Column("event_id", LargeBinary, nullable=False, unique=True),  # 16 bytes from the producer: one effect
    Column("tenant_id", BigInteger, nullable=False),
    Column("campaign_id", BigInteger, nullable=False),
    Column("message_id", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),  # open | click | unsubscribe | bounce | complaint
    Column("link", Integer),
    Column("detail", Text, nullable=False, server_default=""),
    Column("occurred_at", DateTime(timezone=True), nullable=False),
    Index("ix_events_message_id", "message_id"),
    Index("ix_events_campaign_id_kind", "campaign_id", "kind"),
)

engagements = Table(  # the first of its kind for a message, so that unique counts are incremental
    "engagements",
    metadata,
    Column("message_id", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", Text, primary_key=True),
    now("first_at"),
)

quarantine = Table(  # inbound mail that changed nothing: forged, unmatched or unparseable; kept for a look, bounded
    "quarantine",
    metadata,
    identity(),
    now("received_at"),
    Column("reason", Text, nullable=False),
    Column("mail_from", Text, nullable=False),
    Column("rcpt_to", Text, nullable=False),
    Column("remote_address", Text, nullable=False),
    Column("content", LargeBinary, nullable=False),
)

recipient_domains = Table(  # which provider runs the MX of a domain, learnt by dispatchers, read by renderers
    "recipient_domains",
    metadata,
    Column("name", Text, primary_key=True),
    Column("provider", Text, nullable=False),
    now("seen_at"),
)

mta_sts_policies = Table(  # RFC 8461 §5.1: kept over restarts, so that nobody can talk us out of one
    "mta_sts_policies",
    metadata,
    Column("domain", Text, primary_key=True),
    Column("id", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("mx", ARRAY(Text), nullable=False),
    Column("fetched_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
)
