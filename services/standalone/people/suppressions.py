"""``hayabin suppressions``: who gets no mail; by hand, from a file, into a file.

Promises: what is added holds at once, at the gate. Ends as ``rest_command`` says; ``import`` with 1 also where a line
could not be used.
"""

from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import click
import httpx

from hayabin.domain.suppression import SuppressionReason
from services.standalone.people.options import ID, as_json, at_most
from services.standalone.people.suppression_file import form_of, lines_of, send
from services.standalone.rest import asked, paged
from services.standalone.rest_command import over_rest
from services.standalone.showing import Table
from services.standalone.transfers.export_command import export_command

_COLUMNS = ("email", "list_id", "reason", "source", "created_at", "expires_at")
_STANDING = ("email", "scope", "list_id", "reason", "source", "expires_at")
_REASONS = click.Choice(["manual", "imported"])
_list = click.option("--list", "list_id", type=ID, help="Of this list alone (its id). Default: of every mail.")
_expires = click.option("--expires-at", help="When it ends by itself, such as 2026-12-31T00:00:00+09:00.")


@click.group()
def suppressions() -> None:
    """Addresses and domains that get no mail (HAYABIN_API_URL, HAYABIN_API_KEY).

    WHOM is an address, or a domain with or without its @ (not those below it).
    """


@suppressions.command("list")
@click.option("--reason", type=click.Choice([reason.value for reason in SuppressionReason]), help="Of this reason.")
@click.option("--domain", help="Addresses of this domain, and itself.")
@click.option("--source", help="From there.")
@click.option("--list", "list_id", type=click.IntRange(0, 2**63 - 1), help="Of this list (its id; 0: of every mail).")
@click.option("--expires-before", help="Such as 2026-12-31T00:00:00+09:00.")
@at_most
@as_json
def list_(limit: int | None, *, as_json: bool, **conditions: Any) -> None:
    """List suppressions that meet every condition.

    Example: hayabin suppressions list --reason complaint --limit 20
    """

    async def work(client: httpx.AsyncClient) -> None:
        await Table(_COLUMNS, as_json=as_json).show_pages(paged(client, "/v1/suppressions", limit, conditions))

    over_rest(work)


@suppressions.command("show")
@click.argument("whom")
@as_json
def show(whom: str, *, as_json: bool) -> None:
    """Show what holds for an address. Its domain's and the platform's, too; exit code 1 where nothing does.

    Example: hayabin suppressions show taro@example.jp
    """

    async def work(client: httpx.AsyncClient) -> None:
        found = await asked(client, "GET", _path(whom))
        Table(_STANDING, as_json=as_json).show(found["suppressions"])

    over_rest(work)


@suppressions.command("add")
@click.argument("whom", nargs=-1, required=True)
@click.option("--reason", type=_REASONS, default="manual", show_default=True, help="imported: from another system.")
@_list
@_expires
def add(whom: tuple[str, ...], **more: Any) -> None:
    """Suppress addresses and domains from now on.

    Example: hayabin suppressions add taro@example.jp @example.org --reason manual
    """

    async def work(client: httpx.AsyncClient) -> None:
        counts = await asked(client, "POST", "/v1/suppressions", json=form_of(whom) | _said(more))
        click.echo(f"{counts['added']} added, {counts['known']} known")

    over_rest(work)


@suppressions.command("lift")
@click.argument("whom")
@_list
def lift(whom: str, list_id: int | None) -> None:
    """Let an address or a domain have mail again. Who unsubscribed or complained stays off their lists.

    Example: hayabin suppressions lift @example.org
    """

    async def work(client: httpx.AsyncClient) -> None:
        await asked(client, "DELETE", _path(whom), params={"list_id": list_id or 0})
        click.echo("Lifted.")

    over_rest(work)


@suppressions.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--reason", type=_REASONS, default="imported", show_default=True, help="manual: by hand.")
@_list
@_expires
def import_(file: BinaryIO, **more: Any) -> None:
    """Suppress what a file says. It has an address or a domain on each line, in UTF-8; - is standard input.

    Lines that are neither are told by their number, and the others suppressed; the exit code is 1 then. The same file
    again adds nothing. (`hayabin import --mode unsubscribe` takes a CSV, and moves subscriptions too.)

    Example: hayabin suppressions import blocked.txt
    """

    async def work(client: httpx.AsyncClient) -> bool:
        found = await send(client, lines_of(file), _said(more))
        click.echo(f"{found.added} added, {found.known} known, {len(found.unfit)} not usable")
        return not found.unfit

    if not over_rest(work):
        raise SystemExit(1)


@suppressions.command("export")
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="- is standard output.")
@click.option("--list", "list_id", type=ID, help="Of this list (its id).")
@click.option("--format", "format_", type=click.Choice(["csv", "ndjson"]), default="csv", show_default=True)
@click.pass_context
def export(context: click.Context, /, **options: Any) -> None:
    """Take suppressions out as a file. It is what `hayabin export suppressions` does.

    Example: hayabin suppressions export -o suppressions.csv
    """
    context.invoke(export_command, what="suppressions", **options)


def _path(whom: str) -> str:
    return f"/v1/suppressions/{quote(whom if '@' in whom else f'@{whom}', safe='@')}"


def _said(more: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in more.items() if value is not None}
