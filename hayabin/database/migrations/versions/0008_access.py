"""Users, roles, and keys that are bound, rotated and seen.

Expand: columns with defaults; a process of the previous release goes on with the keys that it knows. It knows nothing of
networks and of users, and would let such a key in from anywhere: make these when the update is through.

What a key may do does not become less by new scopes being cut out of old ones. Whoever could read contacts saw all of
them and could take them away page by page: such keys get ``contacts:read_personal`` and ``contacts:export``. Keys that
had every scope of a tenant get the new ones, too. Take away what is too much: `POST /v1/api-keys` with less, then revoke.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from hayabin.database.migrations.row_security import OWN, TENANT_ROLE, isolate, of_parent

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_SEES_ALL = ("contacts:read_personal", "contacts:export")
_WERE_ALL = (
    "contacts:read", "contacts:write", "templates:read", "templates:write", "campaigns:read", "campaigns:write",
    "campaigns:send", "suppressions:read", "suppressions:write", "domains:read", "domains:write",
)  # fmt: skip
_NEW = (
    "contacts:erase", "consents:read", "campaigns:approve", "campaigns:override", "audit:read", "tenant:admin",
)  # fmt: skip


def _array(scopes: tuple[str, ...]) -> str:
    return f"ARRAY[{', '.join(repr(scope) for scope in scopes)}]::text[]"


def _widen(having: tuple[str, ...], more: tuple[str, ...]) -> None:
    op.execute(f"""
        UPDATE api_keys SET scopes = ARRAY(SELECT DISTINCT unnest(scopes || {_array(more)}) ORDER BY 1)
        WHERE scopes @> {_array(having)}""")  # noqa: S608 - constants of ours


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("email_key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="active", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("role IN ('viewer', 'editor', 'approver', 'sender', 'admin')", name=op.f("ck_users_role")),
        sa.CheckConstraint("state IN ('active', 'disabled')", name=op.f("ck_users_state")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_users_tenant_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("tenant_id", "email_key", name=op.f("uq_users_tenant_id_email_key")),
    )
    isolate("users")
    op.add_column("api_keys", sa.Column("last_used_from", sa.Text(), nullable=True))
    op.add_column("api_keys", sa.Column("user_id", sa.BigInteger(), nullable=True))
    op.add_column(
        "api_keys",
        sa.Column("cidrs", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'::text[]"), nullable=False),
    )
    op.add_column("api_keys", sa.Column("replaces", sa.BigInteger(), nullable=True))
    op.create_foreign_key(op.f("fk_api_keys_user_id"), "api_keys", "users", ["user_id"], ["id"], ondelete="CASCADE")
    op.create_foreign_key(
        op.f("fk_api_keys_replaces"), "api_keys", "api_keys", ["replaces"], ["id"], ondelete="SET NULL"
    )
    op.create_index("ix_api_keys_tenant_id_id", "api_keys", ["tenant_id", "id"])
    op.create_index("ix_api_keys_user_id", "api_keys", ["user_id"], postgresql_where=sa.text("user_id IS NOT NULL"))
    op.execute(
        f"ALTER POLICY tenant ON api_keys TO {TENANT_ROLE} USING ({OWN}) "
        f"WITH CHECK ({OWN} AND (user_id IS NULL OR {of_parent('api_keys', 'user_id', 'users')}))"
    )
    _widen(("contacts:read",), _SEES_ALL)
    _widen(_WERE_ALL, _NEW)


def downgrade() -> None:
    """The scopes stay: the release before does not look at those that it does not know."""
    op.execute(f"ALTER POLICY tenant ON api_keys TO {TENANT_ROLE} USING ({OWN}) WITH CHECK ({OWN})")
    op.execute("DELETE FROM api_keys WHERE user_id IS NOT NULL")  # they would outlive their users' roles
    op.drop_index("ix_api_keys_user_id", table_name="api_keys")
    op.drop_index("ix_api_keys_tenant_id_id", table_name="api_keys")
    for column in ("replaces", "cidrs", "user_id", "last_used_from"):
        op.drop_column("api_keys", column)
    op.drop_table("users")
