"""Typed attributes, stages, history of contacts.

Expand: columns with constant defaults, which rewrite no row, and new tables.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from hayabin.database.migrations.row_security import isolate

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("contacts", sa.Column("stage", sa.Text(), server_default="", nullable=False))
    op.add_column("contacts", sa.Column("time_zone", sa.Text(), server_default="", nullable=False))
    op.add_column("contacts", sa.Column("flags", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False))
    op.create_table(
        "attribute_definitions",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("personal", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("max_chars", sa.Integer(), nullable=False),
        sa.Column("max_items", sa.Integer(), nullable=False),
        sa.Column("minimum", postgresql.JSONB(), nullable=True),
        sa.Column("maximum", postgresql.JSONB(), nullable=True),
        sa.Column("allowed", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("label_ja", sa.Text(), server_default="", nullable=False),
        sa.Column("label_en", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint(
            "type IN ('string', 'number', 'boolean', 'date', 'datetime', 'list')",
            name=op.f("ck_attribute_definitions_type"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_attribute_definitions_tenant_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "name", name=op.f("pk_attribute_definitions")),
    )
    op.create_table(
        "contact_stages",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_contact_stages_tenant_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "name", name=op.f("pk_contact_stages")),
    )
    op.create_table(
        "contact_changes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("contact_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("old", postgresql.JSONB(), nullable=True),
        sa.Column("new", postgresql.JSONB(), nullable=True),
        sa.CheckConstraint(
            "source IN ('api', 'import', 'form', 'preference', 'merge')", name=op.f("ck_contact_changes_source")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_contact_changes_tenant_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["contact_id"], ["contacts.id"], name=op.f("fk_contact_changes_contact_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contact_changes")),
    )
    op.create_index("ix_contact_changes_contact_id_id", "contact_changes", ["contact_id", "id"])
    for table in ("attribute_definitions", "contact_stages", "contact_changes"):
        isolate(table)


def downgrade() -> None:
    for table in ("contact_changes", "contact_stages", "attribute_definitions"):
        op.drop_table(table)
    for column in ("flags", "time_zone", "stage"):
        op.drop_column("contacts", column)
