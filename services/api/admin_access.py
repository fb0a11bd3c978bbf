"""``hayabin admin``: users and API keys of a tenant.

Promises: an API key is shown once, at its creation, and never again; what is done is in the tenant's audit log. A
tenant that has an active admin keeps one.
Fails: with exit code 1 and a sentence that says what to do.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import click

from hayabin.domain.address import Address, AddressInvalid, parse_address
from hayabin.domain.roles import RIGHTS, Role, UserState
from hayabin.domain.scope import OF_TENANT, Scope
from services.api import key_rows, user_rows
from services.api.access import new_key
from services.api.admin_database import on_database
from services.api.audit_trail import note_admin
from services.api.peer import networks_of

_ROLE = click.Choice([role.value for role in Role])
_STATE = click.Choice([state.value for state in UserState])


async def tenant_of(connection: asyncpg.Connection, slug: str) -> int:
    """The id of a tenant.

    Raises: ClickException where there is none.
    """
    tenant_id = await connection.fetchval("SELECT id FROM tenants WHERE slug = $1 AND id <> 0", slug)
    if tenant_id is None:
        raise click.ClickException(f"there is no tenant {slug}: `hayabin admin create-tenant {slug}`")
    return int(tenant_id)


def _address(_context: click.Context, _parameter: click.Parameter, text: str | None) -> Address | None:
    if text is None:
        return None
    try:
        return parse_address(text)
    except AddressInvalid as error:
        raise click.BadParameter(f"{text} is no address: {error.reason}") from error


def _networks(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> list[str]:
    try:
        return [str(network) for network in networks_of(texts)]
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


async def _user(connection: asyncpg.Connection, tenant_id: int, email: Address) -> Any:
    row = await connection.fetchrow(
        "SELECT id, role FROM users WHERE tenant_id = $1 AND email_key = $2", tenant_id, email.key
    )
    if row is None:
        raise click.ClickException(f"there is no user {email.given}: `hayabin admin list-users`")
    return row


@click.command("create-user")
@click.argument("slug")
@click.argument("email", callback=_address)
@click.option("--role", required=True, type=_ROLE, help="What they may do.")
@click.option("--name", default="", help="What people call them.")
def create_user(slug: str, email: Address, role: str, name: str) -> None:
    """Add a person to a tenant; give them a key with `create-key --user`."""

    async def work(connection: asyncpg.Connection) -> None:
        async with connection.transaction():
            tenant_id = await tenant_of(connection, slug)
            try:
                user = await user_rows.create(connection, tenant_id, email, name, Role(role))
            except user_rows.UserTaken as error:
                raise click.ClickException(f"{slug} has a user {email.given} already") from error
            await note_admin(connection, tenant_id, "createUser", {"made": user["id"], "role": role})

    on_database(work)
    click.echo(f"Created {role} {email.given}. Next: hayabin admin create-key {slug} --user {email.given}")


@click.command("change-user")
@click.argument("slug")
@click.argument("email", callback=_address)
@click.option("--role", type=_ROLE, help="Their new role.")
@click.option("--state", type=_STATE, help="disabled: their keys end at once.")
@click.option("--name", help="What people call them.")
def change_user(slug: str, email: Address, role: str | None, state: str | None, name: str | None) -> None:
    """Change a person's role, state or name; it holds from their next request on."""
    changed = user_rows.Change(name=name, role=Role(role) if role else None, state=UserState(state) if state else None)

    async def work(connection: asyncpg.Connection) -> None:
        async with connection.transaction():
            tenant_id = await tenant_of(connection, slug)
            user = await _user(connection, tenant_id, email)
            try:
                await user_rows.change(connection, tenant_id, user["id"], changed)
            except user_rows.LastAdmin as error:
                raise click.ClickException("this is the last active admin: make somebody else admin first") from error
            detail = {"user": user["id"], "role": role, "state": state}
            await note_admin(connection, tenant_id, "changeUser", detail)

    on_database(work)
    click.echo("Changed.")


@click.command("list-users")
@click.argument("slug")
def list_users(slug: str) -> None:
    """List the people of a tenant."""

    async def work(connection: asyncpg.Connection) -> None:
        rows = await connection.fetch(
            "SELECT email, name, role, state, last_seen_at FROM users WHERE tenant_id = $1 ORDER BY id",
            await tenant_of(connection, slug),
        )
        for row in rows:
            seen = f"seen {row['last_seen_at']:%Y-%m-%d}" if row["last_seen_at"] else "never seen"
            click.echo(f"{row['email']}  {row['role']}  {row['state']}  {seen}  {row['name']}")

    on_database(work)


