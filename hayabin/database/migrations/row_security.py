"""Row-level security for migrations: who sees which rows of a table.

Promises: after ``isolate`` a table shows the role ``hayabin_tenant`` the rows of the tenant that the transaction has
named (``hayabin.database.tenancy``) and no others, its owner included (FORCE); ``hayabin_services``, which scheduler,
renderers, dispatchers, tracker and bounce are members of by the user that they connect as, sees all. A new table that
nothing is said of is closed to the tenants' role: ``isolate`` or ``share`` opens it.
Fails: as the database does; nothing is half done, as a migration is one transaction.
Source: PostgreSQL documentation, "Row Security Policies".
"""

from alembic import op

TENANT_ROLE = "hayabin_tenant"
SERVICES_ROLE = "hayabin_services"
CURRENT_TENANT = "NULLIF(current_setting('hayabin.tenant_id', true), '')::bigint"
"""NULL, and so equal to nothing, where no transaction has named a tenant. Bare, not in a sub-select: where a statement
names the tenant too, the planner compares the two once and not for each row, and it knows how many rows a tenant has."""
OWN = f"tenant_id = {CURRENT_TENANT}"


def isolate(table: str, sees: str = OWN, writes: str | None = None) -> None:
    """Give a table its policies.

    ``sees``: SQL condition for rows that a tenant reads, changes and deletes; ``writes``: for rows as it leaves them
    (the same where not given).
    """
    close(table)
    op.execute(f"CREATE POLICY tenant ON {table} TO {TENANT_ROLE} USING ({sees}) WITH CHECK ({writes or sees})")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {TENANT_ROLE}")


def isolate_by_parent(table: str, column: str, parent: str) -> None:
    """The same for a table whose rows belong to a row of another, isolated one.

    A statement that makes both rows at once (``WITH made AS (INSERT …) INSERT …``) is refused: a row that was made by
    the same statement is not seen yet. Make them in two.
    """
    isolate(table, of_parent(table, column, parent))


def of_parent(table: str, column: str, parent: str) -> str:
    """The condition that the row of ``parent`` that ``column`` names is seen."""
    return f"EXISTS (SELECT 1 FROM {parent} owner WHERE owner.id = {table}.{column})"  # noqa: S608 - names of tables


def share(table: str) -> None:
    """Let tenants read a table of the platform, which has nothing of a tenant."""
    op.execute(f"GRANT SELECT ON {table} TO {TENANT_ROLE}")


def close(table: str) -> None:
    """Show the rows of a table to the services and to nobody else."""
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY services ON {table} TO {SERVICES_ROLE} USING (true) WITH CHECK (true)")


def open_up(table: str) -> None:
    """Take back what ``isolate``, ``close`` or ``share`` did; for downgrades of tables that stay."""
    op.execute(f"DROP POLICY IF EXISTS tenant ON {table}")
    op.execute(f"DROP POLICY IF EXISTS services ON {table}")
    op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    op.execute(f"REVOKE ALL ON {table} FROM {TENANT_ROLE}")
