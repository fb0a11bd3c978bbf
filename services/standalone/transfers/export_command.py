"""``hayabin export WHAT``: ask for an export, wait for it, download it.

Promises: the file appears under its name once it is whole. Exit code 0: it is there; 1: it failed. Whoever stops
waiting (Ctrl-C) stops the export.
"""

from pathlib import Path
from typing import Any

import click
import httpx

from services.standalone.rest import asked
from services.standalone.rest_command import over_rest
from services.standalone.showing import plain
from services.standalone.transfers.files import followed, saved

_SUBJECTS = ("contacts", "list_members", "suppressions", "consents", "campaign_messages", "events")


@click.command("export")
@click.argument("what", type=click.Choice(_SUBJECTS))
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="- is standard output.")
@click.option("--list", "list_id", type=int, help="Of this list (its id).")
@click.option("--segment", "segment_id", type=int, help="Contacts of this segment (its id).")
@click.option("--campaign", "campaign_id", type=int, help="Of this campaign (its id).")
@click.option("--state", help="Members or messages in this state.")
@click.option("--since", help="Consents and events not before, such as 2026-05-01T00:00:00+09:00.")
@click.option("--until", help="Consents and events before.")
@click.option("--column", "columns", multiple=True, help="Instead of all; repeatable; also attribute:NAME.")
@click.option("--format", "format_", type=click.Choice(["csv", "ndjson"]), default="csv")
@click.option("--encoding", type=click.Choice(["utf-8-sig", "utf-8", "cp932"]), help="utf-8-sig for Excel, by default.")
def export_command(what: str, output: Path | None, **options: Any) -> None:
    """Export contacts and what belongs to them (HAYABIN_API_URL, HAYABIN_API_KEY).

    Example: hayabin export list_members --list 1 --state subscribed -o members.csv
    """
    form = _form(what, options)

    async def begin(client: httpx.AsyncClient) -> str:
        return f"/v1/exports/{(await asked(client, 'POST', '/v1/exports', json=form))['id']}"

    async def follow(client: httpx.AsyncClient) -> dict[str, Any]:
        return await followed(client, path, _told)

    async def fetch(client: httpx.AsyncClient) -> None:
        await saved(client, f"{path}/download", output or Path(f"{what}-{job['id']}.{options['format_']}"))

    async def cancel(client: httpx.AsyncClient) -> None:
        await asked(client, "POST", f"{path}/cancel")

    path = over_rest(begin)
    try:
        job = over_rest(follow)
    except KeyboardInterrupt:
        over_rest(cancel)
        raise
    if job["state"] != "completed":
        raise click.ClickException(plain(job["error"] or f"The export is {job['state']}."))
    over_rest(fetch)
    _warn(job)


def _form(what: str, options: dict[str, Any]) -> dict[str, Any]:
    names = ("list_id", "segment_id", "campaign_id", "state", "since", "until")
    form: dict[str, Any] = {
        "what": what,
        "filter": {name: options[name] for name in names if options[name] is not None},
        "columns": list(options["columns"]),
        "format": options["format_"],
    }
    return form | ({"encoding": options["encoding"]} if options["encoding"] else {})


def _warn(job: dict[str, Any]) -> None:
    if job["masked"]:
        click.secho("Personal data is masked: the key may not read it.", fg="yellow", err=True)
    if job["characters_replaced"]:
        click.secho(f"{job['characters_replaced']} characters are not in {job['encoding']}: ?", fg="yellow", err=True)


def _told(job: dict[str, Any]) -> str:
    return f"{job['state']}: {job['rows']} rows, {job['size_bytes']} bytes"
