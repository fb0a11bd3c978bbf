"""Segments, and audiences made of them.

Expand: tables, and columns with defaults that the previous release does not name. The index on ``recipients`` is made
without stopping launches; a migration that broke off while it was made leaves an invalid one, which is made anew.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from hayabin.database.migrations.row_security import close, isolate

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_INDEX = "ix_recipients_campaign_id_contact_id"


def upgrade() -> None:
    # First: what comes before is committed by it, and nothing of this migration is half done should it break off.
    with op.get_context().autocommit_block():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {_INDEX}")
        op.create_index(
            _INDEX,
            "recipients",
            ["campaign_id", "contact_id"],
            postgresql_include=["message_id"],
            postgresql_concurrently=True,
        )
    op.create_table(
        "segments",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("rules", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_segments_tenant_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_segments")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_segments_tenant_id_name")),
    )
    op.create_table(
        "contact_activity",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("contact_id", sa.BigInteger(), nullable=False),
        sa.Column("last_received_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_clicked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "contact_id", name=op.f("pk_contact_activity")),
        postgresql_with={"fillfactor": "80"},
    )
    op.create_table(
        "activity_sweeps",
        sa.Column("campaign_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("through_id", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("swept_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("campaign_id", name=op.f("pk_activity_sweeps")),
    )
    isolate("segments")
    isolate("contact_activity")
    close("activity_sweeps")  # of the scheduler
    op.add_column(
        "campaigns",
        sa.Column(
            "audience_definition",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
    )
    op.add_column("campaigns", sa.Column("fingerprint", sa.LargeBinary(), nullable=True))
    op.add_column("campaigns", sa.Column("fill_turns", sa.Integer(), server_default="0", nullable=False))
    op.create_index(
        "ix_campaigns_tenant_id_fingerprint",
        "campaigns",
        ["tenant_id", "fingerprint"],
        postgresql_where=sa.text("fingerprint IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index(_INDEX, table_name="recipients")
    op.drop_index("ix_campaigns_tenant_id_fingerprint", table_name="campaigns")
    op.drop_column("campaigns", "fill_turns")
    op.drop_column("campaigns", "fingerprint")
    op.drop_column("campaigns", "audience_definition")
    for table in ("activity_sweeps", "contact_activity", "segments"):
        op.drop_table(table)
