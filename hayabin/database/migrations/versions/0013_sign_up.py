"""Sign-up forms, confirmations, preferences.

Expand: tables are added; the constraint on the kinds of campaigns is replaced by a
wider one that is not checked against the rows that are there, which all meet it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from hayabin.database.migrations.row_security import isolate

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_EMPTY = sa.text("'{}'::jsonb")
_IDS = postgresql.ARRAY(sa.BigInteger())


def _jsonb(name: str, default: str | None = None) -> sa.Column[object]:
    return sa.Column(
        name,
        postgresql.JSONB(astext_type=sa.Text()),
        server_default=sa.text(default) if default else None,
        nullable=False,
    )


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)


def _text(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.Text(), server_default="", nullable=False)


def _tenant_of(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=f"fk_{table}_tenant_id", ondelete="CASCADE")


def upgrade() -> None:
    op.execute("ALTER TABLE campaigns DROP CONSTRAINT ck_campaigns_kind")
    op.execute(
        "ALTER TABLE campaigns ADD CONSTRAINT ck_campaigns_kind "
        "CHECK (kind IN ('campaign', 'test', 'confirmation')) NOT VALID"
    )
    op.create_table(
        "sign_up_forms",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("public_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("list_ids", _IDS, nullable=False),
        sa.Column("double_opt_in", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        _jsonb("fields", "'[]'::jsonb"),
        _jsonb("wording"),
        sa.Column("domain_id", sa.BigInteger(), nullable=False),
        sa.Column("from_name", sa.Text(), nullable=False),
        sa.Column("from_address", sa.Text(), nullable=False),
        _text("reply_to"),
        sa.Column("pool", sa.Text(), nullable=False),
        _jsonb("template_version_ids", "'{}'::jsonb"),
        sa.Column(
            "allowed_origins", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'::text[]"), nullable=False
        ),
        sa.Column("per_ip_per_hour", sa.Integer(), server_default="20", nullable=False),
        sa.Column("per_address_per_day", sa.Integer(), server_default="3", nullable=False),
        sa.Column("per_form_per_hour", sa.Integer(), server_default="1000", nullable=False),
        _now("created_at"),
        _now("updated_at"),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        _tenant_of("sign_up_forms"),
        sa.ForeignKeyConstraint(["domain_id"], ["domains.id"], name=op.f("fk_sign_up_forms_domain_id")),
        sa.ForeignKeyConstraint(["pool"], ["ip_pools.name"], name=op.f("fk_sign_up_forms_pool")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_up_forms")),
        sa.UniqueConstraint("public_id", name=op.f("uq_sign_up_forms_public_id")),
    )
    op.create_index("ix_sign_up_forms_tenant_id_id", "sign_up_forms", ["tenant_id", "id"])
    op.create_index(
        "uq_sign_up_forms_tenant_id_name",
        "sign_up_forms",
        ["tenant_id", "name"],
        unique=True,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_table(
        "sign_up_form_versions",
        sa.Column("form_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("list_ids", _IDS, nullable=False),
        sa.Column("double_opt_in", sa.Boolean(), nullable=False),
        _jsonb("fields"),
        _jsonb("wording"),
        _now("created_at"),
        sa.ForeignKeyConstraint(
            ["form_id"], ["sign_up_forms.id"], name=op.f("fk_sign_up_form_versions_form_id"), ondelete="CASCADE"
        ),
        _tenant_of("sign_up_form_versions"),
        sa.PrimaryKeyConstraint("form_id", "number", name=op.f("pk_sign_up_form_versions")),
    )
    op.create_table(
        "confirmations",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="received", nullable=False),
        _text("reason"),
        sa.Column("form_id", sa.BigInteger(), nullable=True),
        sa.Column("form_version", sa.Integer(), nullable=True),
        sa.Column("source_campaign_id", sa.BigInteger(), nullable=True),
        sa.Column("contact_id", sa.BigInteger(), nullable=True),
        sa.Column("made_contact", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("list_ids", _IDS, server_default=sa.text("'{}'::bigint[]"), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("wire", sa.Text(), nullable=False),
        sa.Column("address_key", sa.Text(), nullable=False),
        _text("name"),
        _jsonb("attributes", "'{}'::jsonb"),
        sa.Column("locale", sa.Text(), nullable=False),
        _text("ip"),
        _text("user_agent"),
        sa.Column("message_id", sa.BigInteger(), nullable=True),
        _now("created_at"),
        sa.Column(
            "expires_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now() + interval '7 days'"),
            nullable=False,
        ),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind IN ('sign_up', 'address')", name=op.f("ck_confirmations_kind")),
        sa.CheckConstraint(
            "state IN ('received', 'mailed', 'confirmed', 'ignored')", name=op.f("ck_confirmations_state")
        ),
        _tenant_of("confirmations"),
        sa.ForeignKeyConstraint(
            ["form_id"], ["sign_up_forms.id"], name=op.f("fk_confirmations_form_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_confirmations")),
        sa.UniqueConstraint("message_id", name=op.f("uq_confirmations_message_id")),
    )
    op.create_index(
        "ix_confirmations_received", "confirmations", ["id"], postgresql_where=sa.text("state = 'received'")
    )
    op.create_index("ix_confirmations_tenant_id_address_key", "confirmations", ["tenant_id", "address_key"])
    op.create_index("ix_confirmations_expires_at", "confirmations", ["expires_at"])
    op.create_table(
        "sign_up_rates",
        sa.Column("subject", sa.LargeBinary(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("subject", "until", name=op.f("pk_sign_up_rates")),
    )
    op.create_index("ix_sign_up_rates_until", "sign_up_rates", ["until"])
    for table in ("sign_up_forms", "sign_up_form_versions", "confirmations"):
        isolate(table)


def downgrade() -> None:
    for table in ("sign_up_rates", "confirmations", "sign_up_form_versions", "sign_up_forms"):
        op.drop_table(table)
    op.execute("UPDATE campaigns SET kind = 'test' WHERE kind = 'confirmation'")
    op.execute("ALTER TABLE campaigns DROP CONSTRAINT ck_campaigns_kind")
    op.execute("ALTER TABLE campaigns ADD CONSTRAINT ck_campaigns_kind CHECK (kind IN ('campaign', 'test')) NOT VALID")
