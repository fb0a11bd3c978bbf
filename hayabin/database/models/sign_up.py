"""Sign-up forms, their wordings, and what waits for somebody's confirmation."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
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

sign_up_forms = Table(
    "sign_up_forms",
    metadata,
    identity(),
    tenant(),
    Column("public_id", Text, nullable=False, unique=True),  # in its address; says nothing of tenant or id
    Column("name", Text, nullable=False),
    Column("version", Integer, nullable=False, server_default="1"),
    Column("list_ids", ARRAY(BigInteger), nullable=False),
    Column("double_opt_in", Boolean, nullable=False, server_default=text("true")),
    Column("fields", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    Column("wording", JSONB, nullable=False),  # by language
    Column("domain_id", BigInteger, ForeignKey("domains.id"), nullable=False),
    Column("from_name", Text, nullable=False),
    Column("from_address", Text, nullable=False),
    Column("reply_to", Text, nullable=False, server_default=""),
    Column("pool", Text, ForeignKey("ip_pools.name"), nullable=False),
    Column("template_version_ids", JSONB, nullable=False, server_default=text("'{}'::jsonb")),  # by language
    Column("allowed_origins", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
    Column("per_ip_per_hour", Integer, nullable=False, server_default="20"),
    Column("per_address_per_day", Integer, nullable=False, server_default="3"),
    Column("per_form_per_hour", Integer, nullable=False, server_default="1000"),
    now("created_at"),
    now("updated_at"),
    at("deleted_at"),  # the row stays: its wordings are evidence
    Index("ix_sign_up_forms_tenant_id_id", "tenant_id", "id"),
    Index(
        "uq_sign_up_forms_tenant_id_name", "tenant_id", "name", unique=True, postgresql_where=text("deleted_at IS NULL")
    ),
)

sign_up_form_versions = Table(  # what people saw: never changed
    "sign_up_form_versions",
    metadata,
    Column("form_id", BigInteger, ForeignKey("sign_up_forms.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    tenant(),
    Column("list_ids", ARRAY(BigInteger), nullable=False),
    Column("double_opt_in", Boolean, nullable=False),
    Column("fields", JSONB, nullable=False),
    Column("wording", JSONB, nullable=False),
    now("created_at"),
)

confirmations = Table(  # sign-ups and changes of address, from the request to the person's own word; forgotten soon
    "confirmations",
    metadata,
    identity(),
    tenant(),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="received"),
    Column("reason", Text, nullable=False, server_default=""),  # why it was ignored
    Column("form_id", BigInteger, ForeignKey("sign_up_forms.id", ondelete="CASCADE")),
    Column("form_version", Integer),
    Column("source_campaign_id", BigInteger),  # of a change of address: whose sender writes the mail
    Column("contact_id", BigInteger),  # of a change of address: whose; of a sign-up: once it is known
    Column("made_contact", Boolean, nullable=False, server_default=text("false")),  # nobody had the address before
    Column("list_ids", ARRAY(BigInteger), nullable=False, server_default=text("'{}'::bigint[]")),
    Column("address", Text, nullable=False),
    Column("wire", Text, nullable=False),
    Column("address_key", Text, nullable=False),
    Column("name", Text, nullable=False, server_default=""),
    Column("attributes", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("locale", Text, nullable=False),
    Column("ip", Text, nullable=False, server_default=""),
    Column("user_agent", Text, nullable=False, server_default=""),
    Column("message_id", BigInteger, unique=True),  # of the mail that asks; its token names it
    now("created_at"),
    Column("expires_at", DateTime(timezone=True), nullable=False, server_default=text("now() + interval '7 days'")),
    at("settled_at"),
    CheckConstraint("kind IN ('sign_up', 'address')", name="kind"),
    CheckConstraint("state IN ('received', 'mailed', 'confirmed', 'ignored')", name="state"),
    Index("ix_confirmations_received", "id", postgresql_where=text("state = 'received'")),
    Index("ix_confirmations_tenant_id_address_key", "tenant_id", "address_key"),
    Index("ix_confirmations_expires_at", "expires_at"),
)

sign_up_rates = Table(  # how often, by a hash of whom and a span of time; dropped when the span is over
    "sign_up_rates",
    metadata,
    Column("subject", LargeBinary, primary_key=True),
    Column("until", DateTime(timezone=True), primary_key=True),
    Column("n", Integer, nullable=False),
    Index("ix_sign_up_rates_until", "until"),
)
