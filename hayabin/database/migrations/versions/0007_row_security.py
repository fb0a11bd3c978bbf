"""Roles and policies: a tenant sees its own rows.

Expand: a process of the previous release does not enter the tenants' role; as the user that it connects as it is a
member of ``hayabin_services`` and sees all, as before.
"""

from alembic import op

from hayabin.database.migrations.roles import close_schema, make_roles, open_schema
from hayabin.database.migrations.row_security import (
    CURRENT_TENANT,
    OWN,
    SERVICES_ROLE,
    TENANT_ROLE,
    close,
    isolate,
    isolate_by_parent,
    of_parent,
    open_up,
    share,
)

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_OWN = (
    "api_keys", "idempotency_keys", "contacts", "lists", "templates", "domains", "recipients", "messages", "attempts",
    "transcripts", "events",
)  # fmt: skip
_OF_PARENT = (
    ("import_chunks", "job_id", "import_jobs"),
    ("import_errors", "job_id", "import_jobs"),
    ("template_versions", "template_id", "templates"),
    ("dkim_keys", "domain_id", "domains"),
    ("feeds", "campaign_id", "campaigns"),
    ("counters", "campaign_id", "campaigns"),
    ("counter_deltas", "campaign_id", "campaigns"),
    ("engagements", "message_id", "messages"),
)
_SHARED = (
    "pool_sources", "source_ips", "provider_policies", "effective_policies", "suspensions", "lane_reports", "warmups",
    "lane_usage", "belt_depths", "installation", "instances",
)  # fmt: skip


def _or_none(table: str, column: str, parent: str) -> str:
    return f"({column} IS NULL OR {of_parent(table, column, parent)})"


def _isolate_what_refers() -> None:
    """Tables with foreign keys to others of a tenant: the database's own check of those sees all tenants' rows."""
    isolate(
        "list_members",
        of_parent("list_members", "list_id", "lists"),
        f"{of_parent('list_members', 'list_id', 'lists')} AND {of_parent('list_members', 'contact_id', 'contacts')}",
    )
    isolate("import_jobs", OWN, f"{OWN} AND {_or_none('import_jobs', 'list_id', 'lists')}")
    references = (
        _or_none("campaigns", "list_id", "lists"),
        of_parent("campaigns", "template_version_id", "template_versions"),
        of_parent("campaigns", "domain_id", "domains"),
    )
    isolate("campaigns", OWN, " AND ".join((OWN, *references)))


def upgrade() -> None:
    make_roles()
    open_schema()
    isolate("tenants", f"id = {CURRENT_TENANT}")
    op.execute(f"REVOKE INSERT, DELETE ON tenants FROM {TENANT_ROLE}")
    for table in _OWN:
        isolate(table)
    isolate("suppressions")
    op.execute(f"CREATE POLICY tenant_reads ON suppressions FOR SELECT TO {TENANT_ROLE} USING (tenant_id = 0)")
    for table, column, parent in _OF_PARENT:
        isolate_by_parent(table, column, parent)
    _isolate_what_refers()
    close("outbox")  # written by a launch, read by nobody but the relay
    op.execute(f"CREATE POLICY tenant ON outbox FOR INSERT TO {TENANT_ROLE} WITH CHECK (exchange = 'hayabin.render')")
    op.execute(f"GRANT INSERT ON outbox TO {TENANT_ROLE}")
    for table in _SHARED:
        share(table)
    _share_pools()


def _share_pools() -> None:
    """A launch locks its pool (FOR SHARE), for which it needs the right to update; no update passes the check."""
    close("ip_pools")
    op.execute(f"CREATE POLICY tenant ON ip_pools TO {TENANT_ROLE} USING (true) WITH CHECK (false)")
    op.execute(f"GRANT SELECT, UPDATE (name) ON ip_pools TO {TENANT_ROLE}")


def downgrade() -> None:
    op.execute("DROP POLICY tenant_reads ON suppressions")
    for table in (
        "ip_pools", *_SHARED, "outbox", "campaigns", "import_jobs", "list_members",
        *(table for table, _, _ in _OF_PARENT), "suppressions", *_OWN, "tenants",
    ):  # fmt: skip
        open_up(table)
    close_schema()
