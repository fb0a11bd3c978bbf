"""Audit trail, approvals, quotas, settings of a tenant."""

import sqlalchemy as sa
from alembic import op

from hayabin.database.migrations.row_security import OWN, TENANT_ROLE, isolate, of_parent

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_LINE = """
    tenant_id bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor text NOT NULL,
    key_id bigint,
    user_id bigint,
    action text NOT NULL,
    object_type text NOT NULL DEFAULT '',
    object_id text NOT NULL DEFAULT '',
    trace_id text NOT NULL DEFAULT '',
    ip text NOT NULL DEFAULT '',
    detail jsonb NOT NULL DEFAULT '{}'::jsonb"""

_TABLES = (
    f"""CREATE TABLE audit_pending (
    entry_id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_audit_pending PRIMARY KEY, {_LINE})""",
    "CREATE INDEX ix_audit_pending_tenant_id_entry_id ON audit_pending (tenant_id, entry_id)",
    f"""CREATE TABLE audit_log ({_LINE},
    entry_id bigint NOT NULL,
    seq bigint NOT NULL,
    prev_hash bytea NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT pk_audit_log PRIMARY KEY (tenant_id, seq),
    CONSTRAINT uq_audit_log_tenant_id_entry_id UNIQUE (tenant_id, entry_id))""",
    """CREATE INDEX ix_audit_log_tenant_id_object_type_object_id_entry_id
    ON audit_log (tenant_id, object_type, object_id, entry_id)""",
    "CREATE INDEX ix_audit_log_tenant_id_action_entry_id ON audit_log (tenant_id, action, entry_id)",
    """CREATE TABLE audit_heads (
    tenant_id bigint CONSTRAINT pk_audit_heads PRIMARY KEY,
    seq bigint NOT NULL,
    hash bytea NOT NULL,
    linked_at timestamptz NOT NULL DEFAULT now())""",
    """CREATE TABLE approvals (
    id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_approvals PRIMARY KEY,
    tenant_id bigint NOT NULL CONSTRAINT fk_approvals_tenant_id REFERENCES tenants (id) ON DELETE CASCADE,
    campaign_id bigint NOT NULL CONSTRAINT fk_approvals_campaign_id REFERENCES campaigns (id) ON DELETE CASCADE,
    hash bytea NOT NULL,
    approver text NOT NULL,
    key_id bigint NOT NULL,
    user_id bigint,
    approved_at timestamptz NOT NULL DEFAULT now(),
    withdrawn_at timestamptz)""",
    "CREATE INDEX ix_approvals_campaign_id ON approvals (campaign_id)",
    "CREATE INDEX ix_approvals_tenant_id ON approvals (tenant_id)",
    "CREATE UNIQUE INDEX uq_approvals_standing ON approvals (campaign_id, hash, approver) WHERE withdrawn_at IS NULL",
    """CREATE TABLE quota_uses (
    campaign_id bigint CONSTRAINT pk_quota_uses PRIMARY KEY,
    tenant_id bigint NOT NULL CONSTRAINT fk_quota_uses_tenant_id REFERENCES tenants (id) ON DELETE CASCADE,
    day date NOT NULL,
    mails bigint NOT NULL,
    settled boolean NOT NULL DEFAULT false)""",
    "CREATE INDEX ix_quota_uses_tenant_id_day ON quota_uses (tenant_id, day)",
    "CREATE INDEX ix_quota_uses_unsettled ON quota_uses (campaign_id) WHERE NOT settled",
)

_APPEND_ONLY = """
CREATE FUNCTION audit_log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit_log is append-only: % is refused', TG_OP
        USING ERRCODE = 'insufficient_privilege', HINT = 'See docs/adr/0027-audit-chain.md.';
END $$"""

_KEY = "decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex')"


def upgrade() -> None:
    op.execute("ALTER TABLE tenants ADD COLUMN settings jsonb NOT NULL DEFAULT '{}'::jsonb")
    # A default that differs from row to row is filled in by rewriting the table, which is small.
    op.execute(f"ALTER TABLE tenants ADD COLUMN audit_key bytea NOT NULL DEFAULT {_KEY}")
    op.add_column("campaigns", sa.Column("edited_by_key", sa.BigInteger))
    op.add_column("campaigns", sa.Column("edited_by_user", sa.BigInteger))
    for statement in _TABLES:
        op.execute(statement)
    op.execute(_APPEND_ONLY)
    op.execute(
        "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_log_is_append_only()"
    )
    for table in ("audit_pending", "audit_log", "audit_heads", "quota_uses"):
        isolate(table)
    isolate("approvals", OWN, f"{OWN} AND {of_parent('approvals', 'campaign_id', 'campaigns')}")
    op.execute(f"REVOKE INSERT, UPDATE, DELETE ON audit_log, audit_heads FROM {TENANT_ROLE}")
    op.execute(f"REVOKE UPDATE, DELETE ON audit_pending FROM {TENANT_ROLE}")


def downgrade() -> None:
    for table in ("quota_uses", "approvals", "audit_heads", "audit_log", "audit_pending"):
        op.drop_table(table)
    op.execute("DROP FUNCTION audit_log_is_append_only()")
    op.drop_column("campaigns", "edited_by_user")
    op.drop_column("campaigns", "edited_by_key")
    op.execute("ALTER TABLE tenants DROP COLUMN audit_key")
    op.execute("ALTER TABLE tenants DROP COLUMN settings")
