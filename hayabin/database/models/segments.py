"""Segments, and what they ask of the past: who received, opened and clicked something when last."""

from sqlalchemy import BigInteger, Column, PrimaryKeyConstraint, Table, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB

from hayabin.database.models.columns import at, identity, metadata, now, tenant

segments = Table(
    "segments",
    metadata,
    identity(),
    tenant(),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    Column("rules", JSONB, nullable=False),  # a tree of hayabin.domain.segment
    now("created_at"),
    now("updated_at"),
    UniqueConstraint("tenant_id", "name"),
)

contact_activity = Table(  # one row for each contact that ever did or got something; no index on the times: HOT updates
    "contact_activity",
    metadata,
    Column("tenant_id", BigInteger, nullable=False),
    Column("contact_id", BigInteger, nullable=False),
    at("last_received_at"),  # by the sweeps of the scheduler, some minutes behind
    at("last_opened_at"),  # by the tracker, in the transaction that writes the event
    at("last_clicked_at"),
    PrimaryKeyConstraint("tenant_id", "contact_id"),
    postgresql_with={"fillfactor": "80"},
)

activity_sweeps = Table(  # how far the scheduler has come with what a campaign's recipients received
    "activity_sweeps",
    metadata,
    Column("campaign_id", BigInteger, primary_key=True, autoincrement=False),
    Column("tenant_id", BigInteger, nullable=False),
    Column("through_id", BigInteger, nullable=False, server_default="0"),  # ledger id; 0: no round is under way
    at("began_at"),  # when the round that is under way began
    at("swept_at"),  # when the last whole round began
)
