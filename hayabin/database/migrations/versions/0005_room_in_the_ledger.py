"""More room on the ledger's pages, for new versions of its rows; pages that are there stay as they are."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE messages SET (fillfactor = 50)")


def downgrade() -> None:
    op.execute("ALTER TABLE messages SET (fillfactor = 70)")
