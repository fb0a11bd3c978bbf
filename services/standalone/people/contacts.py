"""``hayabin contacts``: contacts are looked for and looked at; nothing is changed. Ends as ``rest_command`` says."""

from typing import Any

import click
import httpx

from services.standalone.people.options import ID, as_json, at_most, contact_id_of, contact_of
from services.standalone.rest import asked, paged
from services.standalone.rest_command import over_rest
from services.standalone.showing import Table, show

_COLUMNS = ("id", "email", "name", "stage", "locale", "flags", "updated_at")
_CHANGES = ("at", "source", "actor", "field", "old", "new")
_STANDING = ("list_id", "list", "state", "consent", "updated_at")
_MOVES = ("changed_at", "list_id", "was", "state", "action", "source")


@click.group()
def contacts() -> None:
    """Contacts: find, list, history, where they stand (HAYABIN_API_URL, HAYABIN_API_KEY).

    CONTACT is an id or an address. Exit code 1: there is none, or the API refused.
    """


@contacts.command("find")
@click.argument("address")
@as_json
def find(address: str, *, as_json: bool) -> None:
    """Show the contact with an address.

    Example: hayabin contacts find taro@example.jp
    """
    _show(address, as_json=as_json)


@contacts.command("show")
@click.argument("contact")
@as_json
def show_(contact: str, *, as_json: bool) -> None:
    """Show one contact with all attributes.

    Example: hayabin contacts show 17
    """
    _show(contact, as_json=as_json)


def _show(word: str, *, as_json: bool) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        show(await contact_of(client, word), as_json=as_json)

    over_rest(work)


@contacts.command("list")
@click.option("--prefix", "email_prefix", help="Addresses that begin so.")
@click.option("--stage", help="In this stage.")
@click.option("--created-after", help="Such as 2026-05-01T00:00:00+09:00.")
@click.option("--list", "list_id", type=ID, help="Subscribed to this list (its id).")
@click.option("--attribute", metavar="NAME=VALUE", help="Who has it so.")
@at_most
@as_json
def list_(attribute: str | None, limit: int | None, *, as_json: bool, **conditions: Any) -> None:
    """List contacts that meet every condition.

    Example: hayabin contacts list --stage 見積 --limit 20
    """
    name, equals, value = (attribute or "").partition("=")
    if attribute is not None:
        if not equals:
            raise click.UsageError("--attribute takes NAME=VALUE.")
        conditions |= {"attribute": name, "value": value}

    async def work(client: httpx.AsyncClient) -> None:
        await Table(_COLUMNS, as_json=as_json).show_pages(paged(client, "/v1/contacts", limit, conditions))

    over_rest(work)


@contacts.command("history")
@click.argument("contact")
@at_most
@as_json
def history(contact: str, limit: int | None, *, as_json: bool) -> None:
    """Show what changed of a contact, oldest first.

    Example: hayabin contacts history 17
    """

    async def work(client: httpx.AsyncClient) -> None:
        path = f"/v1/contacts/{await contact_id_of(client, contact)}/history"
        await Table(_CHANGES, as_json=as_json).show_pages(paged(client, path, limit, {}))

    over_rest(work)


@contacts.command("subscriptions")
@click.argument("contact")
@click.option("--history", "moves", is_flag=True, help="How they came there: the last 500 changes, newest first.")
@as_json
def subscriptions(contact: str, *, moves: bool, as_json: bool) -> None:
    """Show where a contact stands with each list.

    Example: hayabin contacts subscriptions taro@example.jp --history
    """

    async def work(client: httpx.AsyncClient) -> None:
        path = f"/v1/contacts/{await contact_id_of(client, contact)}/subscriptions"
        found = await asked(client, "GET", path)
        if moves:
            Table(_MOVES, as_json=as_json).show(found["history"])
        else:
            Table(_STANDING, as_json=as_json).show(found["subscriptions"])

    over_rest(work)
