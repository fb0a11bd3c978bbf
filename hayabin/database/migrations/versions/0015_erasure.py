"""Erasure and export of one person.

Expand: tables are added, and to tenants a column with a default of its own for each (a small table: rewritten at once).
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from hayabin.database.migrations.row_security import isolate

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_RANDOM = "decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex')"
_EMPTY = sa.text("'{}'::jsonb")


def _moment(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=True)


def upgrade() -> None:
    op.add_column(
        "tenants", sa.Column("erasure_key", sa.LargeBinary(), server_default=sa.text(_RANDOM), nullable=False)
    )
    op.create_table(
        "erased_addresses",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_erased_addresses_tenant_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "hash", name=op.f("pk_erased_addresses")),
    )
    op.create_table(
        "person_jobs",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="queued", nullable=False),
        sa.Column("step", sa.Text(), server_default="", nullable=False),
        sa.Column("address_key", sa.Text(), nullable=True),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("requested_by_key_id", sa.BigInteger(), nullable=True),
        sa.Column("requested_by_user_id", sa.BigInteger(), nullable=True),
        sa.Column("notes", postgresql.JSONB(astext_type=sa.Text()), server_default=_EMPTY, nullable=False),
        sa.Column("counts", postgresql.JSONB(astext_type=sa.Text()), server_default=_EMPTY, nullable=False),
        sa.Column("certificate", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("result", sa.LargeBinary(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        _moment("started_at"),
        _moment("heartbeat_at"),
        _moment("not_before"),
        _moment("finished_at"),
        _moment("expires_at"),
        sa.CheckConstraint("kind IN ('erase', 'export')", name=op.f("ck_person_jobs_kind")),
        sa.CheckConstraint("state IN ('queued', 'running', 'completed', 'failed')", name=op.f("ck_person_jobs_state")),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_person_jobs_tenant_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_person_jobs")),
    )
    op.create_index(
        "ix_person_jobs_open", "person_jobs", ["id"], postgresql_where=sa.text("state IN ('queued', 'running')")
    )
    op.create_index("ix_person_jobs_tenant_id_id", "person_jobs", ["tenant_id", "id"])
    op.create_index(
        "ix_person_jobs_expires_at", "person_jobs", ["expires_at"], postgresql_where=sa.text("expires_at IS NOT NULL")
    )
    isolate("erased_addresses")
    isolate("person_jobs")


def downgrade() -> None:
    op.drop_table("person_jobs")
    op.drop_table("erased_addresses")
    op.drop_column("tenants", "erasure_key")
