"""``hayabin segments``: rules for contacts, counted and looked at, tried before they are saved.

Promises: ``check`` saves nothing. What is wrong in a file of rules is said with its place (`#/rules/all/1/value`).
Ends as ``rest_command`` says; a file that is no JSON ends with 1 too.
"""

from typing import Any, BinaryIO

import click
import httpx
import orjson

from services.standalone.people.options import as_json, at_most, id_of
from services.standalone.rest import asked, paged
from services.standalone.rest_command import over_rest
from services.standalone.showing import Table, json_line, show

_COLUMNS = ("id", "name", "description", "updated_at")
_PEOPLE = ("contact_id", "email", "name", "stage")


@click.group()
def segments() -> None:
    """Segments: rules for contacts (HAYABIN_API_URL, HAYABIN_API_KEY).

    SEGMENT is an id or a name. FILE is `{"name": …, "rules": …}` as JSON; - is standard input.
    """


@segments.command("list")
@at_most
@as_json
def list_(limit: int | None, *, as_json: bool) -> None:
    """List segments in order of id.

    Example: hayabin segments list
    """

    async def work(client: httpx.AsyncClient) -> None:
        await Table(_COLUMNS, as_json=as_json).show_pages(paged(client, "/v1/segments", limit, {}))

    over_rest(work)


@segments.command("show")
@click.argument("segment")
@as_json
def show_(segment: str, *, as_json: bool) -> None:
    """Show the rules of a segment, and what uses it.

    Example: hayabin segments show buyers
    """

    async def work(client: httpx.AsyncClient) -> None:
        path = f"/v1/segments/{await id_of(client, 'segments', segment)}"
        show(await asked(client, "GET", path), as_json=as_json)

    over_rest(work)


@segments.command("count")
@click.argument("segment")
@as_json
def count(segment: str, *, as_json: bool) -> None:
    """Print how many contacts meet the rules now.

    Example: hayabin segments count buyers
    """

    async def work(client: httpx.AsyncClient) -> None:
        found = await asked(client, "GET", f"/v1/segments/{await id_of(client, 'segments', segment)}/count")
        click.echo(json_line(found) if as_json else found["count"])

    over_rest(work)


@segments.command("people")
@click.argument("segment")
@at_most
@as_json
def people(segment: str, limit: int | None, *, as_json: bool) -> None:
    """List the contacts that meet the rules now.

    Example: hayabin segments people buyers --limit 20
    """

    async def work(client: httpx.AsyncClient) -> None:
        path = f"/v1/segments/{await id_of(client, 'segments', segment)}/contacts"
        await Table(_PEOPLE, as_json=as_json).show_pages(paged(client, path, limit, {}))

    over_rest(work)


@segments.command("create")
@click.argument("file", type=click.File("rb"))
@as_json
def create(file: BinaryIO, *, as_json: bool) -> None:
    """Save a segment from a file. Its name must be free.

    The file is JSON: {"name": "buyers", "rules": {"field": "stage", "is": "equals", "value": "成約"}}, and a
    "description" if wanted.

    Example: hayabin segments create buyers.json
    """
    form = _form(file)

    async def work(client: httpx.AsyncClient) -> None:
        made = await asked(client, "POST", "/v1/segments", json=form)
        click.echo(json_line(made) if as_json else f"Segment {made['id']}.")

    over_rest(work)


@segments.command("check")
@click.argument("file", type=click.File("rb"))
@as_json
def check(file: BinaryIO, *, as_json: bool) -> None:
    """Try the rules of a file (as for create). Prints how many meet them, and the first 20; nothing is saved.

    Example: hayabin segments check buyers.json
    """
    form = _form(file)

    async def work(client: httpx.AsyncClient) -> None:
        rules = {name: value for name, value in form.items() if name == "rules"}
        found = await asked(client, "POST", "/v1/segments/preview", json=rules)
        if as_json:
            click.echo(json_line(found))
            return
        click.echo(f"{found['count']} contacts meet the rules.")
        Table(_PEOPLE, as_json=False).show(found["sample"])

    over_rest(work)


def _form(file: BinaryIO) -> dict[str, Any]:
    try:
        form = orjson.loads(file.read())
    except orjson.JSONDecodeError as error:
        raise click.ClickException(f"{file.name} is no JSON: {error}") from error
    if not isinstance(form, dict):
        raise click.ClickException(f'{file.name} is no segment: it must be {{"name": …, "rules": …}}.')
    return form
