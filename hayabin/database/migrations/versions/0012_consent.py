"""States of subscriptions, the consent ledger, suppressions of domains and of the platform."""

import sqlalchemy as sa
from alembic import op

from hayabin.database.migrations.row_security import TENANT_ROLE, isolate

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

STATES = "'pending', 'subscribed', 'unsubscribed', 'bounced', 'complained'"
ACTIONS = "'opt_in', 'confirm', 'opt_out', 'change'"
BASES = "'form', 'import', 'api', 'written', 'existing_relationship', 'unspecified'"

PLATFORM_SLUG = "(platform)"
"""Slugs of tenants are letters, digits and hyphens."""

HISTORY_APPEND_ONLY = """
CREATE FUNCTION subscription_changes_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'subscription_changes is append-only' USING ERRCODE = 'restrict_violation';
END $$"""

CONSENTS_APPEND_ONLY = """
CREATE FUNCTION consents_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    keep_days int;
BEGIN
    IF TG_OP = 'UPDATE' THEN -- a person is erased: once, and nothing but what tells who it was
        IF OLD.address_hash IS NULL AND NEW.address_hash IS NOT NULL AND NEW.address_key = '' AND NEW.ip IS NULL
           AND NEW.user_agent = '' AND NEW.note = ''
           AND to_jsonb(NEW) - '{address_hash,address_key,ip,user_agent,note}'::text[]
             = to_jsonb(OLD) - '{address_hash,address_key,ip,user_agent,note}'::text[] THEN
            RETURN NEW;
        END IF;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT (t.settings ->> 'consent_retention_days')::int INTO keep_days FROM tenants t WHERE t.id = OLD.tenant_id;
        IF keep_days > 0 AND OLD.recorded_at < now() - make_interval(days => greatest(keep_days, 1095)) THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'consents is append-only' USING ERRCODE = 'restrict_violation';
END $$"""


def upgrade() -> None:
    """Expand."""
    op.add_column("lists", sa.Column("public", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("lists", sa.Column("public_name", sa.Text(), server_default="", nullable=False))
    op.add_column("list_members", sa.Column("consent", sa.Text(), server_default="unspecified", nullable=False))
    op.execute("ALTER TABLE list_members DROP CONSTRAINT ck_list_members_state")
    # NOT VALID: nothing is read under the lock; the rows that are there hold the narrower constraint of before
    op.execute(f"ALTER TABLE list_members ADD CONSTRAINT ck_list_members_state CHECK (state IN ({STATES})) NOT VALID")
    op.execute(
        f"ALTER TABLE list_members ADD CONSTRAINT ck_list_members_consent CHECK (consent IN ({BASES})) NOT VALID"
    )
    op.create_index("ix_suppressions_address_key", "suppressions", ["address_key"])
    op.create_index(
        "ix_suppressions_expires_at", "suppressions", ["expires_at"], postgresql_where=sa.text("expires_at IS NOT NULL")
    )
    _subscription_changes()
    _consents()
    op.execute(
        "INSERT INTO tenants (id, slug, name) OVERRIDING SYSTEM VALUE "  # noqa: S608 - a constant of ours
        f"VALUES (0, '{PLATFORM_SLUG}', '{PLATFORM_SLUG}') ON CONFLICT DO NOTHING"
    )


def _subscription_changes() -> None:
    op.create_table(
        "subscription_changes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("list_id", sa.BigInteger(), nullable=False),
        sa.Column("contact_id", sa.BigInteger(), nullable=False),
        sa.Column("was", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(f"action IN ({ACTIONS})", name=op.f("ck_subscription_changes_action")),
        sa.CheckConstraint(f"state IN ({STATES})", name=op.f("ck_subscription_changes_state")),
        sa.CheckConstraint("was IS DISTINCT FROM state", name=op.f("ck_subscription_changes_moved")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subscription_changes")),
    )
    op.create_index("ix_subscription_changes_contact_id", "subscription_changes", ["contact_id"])
    op.execute(HISTORY_APPEND_ONLY)
    _append_only("subscription_changes")


def _consents() -> None:
    op.create_table(
        "consents",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("contact_id", sa.BigInteger(), nullable=True),
        sa.Column("address_key", sa.Text(), nullable=False),
        sa.Column("address_hash", sa.LargeBinary(), nullable=True),
        sa.Column("list_id", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("basis", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("wording", sa.Text(), server_default="", nullable=False),
        sa.Column("ip", sa.Text(), nullable=True),
        sa.Column("user_agent", sa.Text(), server_default="", nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(f"action IN ({ACTIONS})", name=op.f("ck_consents_action")),
        sa.CheckConstraint(f"basis IN ({BASES})", name=op.f("ck_consents_basis")),
        sa.CheckConstraint("address_hash IS NULL OR address_key = ''", name=op.f("ck_consents_erased")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consents")),
    )
    op.create_index("ix_consents_contact_id", "consents", ["contact_id"])
    op.create_index("ix_consents_tenant_id_address_key", "consents", ["tenant_id", "address_key"])
    for moment in ("occurred_at", "recorded_at"):
        op.create_index(f"ix_consents_{moment}", "consents", [moment], postgresql_using="brin")
    op.execute(CONSENTS_APPEND_ONLY)
    _append_only("consents")


def _append_only(table: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION {table}_append_only()"
    )
    op.execute(
        f"CREATE TRIGGER {table}_stay BEFORE TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_append_only()"
    )
    isolate(table)
    op.execute(f"REVOKE UPDATE, DELETE ON {table} FROM {TENANT_ROLE}")


def downgrade() -> None:
    """Undo; what the older release has no word for was no subscription to it."""
    op.execute("DELETE FROM suppressions WHERE tenant_id = 0")
    op.drop_index("ix_suppressions_expires_at", table_name="suppressions")
    op.drop_index("ix_suppressions_address_key", table_name="suppressions")
    op.drop_table("consents")
    op.drop_table("subscription_changes")
    op.execute("DELETE FROM tenants WHERE id = 0")
    op.execute("DROP FUNCTION consents_append_only()")
    op.execute("DROP FUNCTION subscription_changes_append_only()")
    op.execute("ALTER TABLE list_members DROP CONSTRAINT ck_list_members_state")
    op.execute("UPDATE list_members SET state = 'unsubscribed' WHERE state NOT IN ('subscribed', 'unsubscribed')")
    op.execute(
        "ALTER TABLE list_members ADD CONSTRAINT ck_list_members_state CHECK (state IN ('subscribed', 'unsubscribed'))"
    )
    op.drop_column("list_members", "consent")
    op.drop_column("lists", "public_name")
    op.drop_column("lists", "public")
