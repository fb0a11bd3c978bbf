"""``hayabin audit verify | export | head``: the audit log, in the database of HAYABIN_DATABASE_URL.

Promises: nothing is changed. Fails: with exit code 1 and a sentence that says what is wrong; ``verify`` fails so where
a chain does not hold, and looks at all the others first.
"""

import json
import re
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg
import click

from services.api.admin_database import on_database
from services.api.audit_export import head, lines_of, pages
from services.api.audit_lines import Anchor, Filter, Verdict, verify
from services.api.audit_trail import PLATFORM
from services.api.file_kind import FileKind

T = TypeVar("T")
PLATFORM_SLUG = "-"
"""Stands for what operators did to the installation as a whole."""
_ANCHOR = re.compile(r"([1-9][0-9]{0,17}):([0-9a-f]{64})")


@click.group()
def audit() -> None:
    """Who did what: check that the log is whole, take it out, print its heads.

    SLUG is a tenant's, or - for what operators did to the installation as a whole.
    """


def _anchored(_context: click.Context, _parameter: click.Parameter, text: str | None) -> Anchor | None:
    if text is None:
        return None
    found = _ANCHOR.fullmatch(text)
    if found is None:
        raise click.BadParameter("an anchor is SEQ:HASH, as `hayabin audit head` prints it")
    return Anchor(int(found[1]), bytes.fromhex(found[2]))


@audit.command("verify")
@click.argument("slug", required=False)
@click.option("--all", "every", is_flag=True, help="The logs of all tenants.")
@click.option("--anchor", callback=_anchored, help="SEQ:HASH of a head that was written down: it must still be there.")
def verify_(slug: str | None, anchor: Anchor | None, *, every: bool) -> None:
    """Follow the chain from its first line to its head, and name the first place that does not hold."""
    if (slug is None) != every or (anchor and every):
        raise click.UsageError("name a tenant, or say --all; an anchor is of one tenant")

    async def work(connection: asyncpg.Connection) -> int:
        chosen = await _tenants(connection) if slug is None else {slug: await _tenant(connection, slug)}
        return sum([_say(name, await verify(connection, tenant_id, anchor)) for name, tenant_id in chosen.items()])

    wrong = _on_lines(work)
    if wrong:
        raise click.ClickException(
            f"{wrong} audit log(s) were changed after they were written: keep a copy of the database as it is, and "
            "compare with a backup"
        )


def _say(name: str, verdict: Verdict) -> int:
    broken = verdict.broken
    if broken is None:
        click.echo(
            f"{name}: {verdict.lines} lines hold; head {verdict.head_seq}:{verdict.head_hash.hex()}; "
            f"{verdict.pending} not linked yet"
        )
        return 0
    click.echo(f"{name}: BROKEN at line {broken.seq} ({broken.what}): {broken.detail}; {verdict.lines} lines hold")
    return 1


@audit.command("head")
@click.argument("slug", required=False)
@click.option("--all", "every", is_flag=True, help="The heads of all tenants.")
def head_(slug: str | None, *, every: bool) -> None:
    """Print SEQ:HASH of the last line. Keep it elsewhere: `verify --anchor` shows then that no end was removed."""
    if (slug is None) != every:
        raise click.UsageError("name a tenant, or say --all")

    async def work(connection: asyncpg.Connection) -> None:
        chosen = await _tenants(connection) if slug is None else {slug: await _tenant(connection, slug)}
        for name, tenant_id in chosen.items():
            row = await connection.fetchrow("SELECT seq, hash FROM audit_heads WHERE tenant_id = $1", tenant_id)
            click.echo(f"{name} {row['seq']}:{row['hash'].hex()}" if row else f"{name} has no line yet")

    on_database(work)


@audit.command()
@click.argument("slug")
@click.option("--format", "kind", type=click.Choice([kind.value for kind in FileKind]), default="ndjson")
def export(slug: str, kind: str) -> None:
    """Print the log in the order of its chain, as NDJSON or CSV; lines not linked yet stand at the end."""
    file = FileKind(kind)

    async def work(connection: asyncpg.Connection) -> None:
        click.echo(head(file), nl=False)
        async for rows in pages(connection, await _tenant(connection, slug), Filter()):
            click.echo(lines_of(file, rows), nl=False)

    _on_lines(work)


def _on_lines(work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
    """Do some work on a connection that gives JSON as objects."""

    async def prepared(connection: asyncpg.Connection) -> T:
        await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
        return await work(connection)

    return on_database(prepared)


async def _tenant(connection: asyncpg.Connection, slug: str) -> int:
    if slug == PLATFORM_SLUG:
        return PLATFORM
    tenant_id = await connection.fetchval("SELECT id FROM tenants WHERE slug = $1", slug)
    if tenant_id is None:
        raise click.ClickException(f"there is no tenant {slug}")
    return int(tenant_id)


async def _tenants(connection: asyncpg.Connection) -> dict[str, int]:
    """Everybody who may have a log, the platform first; one whose tenant is gone goes by its id."""
    rows = await connection.fetch(
        "SELECT a.tenant_id, CASE a.tenant_id WHEN 0 THEN '-' ELSE COALESCE(t.slug, a.tenant_id::text) END AS name "
        "FROM (SELECT id AS tenant_id FROM tenants UNION SELECT tenant_id FROM audit_heads UNION SELECT 0) a "
        "LEFT JOIN tenants t ON t.id = a.tenant_id ORDER BY 1"
    )
    return {row["name"]: row["tenant_id"] for row in rows}
