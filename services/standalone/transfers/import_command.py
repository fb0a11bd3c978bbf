"""``hayabin import FILE``: upload a file, look at what it seems to be, import it, fetch the rows that could not be.

Promises: nothing is imported before the mapping was shown and agreed to (or ``--yes``); with ``--dry-run`` nothing is
imported at all. Exit code 0: imported; 1: it failed, or somebody said no; 2: the command itself was wrong.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import click

from services.standalone.transfers.door import asked, downloaded, followed, opened, uploaded
from services.standalone.transfers.settings import api_settings, exit_with_words

SHOWN_ROWS = 5
_COUNTS = {
    "rows_imported": "imported", "rows_unsubscribed": "unsubscribed", "rows_duplicate": "the same address again",
    "rows_invalid": "not usable", "rows_exists": "existed already", "rows_unknown": "unknown",
    "rows_erased": "of erased people", "rows_kept_unsubscribed": "stay unsubscribed",
}  # fmt: skip


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--list", "list_id", type=int, help="Subscribe them to this list (its id).")
@click.option("--mode", type=click.Choice(["upsert", "insert", "update", "unsubscribe"]), default="upsert")
@click.option("--map", "mapped", multiple=True, metavar="COLUMN=TARGET", help="Instead of the suggestion; repeatable.")
@click.option("--format", "format_", type=click.Choice(["csv", "tsv", "ndjson"]), help="Found out where not given.")
@click.option("--encoding", help="utf-8, cp932, utf-16-le, utf-16-be; found out where not given.")
@click.option("--delimiter", help="Comma, tab, semicolon or bar; found out where not given.")
@click.option("--consent-basis", help="form, import, api, written or existing_relationship.")
@click.option("--consent-source", default="", help="Where the consent is kept.")
@click.option("--consent-wording", default="", help="The version of the words that they agreed to.")
@click.option("--consented-at", help="When, such as 2026-05-01T00:00:00+09:00; or map a column to consented_at.")
@click.option("--errors", type=click.Path(dir_okay=False, path_type=Path), help="Where to put rows that are no use.")
@click.option("--dry-run", is_flag=True, help="Check every row, change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def import_command(file: Path, **options: Any) -> None:
    """Import contacts from a CSV, TSV or NDJSON file (HAYABIN_API_URL, HAYABIN_API_KEY)."""
    settings = api_settings()
    options["size_bytes"] = file.stat().st_size
    with exit_with_words():
        done = asyncio.run(_import(settings.api_url, settings.api_key.get_secret_value(), file, options))
    raise SystemExit(0 if done else 1)


async def _import(url: str, key: str, file: Path, options: dict[str, Any]) -> bool:
    said = {"format": options["format_"], "encoding": options["encoding"], "delimiter": _sign(options["delimiter"])}
    query = {"dry_run": "true", "filename": file.name, **{name: value for name, value in said.items() if value}}
    async with opened(url, key) as client:
        with click.progressbar(length=options["size_bytes"], label=f"Uploading {file.name}") as bar:
            job = await uploaded(client, file, options["size_bytes"], query, bar.update)
        path = f"/v1/imports/{job['id']}"
        preview = await asked(client, "GET", f"{path}/preview")
        mapping = {**preview["mapping"], **_mapping(options["mapped"])}
        _show(preview, mapping)
        agreed = options["yes"] or options["dry_run"] or click.confirm("Import it so?")
        if not agreed:
            await asked(client, "POST", f"{path}/cancel")
            return False
        form = {"mapping": mapping, "mode": options["mode"], "dry_run": options["dry_run"], **_whom(options)}
        await asked(client, "POST", f"{path}/start", json=form)
        job = await followed(client, path, _say)
        click.echo()
        if options["dry_run"]:
            await asked(client, "POST", f"{path}/cancel")
        _sum_up(job, dry_run=options["dry_run"])
        await _fetch_errors(client, job, options["errors"] or file.with_name(f"{file.stem}-errors.csv"))
    return job["state"] in {"completed", "preview"}


def _whom(options: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {} if options["list_id"] is None else {"list_id": options["list_id"]}
    if options["consent_basis"]:
        consent = {
            "basis": options["consent_basis"], "source": options["consent_source"],
            "wording": options["consent_wording"], "at": options["consented_at"],
        }  # fmt: skip
        found["consent"] = {name: value for name, value in consent.items() if value}
    return found


def _sign(name: str | None) -> str | None:
    return {"comma": ",", "tab": "\t", "semicolon": ";", "bar": "|"}.get(name.lower(), name) if name else None


def _mapping(mapped: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for one in mapped:
        column, equals, target = one.rpartition("=")
        if not equals:
            raise click.UsageError(f"--map takes COLUMN=TARGET, not {one!r}.")
        found[column] = target
    return found


def _show(preview: dict[str, Any], mapping: dict[str, str]) -> None:
    sign = {"\t": "tab", None: "none"}.get(preview["delimiter"], preview["delimiter"])
    click.echo(f"{preview['format']}, {preview['encoding']}, delimiter {sign}")
    if preview["problem"]:
        click.secho(preview["problem"], fg="yellow")
    for column in preview["header"]:
        click.echo(f"  {column}  →  {mapping.get(column, 'skip')}")
    for row in preview["rows"][:SHOWN_ROWS]:
        if row["error"]:
            click.echo(f"  line {row['line']}: {row['error']['column']} {row['error']['reason']}".rstrip())
        else:
            said = {name: value for name, value in row["contact"].items() if value}
            click.echo(f"  line {row['line']}: {json.dumps(said, ensure_ascii=False)}")


def _say(job: dict[str, Any]) -> None:
    progress = job["progress"]
    left = "" if progress["remaining_s"] is None else f", {progress['remaining_s']} s left"
    click.echo(f"\r{job['state']}: {progress['percent']} %, {progress['rows_per_s']} rows/s{left}   ", nl=False)


def _sum_up(job: dict[str, Any], *, dry_run: bool) -> None:
    if job["error"]:
        click.secho(job["error"], fg="red", err=True)
    counts = ", ".join(f"{job[name]} {words}" for name, words in _COUNTS.items() if job[name])
    click.echo(f"{job['rows_read']} rows read{', ' if counts else ''}{counts}")
    if dry_run:
        click.echo("Nothing was changed: this was a dry run.")


async def _fetch_errors(client: Any, job: dict[str, Any], target: Path) -> None:
    if not any(job[name] for name in ("rows_invalid", "rows_exists", "rows_unknown", "rows_erased")):
        return
    with target.open("wb") as opened_file:
        await downloaded(client, f"/v1/imports/{job['id']}/errors.csv", opened_file.write)
    click.echo(f"The rows that were left out, and why: {target}")
