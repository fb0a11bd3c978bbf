"""An index of addresses that are written differently from their mailbox: plus-tags, dots at Gmail.

Expand: an index that the previous release does not use. It is made without stopping anybody who writes contacts; a
migration that broke off while it was made leaves an invalid one, which is made anew.
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_INDEX = "ix_contacts_tenant_id_mailbox"
_MAILBOX = (
    r"COALESCE(replace(split_part(substring(address_key, '^(.*)@(gmail|googlemail)\.com$'), '+', 1), '.', '') "
    r"|| '@gmail.com', regexp_replace(address_key, '(.)\+[^@]*@', '\1@'))"
)
_VARIANT = "address_key LIKE '%_+%' OR address_key LIKE '%.%@gmail.com' OR address_key LIKE '%@googlemail.com'"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {_INDEX}")
        op.create_index(
            _INDEX,
            "contacts",
            ["tenant_id", sa.text(_MAILBOX)],
            postgresql_where=sa.text(_VARIANT),
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    op.drop_index(_INDEX, table_name="contacts")
