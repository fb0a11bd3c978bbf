"""``hayabin export WHAT``: ask for an export, wait for it, download it.

Promises: the file appears under its name once it is whole. Exit code 0: it is there; 1: it failed.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

import click

from services.standalone.transfers.door import asked, downloaded, followed, opened
from services.standalone.transfers.settings import api_settings, exit_with_words

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
    """Export contacts and what belongs to them (HAYABIN_API_URL, HAYABIN_API_KEY)."""
    settings = api_settings()
    with exit_with_words():
        done = asyncio.run(_export(settings.api_url, settings.api_key.get_secret_value(), what, output, options))
    raise SystemExit(0 if done else 1)


async def _export(url: str, key: str, what: str, output: Path | None, options: dict[str, Any]) -> bool:
    names = ("list_id", "segment_id", "campaign_id", "state", "since", "until")
    form: dict[str, Any] = {
        "what": what,
        "filter": {name: options[name] for name in names if options[name] is not None},
        "columns": list(options["columns"]),
        "format": options["format_"],
    }
    if options["encoding"]:
        form["encoding"] = options["encoding"]
    async with opened(url, key) as client:
        job = await asked(client, "POST", "/v1/exports", json=form)
        path = f"/v1/exports/{job['id']}"
        job = await followed(client, path, _say)
        click.echo(err=True)
        if job["state"] != "completed":
            click.secho(job["error"] or f"The export is {job['state']}.", fg="red", err=True)
            return False
        await _fetch(client, path, output or Path(f"{what}-{job['id']}.{options['format_']}"))
    if job["masked"]:
        click.secho("Personal data is masked: the key may not read it.", fg="yellow", err=True)
    if job["characters_replaced"]:
        click.secho(f"{job['characters_replaced']} characters are not in {job['encoding']}: ?", fg="yellow", err=True)
    return True


async def _fetch(client: Any, path: str, output: Path) -> None:
    if str(output) == "-":
        await downloaded(client, f"{path}/download", sys.stdout.buffer.write)
        sys.stdout.buffer.flush()
        return
    partial = output.with_name(f"{output.name}.part")
    try:
        with partial.open("wb") as file:
            size = await downloaded(client, f"{path}/download", file.write)
        partial.rename(output)
    finally:
        partial.unlink(missing_ok=True)
    click.echo(f"{output}: {size} bytes", err=True)


def _say(job: dict[str, Any]) -> None:
    click.echo(f"\r{job['state']}: {job['rows']} rows, {job['size_bytes']} bytes   ", nl=False, err=True)
