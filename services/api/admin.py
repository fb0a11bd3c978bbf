"""``hayabin admin``: tenants, keys, pools, lanes, holds, secrets, migrations, in the database of HAYABIN_DATABASE_URL.

Promises: an API key is shown once, at its creation, and never again.
Fails: with exit code 1 and a sentence that says what to do.
"""

import base64
import re
import secrets

import asyncpg
import click

from hayabin.database.migrate import upgrade
from services.api.access import Scope, new_key
from services.api.admin_database import database_url, on_database
from services.api.admin_hold import hold, release, status
from services.api.admin_lanes import lanes, resume, suspend

_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


async def _tenant(connection: asyncpg.Connection, slug: str) -> int:
    tenant_id = await connection.fetchval("SELECT id FROM tenants WHERE slug = $1", slug)
    if tenant_id is None:
        raise click.ClickException(f"there is no tenant {slug}: `hayabin admin create-tenant {slug}`")
    return int(tenant_id)


@click.group()
def admin() -> None:
    """Tenants, API keys, pools, lanes, secrets, migrations."""


for command in (lanes, suspend, resume, hold, release, status):
    admin.add_command(command)


@admin.command()
def migrate() -> None:
    """Bring the database to the newest schema."""
    upgrade(database_url())
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
        if not await connection.fetchval(
            "INSERT INTO tenants (slug, name) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING id", slug, name or slug
        ):
            raise click.ClickException(f"there is a tenant {slug} already")
        click.echo(f"Created tenant {slug}. Next: hayabin admin create-key {slug}")

    on_database(work)


@admin.command("create-key")
@click.argument("slug")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([s.value for s in Scope]),
    help="Default: all but platform:admin.",
)
@click.option("--name", default="", help="What the key is for.")
@click.option("--expires-days", type=click.IntRange(1, 3650), help="Default: it does not expire.")
def create_key(slug: str, scopes: tuple[str, ...], name: str, expires_days: int | None) -> None:
    """Create an API key of a tenant and print it, once."""
    granted = sorted(set(scopes) or {scope.value for scope in Scope} - {Scope.PLATFORM_ADMIN.value})
    key = new_key()

    async def work(connection: asyncpg.Connection) -> None:
        await connection.execute(
            "INSERT INTO api_keys (tenant_id, name, prefix, secret_hash, scopes, expires_at) "
            "VALUES ($1, $2, $3, $4, $5, now() + make_interval(days => $6))",
            await _tenant(connection, slug),
            name,
            key.prefix,
            key.secret_hash,
            granted,
            expires_days,
        )

    on_database(work)
    click.echo(key.shown)


@admin.command("list-keys")
@click.argument("slug")
def list_keys(slug: str) -> None:
    """List the keys of a tenant, without their secrets."""

    async def work(connection: asyncpg.Connection) -> None:
        for row in await connection.fetch(
            "SELECT prefix, name, scopes, last_used_at, CASE WHEN revoked_at IS NOT NULL THEN 'revoked' "
            "WHEN expires_at <= now() THEN 'expired' ELSE 'valid' END AS state FROM api_keys WHERE tenant_id = $1 "
            "ORDER BY id",
            await _tenant(connection, slug),
        ):
            used = f"used {row['last_used_at']:%Y-%m-%d}" if row["last_used_at"] else "never used"
            click.echo(f"hyb_{row['prefix']}_…  {row['state']}  {used}  {row['name']}  {' '.join(row['scopes'])}")

    on_database(work)


@admin.command("revoke-key")
@click.argument("prefix")
def revoke_key(prefix: str) -> None:
    """Revoke a key by its prefix (``hyb_<prefix>_…``); it ends at once."""
    part = prefix.removeprefix("hyb_").partition("_")[0]

    async def work(connection: asyncpg.Connection) -> None:
        if not await connection.fetchval(
            "UPDATE api_keys SET revoked_at = now() WHERE prefix = $1 AND revoked_at IS NULL RETURNING id", part
        ):
            raise click.ClickException(f"there is no valid key with the prefix {part}")
        click.echo("Revoked.")

    on_database(work)


@admin.command("create-pool")
@click.argument("name")
@click.option("--description", default="")
def create_pool(name: str, description: str) -> None:
    """Create an IP pool; a dispatcher with HAYABIN_POOL of this name serves it."""

    async def work(connection: asyncpg.Connection) -> None:
        try:
            await connection.execute(
                "INSERT INTO ip_pools (name, description) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE "
                "SET state = 'active' WHERE ip_pools.state = 'removed'",
                name,
                description,
            )
        except asyncpg.CheckViolationError as error:
            raise click.ClickException("a pool's name has a-z, 0-9 and -, at most 40 characters") from error
        click.echo(f"There is a pool {name}.")

    on_database(work)
