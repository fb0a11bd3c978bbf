"""``hayabin admin``: tenants, users, keys, pools, lanes, holds, secrets, migrations, in the database of the settings.

Promises: what is made has its line in the audit log, of the tenant or of the platform.
Fails: with exit code 1 and a sentence that says what to do.
"""

import base64
import re
import secrets

import asyncpg
import click

from hayabin.database.migrate import RolesMissing, upgrade
from services.api.admin_access import (
    change_user,
    create_key,
    create_user,
    list_keys,
    list_users,
    revoke_key,
    rotate_key,
)
from services.api.admin_database import database_url, on_database
from services.api.admin_hold import hold, release, status
from services.api.admin_lanes import lanes, resume, suspend
from services.api.audit_trail import PLATFORM, note_admin

_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


@click.group()
def admin() -> None:
    """Tenants, users, API keys, pools, lanes, secrets, migrations."""


for command in (
    create_user, change_user, list_users, create_key, list_keys, rotate_key, revoke_key,
    lanes, suspend, resume, hold, release, status,
):  # fmt: skip
    admin.add_command(command)


@admin.command()
def migrate() -> None:
    """Bring the database to the newest schema."""
    try:
        upgrade(database_url())
    except RolesMissing as error:
        raise click.ClickException(str(error)) from error
    click.echo("The schema is up to date.")


@admin.command("new-secret")
def new_secret() -> None:
    """Print 32 random bytes in base64, for HAYABIN_MASTER_KEY or HAYABIN_TOKEN_SECRET."""
    click.echo(base64.b64encode(secrets.token_bytes(32)).decode())


@admin.command("create-tenant")
@click.argument("slug")
@click.option("--name", default="", help="What people call it; the slug if not given.")
def create_tenant(slug: str, name: str) -> None:
    """Create a tenant (a team whose data is its own)."""
    if not _SLUG.fullmatch(slug):
        raise click.ClickException("a slug has a-z, 0-9 and -, at most 40 characters")

    async def work(connection: asyncpg.Connection) -> None:
        async with connection.transaction():
            tenant_id = await connection.fetchval(
                "INSERT INTO tenants (slug, name) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING id",
                slug,
                name or slug,
            )
            if tenant_id is None:
                raise click.ClickException(f"there is a tenant {slug} already")
            await note_admin(connection, tenant_id, "createTenant", {})
        click.echo(f"Created tenant {slug}. Next: hayabin admin create-key {slug}")

    on_database(work)


@admin.command("create-pool")
@click.argument("name")
@click.option("--description", default="")
def create_pool(name: str, description: str) -> None:
    """Create an IP pool; a dispatcher with HAYABIN_POOL of this name serves it."""

    async def work(connection: asyncpg.Connection) -> None:
        try:
            async with connection.transaction():
                made = await connection.fetchval(
                    "INSERT INTO ip_pools (name, description) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE "
                    "SET state = 'active' WHERE ip_pools.state = 'removed' RETURNING name",
                    name,
                    description,
                )
                if made is not None:
                    await note_admin(connection, PLATFORM, "createIpPool", {"pool": made})
        except asyncpg.CheckViolationError as error:
            raise click.ClickException("a pool's name has a-z, 0-9 and -, at most 40 characters") from error
        click.echo(f"There is a pool {name}.")

    on_database(work)
