"""The audience enters the ledger in pages: whether there are more to come for a campaign, and after whom.

Expand: columns with defaults. What the previous release launches, whole, counts as filled; should its scheduler take a
campaign for complete that has pages to come, the next turn of the filling sends on.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("campaigns", sa.Column("filled_through_id", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("campaigns", sa.Column("filling", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.create_index("ix_campaigns_filling", "campaigns", ["id"], unique=False, postgresql_where=sa.text("filling"))


def downgrade() -> None:
    op.drop_index("ix_campaigns_filling", table_name="campaigns", postgresql_where=sa.text("filling"))
    op.drop_column("campaigns", "filling")
    op.drop_column("campaigns", "filled_through_id")
