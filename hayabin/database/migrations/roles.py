"""The two roles that row-level security speaks of, which belong to the whole cluster and not to one database.

Promises: ``make_roles`` may be called again, and by the migrations of several databases of a cluster at once. It works
for a superuser, for a user with CREATEROLE, and for any user whom an administrator has made the roles for.
Fails: with SQLSTATE 42501 and the statements that an administrator has to run, where the user may not.
Source: PostgreSQL documentation, CREATE ROLE and GRANT; from version 16 on a membership says by itself whether it is
inherited and whether one may SET ROLE by it.
"""

from alembic import op

from hayabin.database.migrations.row_security import SERVICES_ROLE, TENANT_ROLE

ATTEMPTS = 12
"""Each may wait for the lock_timeout of a migration, while another database's migration makes the same roles."""

_MAKE_SQL = f"""
DO $block$
DECLARE
    wanted text;
    membership text;
    newer boolean := current_setting('server_version_num')::int >= 160000;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['{TENANT_ROLE}', '{SERVICES_ROLE}'] LOOP
        membership := CASE WHEN NOT newer THEN '' WHEN wanted = '{SERVICES_ROLE}' THEN ' WITH INHERIT TRUE, SET TRUE'
                           ELSE ' WITH INHERIT FALSE, SET TRUE' END;
        FOR attempt IN 1..{ATTEMPTS} LOOP
            BEGIN
                IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = wanted) THEN
                    EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
                END IF;
                IF NOT EXISTS (
                    SELECT 1 FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid
                    WHERE r.rolname = wanted AND m.member = (SELECT oid FROM pg_roles WHERE rolname = current_user))
                   OR NOT pg_has_role(current_user, wanted,
                                      CASE WHEN wanted = '{SERVICES_ROLE}' THEN 'USAGE'
                                           WHEN newer THEN 'SET' ELSE 'MEMBER' END) THEN
                    EXECUTE format('GRANT %I TO %I', wanted, current_user) || membership;
                END IF;
                EXIT;
            EXCEPTION
                -- another database of this cluster is being migrated: its roles will do
                WHEN unique_violation OR duplicate_object OR lock_not_available OR internal_error THEN
                    IF attempt = {ATTEMPTS} THEN RAISE; END IF;
                WHEN insufficient_privilege THEN EXIT;
            END;
        END LOOP;
    END LOOP;
    IF EXISTS (SELECT 1 FROM unnest(ARRAY['{TENANT_ROLE}', '{SERVICES_ROLE}']) AS names(name)
               WHERE NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = name))
       OR NOT pg_has_role(current_user, '{SERVICES_ROLE}', 'USAGE')
       OR NOT pg_has_role(current_user, '{TENANT_ROLE}', CASE WHEN newer THEN 'SET' ELSE 'MEMBER' END) THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege', MESSAGE = format(
            'The database user %1$I may not make the roles that keep tenants apart. Let an administrator run: '
            'CREATE ROLE {TENANT_ROLE} NOLOGIN; CREATE ROLE {SERVICES_ROLE} NOLOGIN; (those that are not there yet) '
            'GRANT {TENANT_ROLE} TO %1$I; GRANT {SERVICES_ROLE} TO %1$I; ALTER ROLE %1$I INHERIT; %2$sthen migrate '
            'again.', current_user,
            -- from 16 on CREATEROLE does not reach roles that somebody else has made
            CASE WHEN newer AND EXISTS (SELECT 1 FROM pg_roles WHERE rolname IN ('{TENANT_ROLE}', '{SERVICES_ROLE}'))
                 THEN '' ELSE format('or: ALTER ROLE %I CREATEROLE INHERIT; ', current_user) END);
    END IF;
END
$block$"""  # noqa: S608 - constants of ours


def make_roles() -> None:
    """Make the roles where they are missing, and the current user a member of both."""
    op.execute(_MAKE_SQL)


def open_schema() -> None:
    """Let the tenants' role name what is in the schema and take ids of its sequences, those to come included."""
    op.execute(f"""
    DO $block$ BEGIN
        IF NOT has_schema_privilege('{TENANT_ROLE}', current_schema(), 'USAGE') THEN
            EXECUTE format('GRANT USAGE ON SCHEMA %I TO {TENANT_ROLE}', current_schema());
        END IF;
        EXECUTE format('GRANT USAGE ON ALL SEQUENCES IN SCHEMA %I TO {TENANT_ROLE}', current_schema());
        EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT USAGE ON SEQUENCES TO {TENANT_ROLE}',
                       current_schema());
    END $block$""")


def close_schema() -> None:
    """Take back what ``open_schema`` did; the roles stay, other databases of the cluster may use them."""
    op.execute(f"""
    DO $block$ BEGIN
        EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I REVOKE USAGE ON SEQUENCES FROM {TENANT_ROLE}',
                       current_schema());
        EXECUTE format('REVOKE USAGE ON ALL SEQUENCES IN SCHEMA %I FROM {TENANT_ROLE}', current_schema());
        EXECUTE format('REVOKE USAGE ON SCHEMA %I FROM {TENANT_ROLE}', current_schema());
    END $block$""")
