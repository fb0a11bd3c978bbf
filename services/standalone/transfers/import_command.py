"""``hayabin import FILE``: upload a file, look at what it seems to be, import it, fetch the rows that could not be.

Promises: nothing is imported before the mapping was shown and agreed to (or ``--yes``); with ``--dry-run`` nothing is
imported at all. A file that is not imported does not stay with the API. Whoever stops waiting (Ctrl-C) does not stop an
import that has begun, and is told so.
Exit code 0: imported; 1: it failed, or somebody said no; 2: the command itself was wrong.
"""

import sys
from pathlib import Path
from typing import Any

import click
import httpx

from services.standalone.rest import asked
from services.standalone.rest_command import over_rest
from services.standalone.showing import json_line, plain
from services.standalone.transfers.files import followed, saved, uploaded

SHOWN_ROWS = 5
NAME_MAX = 200
_COUNTS = {
    "rows_imported": "imported", "rows_unsubscribed": "unsubscribed", "rows_duplicate": "the same address again",
    "rows_invalid": "not usable", "rows_exists": "existed already", "rows_unknown": "unknown",
    "rows_erased": "of erased people", "rows_kept_unsubscribed": "stay unsubscribed",
}  # fmt: skip
_LEFT_OUT = ("rows_invalid", "rows_exists", "rows_unknown", "rows_erased")


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
    """Import contacts from a CSV, TSV or NDJSON file (HAYABIN_API_URL, HAYABIN_API_KEY).

    Example: hayabin import contacts.csv --list 1 --consent-basis written --consent-source "fair of May 2026"
    """
    if not file.is_file():
        raise click.UsageError("FILE must be a regular file: its size is told before it is sent.")
    mapped, whom = _mapping(options["mapped"]), _whom(options)
    path = _upload(file, options)
    try:
        mapping = _preview(path, mapped)
        if not (options["yes"] or options["dry_run"]):
            click.confirm("Import it so?", abort=True)
        form = {"mapping": mapping, "mode": options["mode"], "dry_run": options["dry_run"], **whom}
        _post(f"{path}/start", form)
    except (KeyboardInterrupt, click.Abort, click.ClickException):
        _post(f"{path}/cancel")
        raise
    job = _follow(path)
    if options["dry_run"] and job["state"] == "preview":
        _post(f"{path}/cancel")
    _sum_up(job, dry_run=options["dry_run"])
    if any(job[name] for name in _LEFT_OUT):
        _fetch_errors(path, options["errors"] or file.with_name(f"{file.stem}-errors.csv"))
    raise SystemExit(0 if job["state"] in {"completed", "preview"} else 1)


def _upload(file: Path, options: dict[str, Any]) -> str:
    said = {"format": options["format_"], "encoding": options["encoding"], "delimiter": _sign(options["delimiter"])}
    query = {
        "dry_run": "true",
        "filename": plain(file.name)[-NAME_MAX:],
        **{name: value for name, value in said.items() if value},
    }
    size_bytes, label = file.stat().st_size, f"Uploading {plain(file.name)}"

    async def work(client: httpx.AsyncClient) -> str:
        with click.progressbar(length=size_bytes, label=label, file=sys.stderr) as bar:
            return f"/v1/imports/{(await uploaded(client, file, size_bytes, query, bar.update))['id']}"

    return over_rest(work)


def _preview(path: str, mapped: dict[str, str]) -> dict[str, str]:
    """Show what the file seems to be; the suggested mapping gives way to what the user says."""

    async def work(client: httpx.AsyncClient) -> dict[str, str]:
        preview = await asked(client, "GET", f"{path}/preview")
        taken = set(mapped.values())
        suggested = {column: "skip" if target in taken else target for column, target in preview["mapping"].items()}
        mapping = suggested | mapped
        if mapped:
            preview = await asked(client, "GET", f"{path}/preview", params={"mapping": json_line(mapping)})
        _show(preview, mapping)
        return mapping

    return over_rest(work)


def _post(path: str, form: dict[str, Any] | None = None) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        await asked(client, "POST", path, json=form)

    over_rest(work)


def _follow(path: str) -> dict[str, Any]:
    async def work(client: httpx.AsyncClient) -> dict[str, Any]:
        return await followed(client, path, _told)

    try:
        return over_rest(work)
    except (KeyboardInterrupt, click.ClickException):
        click.echo(f"\nThe import may go on: GET {path} shows it, POST {path}/cancel stops it.", err=True)
        raise


def _whom(options: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {} if options["list_id"] is None else {"list_id": options["list_id"]}
    consent = {
        "basis": options["consent_basis"], "source": options["consent_source"],
        "wording": options["consent_wording"], "at": options["consented_at"],
    }  # fmt: skip
    said = {name: value for name, value in consent.items() if value}
    if said and "basis" not in said:
        raise click.UsageError("say --consent-basis, too: the rest is evidence of it")
    return found | ({"consent": said} if said else {})


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
    """What is in a file is shown, and steers nothing."""
    sign = {"\t": "tab", None: "none"}.get(preview["delimiter"], preview["delimiter"])
    click.echo(f"{preview['format']}, {preview['encoding']}, delimiter {sign}")
    if preview["problem"]:
        click.secho(plain(preview["problem"]), fg="yellow")
    for column in preview["header"]:
        click.echo(plain(f"  {column}  →  {mapping.get(column, 'skip')}"))
    for row in preview["rows"][:SHOWN_ROWS]:
        if row["error"]:
            click.echo(plain(f"  line {row['line']}: {row['error']['column']} {row['error']['reason']}").rstrip())
        else:
            said = {name: value for name, value in row["contact"].items() if value}
            click.echo(f"  line {row['line']}: {json_line(said)}")


def _told(job: dict[str, Any]) -> str:
    progress = job["progress"]
    left = "" if progress["remaining_s"] is None else f", {progress['remaining_s']} s left"
    return f"{job['state']}: {progress['percent']} %, {progress['rows_per_s']} rows/s{left}"


def _sum_up(job: dict[str, Any], *, dry_run: bool) -> None:
    if job["error"]:
        click.secho(plain(job["error"]), fg="red", err=True)
    counts = ", ".join(f"{job[name]} {words}" for name, words in _COUNTS.items() if job[name])
    click.echo(f"{job['rows_read']} rows read{', ' if counts else ''}{counts}")
    if dry_run:
        click.echo("Nothing was changed: this was a dry run.")


def _fetch_errors(path: str, target: Path) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        await saved(client, f"{path}/errors.csv", target)

    over_rest(work)
    click.echo(f"The rows that were left out, and why: {target}")
