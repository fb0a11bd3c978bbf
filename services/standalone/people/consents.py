"""``hayabin consents``: the consent ledger, read and taken out.

Promises: nothing is written into it; that something was taken out is in the audit log, by the API. Ends as
``rest_command`` says.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import httpx

from hayabin.domain.consent import ConsentAction
from services.standalone.people.options import as_json, at_most, is_id
from services.standalone.rest import paged
from services.standalone.rest_command import over_rest
from services.standalone.showing import Table
from services.standalone.transfers.files import saved

F = TypeVar("F", bound=Callable[..., Any])
_COLUMNS = ("id", "occurred_at", "contact_id", "email", "list_id", "action", "basis", "source", "wording", "note")


def _which(command: F) -> F:
    """The options that say which rows."""
    for option in (
        click.option("--until", "--to", "until", help="Done before."),
        click.option("--since", "--from", "since", help="Done then or later, such as 2026-05-01T00:00:00+09:00."),
        click.option("--action", type=click.Choice([action.value for action in ConsentAction]), help="What was done."),
        click.option(
            "--list", "list_id", type=click.IntRange(0, 2**63 - 1), help="On this list (its id; 0: all mail)."
        ),
        click.option("--contact", help="Of this contact (id or address)."),
    ):
        command = option(command)
    return command


@click.group()
def consents() -> None:
    """What people agreed to, when, and how we know (HAYABIN_API_URL, HAYABIN_API_KEY)."""


@consents.command("list")
@_which
@at_most
@as_json
def list_(contact: str | None, limit: int | None, *, as_json: bool, **conditions: Any) -> None:
    """List rows of the ledger, oldest first.

    Example: hayabin consents list --contact taro@example.jp
    """

    async def work(client: httpx.AsyncClient) -> None:
        query = conditions | _whom(contact)
        await Table(_COLUMNS, as_json=as_json).show_pages(paged(client, "/v1/consents", limit, query))

    over_rest(work)


@consents.command("export")
@_which
@click.option("--format", "file", type=click.Choice(["csv", "ndjson"]), default="csv", show_default=True)
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False, path_type=Path), default="-", help="Default: - (print)."
)
def export(contact: str | None, output: Path, **conditions: Any) -> None:
    """Take rows of the ledger out as a file. That it was done is in the audit log.

    Example: hayabin consents export --from 2026-01-01T00:00:00+09:00 --to 2026-04-01T00:00:00+09:00 -o consents.csv
    """

    async def work(client: httpx.AsyncClient) -> None:
        query = conditions | _whom(contact)
        await saved(client, "/v1/consents/export", output, query)

    over_rest(work)


def _whom(contact: str | None) -> dict[str, str]:
    """An address is looked for in the ledger itself, which remembers people who are no contacts any more."""
    if contact is None:
        return {}
    return {"contact_id" if is_id(contact) else "email": contact}
