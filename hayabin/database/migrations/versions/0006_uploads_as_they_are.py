"""Uploaded files are kept for minutes: to compress them takes longer than to write them."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE import_chunks ALTER COLUMN content SET STORAGE EXTERNAL")


def downgrade() -> None:
    op.execute("ALTER TABLE import_chunks ALTER COLUMN content SET STORAGE EXTENDED")