@click.command("create-key")
@click.argument("slug")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([s.value for s in Scope]),
    help="Default: all but platform:admin; with --user all of their role.",
)
@click.option("--name", default="", help="What the key is for.")
@click.option("--user", "email", callback=_address, help="The person whose key it is; without, it is a program's.")
@click.option("--cidr", "cidrs", multiple=True, callback=_networks, help="A network that it may be used from.")
@click.option("--expires-days", type=click.IntRange(1, 3650), help="Default: it does not expire.")
def create_key(
    slug: str, scopes: tuple[str, ...], name: str, email: Address | None, cidrs: list[str], expires_days: int | None
) -> None:
    """Create an API key of a tenant and print it, once."""
    key = new_key()

    async def work(connection: asyncpg.Connection) -> None:
        async with connection.transaction():
            tenant_id = await tenant_of(connection, slug)
            user = None if email is None else await _user(connection, tenant_id, email)
            rights = OF_TENANT if user is None else RIGHTS[Role(user["role"])]
            if user is not None and (more := sorted(set(scopes) - rights)):
                raise click.ClickException(f"the role {user['role']} has no {', '.join(more)}")
            spec = key_rows.KeySpec(
                name=name,
                scopes=list(set(scopes) or rights),
                user_id=user and user["id"],
                cidrs=cidrs,
                expires_at=datetime.now(UTC) + timedelta(days=expires_days) if expires_days else None,
            )
            made = await key_rows.create(connection, tenant_id, key, spec)
            await note_admin(connection, tenant_id, "createApiKey", {"made": made["id"]})

    on_database(work)
    click.echo(key.shown)


@click.command("list-keys")
@click.argument("slug")
def list_keys(slug: str) -> None:
    """List the keys of a tenant, without their secrets."""

    async def work(connection: asyncpg.Connection) -> None:
        tenant_id = await tenant_of(connection, slug)
        people = await connection.fetch("SELECT id, email FROM users WHERE tenant_id = $1", tenant_id)
        emails = {row["id"]: row["email"] for row in people}
        for row in await connection.fetch(
            f"SELECT {key_rows.COLUMNS} FROM api_keys WHERE tenant_id = $1 ORDER BY id",  # noqa: S608 - constants of ours
            tenant_id,
        ):
            click.echo("  ".join(_key_words(dict(row), emails.get(row["user_id"]))))

    on_database(work)


def _key_words(row: dict[str, Any], email: str | None) -> list[str]:
    used = f"used {row['last_used_at']:%Y-%m-%d}" if row["last_used_at"] else "never used"
    source = f" from {row['last_used_from']}" if row["last_used_from"] else ""
    ends = f"until {row['expires_at']:%Y-%m-%d %H:%M}" if row["expires_at"] else ""
    words = [f"{row['prefix']}_…", row["state"], used + source, ends, row["name"], email or "", *row["cidrs"]]
    return [*(word for word in words if word), " ".join(row["scopes"])]


async def _key(connection: asyncpg.Connection, prefix: str) -> Any:
    part = prefix.removeprefix("hyb_").partition("_")[0]
    row = await connection.fetchrow("SELECT id, tenant_id FROM api_keys WHERE prefix = $1 AND revoked_at IS NULL", part)
    if row is None:
        raise click.ClickException(f"there is no valid key with the prefix {part}")
    return row


@click.command("rotate-key")
@click.argument("prefix")
@click.option("--overlap-s", type=click.IntRange(0, 30 * 24 * 3600), default=3600, show_default=True,
              help="How long the old key goes on working.")  # fmt: skip
def rotate_key(prefix: str, overlap_s: int) -> None:
    """Make a key in place of another (``hyb_<prefix>_…``) and print it, once."""
    key = new_key()

    async def work(connection: asyncpg.Connection) -> None:
        async with connection.transaction():
            row = await _key(connection, prefix)
            rotated = await key_rows.rotate(connection, row["tenant_id"], row["id"], key, overlap_s)
            if rotated is None:
                raise click.ClickException("this key has expired: make a new one with `hayabin admin create-key`")
            await note_admin(connection, row["tenant_id"], "rotateApiKey", {"key": row["id"], "made": rotated[0]["id"]})

    on_database(work)
    click.echo(key.shown)


@click.command("revoke-key")
@click.argument("prefix")
def revoke_key(prefix: str) -> None:
    """Revoke a key by its prefix (``hyb_<prefix>_…``); it ends at once."""

    async def work(connection: asyncpg.Connection) -> None:
        async with connection.transaction():
            row = await _key(connection, prefix)
            await key_rows.revoke(connection, row["tenant_id"], row["id"])
            await note_admin(connection, row["tenant_id"], "revokeApiKey", {"key": row["id"]})
        click.echo("Revoked.")

    on_database(work)
