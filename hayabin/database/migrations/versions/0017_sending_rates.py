"""The rate of requests that send, one for all API processes.

Expand: a table that the previous release does not use; its processes go on counting for themselves.
"""

from alembic import op

from hayabin.database.migrations.row_security import isolate

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """CREATE TABLE sending_rates (
        tenant_id bigint CONSTRAINT pk_sending_rates PRIMARY KEY
            CONSTRAINT fk_sending_rates_tenant_id REFERENCES tenants (id) ON DELETE CASCADE,
        used_until timestamptz NOT NULL)"""
    )
    isolate("sending_rates")


def downgrade() -> None:
    op.drop_table("sending_rates")
