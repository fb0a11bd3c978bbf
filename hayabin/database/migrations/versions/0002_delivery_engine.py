"""Delivery engine.

Expand: tables and nullable columns are added; the previous release names none of them.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "lane_reports",
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("source_ip", sa.Text(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("dispatcher", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("next_try_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("waiting", sa.Integer(), nullable=False),
        sa.Column("connections", sa.Integer(), nullable=False),
        sa.Column("connection_limit", sa.Integer(), nullable=False),
        sa.Column("begun_per_s", sa.Float(), nullable=False),
        sa.Column("limit_per_s", sa.Float(), nullable=True),
        sa.Column("begun_today", sa.BigInteger(), nullable=False),
        sa.Column("cap_today", sa.BigInteger(), nullable=True),
        sa.Column("reported_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("pool", "source_ip", "lane", name=op.f("pk_lane_reports")),
    )
    op.create_table(
        "lane_usage",
        sa.Column("source_ip", sa.Text(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("granted", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("source_ip", "lane", "day", name=op.f("pk_lane_usage")),
    )
    op.create_table(
        "provider_policies",
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("settings", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("provider", name=op.f("pk_provider_policies")),
    )
    op.create_table(
        "suspensions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("pool", sa.Text(), nullable=True),
        sa.Column("source_ip", sa.Text(), nullable=True),
        sa.Column("provider", sa.Text(), nullable=True),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("origin IN ('operator', 'rule')", name=op.f("ck_suspensions_origin")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_suspensions")),
        sa.UniqueConstraint(
            "pool",
            "source_ip",
            "provider",
            "origin",
            name=op.f("uq_suspensions_pool_source_ip_provider_origin"),
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_table(
        "transcripts",
        sa.Column("message_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("attempt", sa.SmallInteger(), nullable=False),
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("lines", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("message_id", "attempt", name=op.f("pk_transcripts")),
    )
    op.create_index("ix_transcripts_finished_at", "transcripts", ["finished_at"], unique=False, postgresql_using="brin")
    op.create_table(
        "warmups",
        sa.Column("source_ip", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("start_per_day", sa.BigInteger(), nullable=False),
        sa.Column("growth", sa.Float(), nullable=False),
        sa.Column("end_per_day", sa.BigInteger(), nullable=False),
        sa.Column("started_on", sa.Date(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("source_ip", "provider", name=op.f("pk_warmups")),
    )
    op.create_table(
        "source_ips",
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("ehlo_name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="active", nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("owner_seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("problem", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("state IN ('active', 'removed')", name=op.f("ck_source_ips_state")),
        sa.ForeignKeyConstraint(["pool"], ["ip_pools.name"], name=op.f("fk_source_ips_pool"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("pool", "address", name=op.f("pk_source_ips")),
    )
    op.create_table(
        "effective_policies",
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("settings", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("reported_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("pool", "provider", name=op.f("pk_effective_policies")),
    )
    op.create_table(
        "mta_sts_policies",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("mx", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("fetched_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("domain", name=op.f("pk_mta_sts_policies")),
    )
    op.create_table(
        "belt_depths",
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("ready", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("queue", name=op.f("pk_belt_depths")),
    )
    op.add_column("ip_pools", sa.Column("state", sa.Text(), server_default="active", nullable=False))
    op.create_check_constraint(op.f("ck_ip_pools_state"), "ip_pools", "state IN ('active', 'removed')")
    op.add_column("attempts", sa.Column("address", sa.Text(), nullable=True))
    op.add_column("attempts", sa.Column("tls_version", sa.Text(), nullable=True))
    op.add_column("attempts", sa.Column("tls_policy", sa.Text(), nullable=True))
    op.add_column("attempts", sa.Column("tls_result", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("attempts", "tls_result")
    op.drop_column("attempts", "tls_policy")
    op.drop_column("attempts", "tls_version")
    op.drop_column("attempts", "address")
    op.drop_constraint(op.f("ck_ip_pools_state"), "ip_pools")
    op.drop_column("ip_pools", "state")
    op.drop_table("belt_depths")
    op.drop_table("mta_sts_policies")
    op.drop_table("effective_policies")
    op.drop_table("source_ips")
    op.drop_table("warmups")
    op.drop_index("ix_transcripts_finished_at", table_name="transcripts", postgresql_using="brin")
    op.drop_table("transcripts")
    op.drop_table("suspensions")
    op.drop_table("provider_policies")
    op.drop_table("lane_usage")
    op.drop_table("lane_reports")
