"""Imports with modes, mappings, consent and previews; exports.

Expand: columns with defaults. The previous release's worker takes up what it knows (``queued``, ``running``) and reads
it as it always did.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from hayabin.database.migrations.row_security import isolate, isolate_by_parent

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_COUNTS = (
    "rows_exists",
    "rows_unknown",
    "rows_erased",
    "rows_unsubscribed",
    "rows_kept_unsubscribed",
    "bytes_read",
    "people",
    "people_merged",
)
_STATES = "'preview', 'queued', 'running', 'completed', 'failed', 'cancelled'"


def upgrade() -> None:
    for name in _COUNTS:
        op.add_column("import_jobs", sa.Column(name, sa.BigInteger(), server_default="0", nullable=False))
    for name in ("format", "delimiter"):
        op.add_column("import_jobs", sa.Column(name, sa.Text(), nullable=True))
    for name, default in (("mode", "upsert"), ("merged_through", "")):
        op.add_column("import_jobs", sa.Column(name, sa.Text(), server_default=default, nullable=False))
    op.add_column("import_jobs", sa.Column("mapping", postgresql.JSONB(), nullable=True))
    op.add_column(
        "import_jobs", sa.Column("consent", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False)
    )
    op.add_column("import_jobs", sa.Column("dry_run", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.drop_constraint("ck_import_jobs_state", "import_jobs")
    op.create_check_constraint(op.f("ck_import_jobs_state"), "import_jobs", f"state IN ({_STATES})")
    op.create_check_constraint(
        op.f("ck_import_jobs_mode"), "import_jobs", "mode IN ('insert', 'update', 'upsert', 'unsubscribe')"
    )
    op.create_index(
        "ix_import_jobs_open",
        "import_jobs",
        ["tenant_id"],
        unique=False,
        postgresql_where=sa.text("state IN ('queued', 'running', 'preview')"),
    )
    op.create_index("ix_import_jobs_tenant_id_id", "import_jobs", ["tenant_id", "id"], unique=False)
    _exports()


def _exports() -> None:
    op.create_table(
        "export_jobs",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column(
            "filter", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("columns", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("encoding", sa.Text(), nullable=False),
        sa.Column("masked", sa.Boolean(), nullable=False),
        sa.Column("state", sa.Text(), server_default="queued", nullable=False),
        sa.Column("rows", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("characters_replaced", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("key_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'completed', 'failed', 'cancelled', 'expired')",
            name=op.f("ck_export_jobs_state"),
        ),
        sa.CheckConstraint("format IN ('csv', 'ndjson')", name=op.f("ck_export_jobs_format")),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_export_jobs_tenant_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_export_jobs")),
    )
    op.create_index("ix_export_jobs_tenant_id_id", "export_jobs", ["tenant_id", "id"], unique=False)
    op.create_index(
        "ix_export_jobs_open",
        "export_jobs",
        ["tenant_id"],
        unique=False,
        postgresql_where=sa.text("state IN ('queued', 'running')"),
    )
    op.create_table(
        "export_chunks",
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["export_jobs.id"], name=op.f("fk_export_chunks_job_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_export_chunks")),
    )
    isolate("export_jobs")
    isolate_by_parent("export_chunks", "job_id", "export_jobs")


def downgrade() -> None:
    op.drop_table("export_chunks")
    op.drop_table("export_jobs")
    op.drop_index("ix_import_jobs_tenant_id_id", table_name="import_jobs")
    op.drop_index(
        "ix_import_jobs_open",
        table_name="import_jobs",
        postgresql_where=sa.text("state IN ('queued', 'running', 'preview')"),
    )
    op.execute("DELETE FROM import_jobs WHERE state IN ('preview', 'cancelled')")
    op.drop_constraint("ck_import_jobs_mode", "import_jobs")
    op.drop_constraint("ck_import_jobs_state", "import_jobs")
    op.create_check_constraint(
        op.f("ck_import_jobs_state"), "import_jobs", "state IN ('queued', 'running', 'completed', 'failed')"
    )
    for name in ("dry_run", "consent", "mapping", "merged_through", "mode", "delimiter", "format", *_COUNTS):
        op.drop_column("import_jobs", name)
