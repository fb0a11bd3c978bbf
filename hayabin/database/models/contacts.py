"""What a tenant defines about its contacts, and how each came to be as it is."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from hayabin.database.models.columns import identity, metadata, now, one_of, tenant
from hayabin.domain.attribute import AttributeType

attribute_definitions = Table(
    "attribute_definitions",
    metadata,
    Column("tenant_id", BigInteger, ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("type", Text, nullable=False),
    Column("personal", Boolean, nullable=False, server_default=text("false")),
    Column("max_chars", Integer, nullable=False),
    Column("max_items", Integer, nullable=False),
    Column("minimum", JSONB),
    Column("maximum", JSONB),
    Column("allowed", ARRAY(Text), nullable=False, server_default="{}"),  # empty: any value
    Column("label_ja", Text, nullable=False, server_default=""),
    Column("label_en", Text, nullable=False, server_default=""),
    now("created_at"),
    now("updated_at"),
    one_of("type", AttributeType),
)

contact_stages = Table(
    "contact_stages",
    metadata,
    Column("tenant_id", BigInteger, ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("position", Integer, nullable=False),
)

contact_changes = Table(
    "contact_changes",
    metadata,
    identity(),
    tenant(),
    Column("contact_id", BigInteger, ForeignKey("contacts.id", ondelete="CASCADE"), nullable=False),
    now("at"),
    Column("actor", Text, nullable=False),  # e.g. "key:3", "import:5"
    Column("source", Text, nullable=False),
    Column("field", Text, nullable=False),  # e.g. "name", "attributes.company"
    Column("old", JSONB),
    Column("new", JSONB),
    CheckConstraint("source IN ('api', 'import', 'form', 'preference', 'merge')", name="source"),
    Index("ix_contact_changes_contact_id_id", "contact_id", "id"),
)
