"""``hayabin lists``: lists, who is on them, and single people on and off.

Promises: nobody who left by their own act is subscribed again, as the API sees to. Ends as ``rest_command`` says.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import click
import httpx

from hayabin.domain.consent import ConsentBasis, SubscriptionState
from services.standalone.people.options import as_json, at_most, contact_id_of, id_of
from services.standalone.rest import asked, paged
from services.standalone.rest_command import over_rest
from services.standalone.showing import Table, show

F = TypeVar("F", bound=Callable[..., Any])
_COLUMNS = ("id", "name", "public", "public_name", "description", "created_at")
_MEMBERS = ("contact_id", "email", "name", "state", "consent", "updated_at")
_BASES = [basis.value for basis in ConsentBasis if basis is not ConsentBasis.UNSPECIFIED]


def _evidence(basis: str | None) -> Callable[[F], F]:
    """The options that say how we know what somebody wants."""
    options = (
        click.option("--basis", type=click.Choice(_BASES), default=basis, show_default=True, help="How you know."),
        click.option("--source", help="Which form, event or system. Default: this API key."),
        click.option("--wording", help="The version of the words that they agreed to."),
        click.option("--note", help="Where the paper is, or which relationship; needed for those two."),
        click.option("--occurred-at", help="When, such as 2026-05-01T00:00:00+09:00. Default: now."),
    )

    def add(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return add


@click.group()
def lists() -> None:
    """Lists, and who is on them (HAYABIN_API_URL, HAYABIN_API_KEY).

    LIST is an id or a name, CONTACT an id or an address.
    """


@lists.command("list")
@at_most
@as_json
def list_(limit: int | None, *, as_json: bool) -> None:
    """List the lists in order of id.

    Example: hayabin lists list --json
    """

    async def work(client: httpx.AsyncClient) -> None:
        await Table(_COLUMNS, as_json=as_json).show_pages(paged(client, "/v1/lists", limit, {}))

    over_rest(work)


@lists.command("show")
@click.argument("list_", metavar="LIST")
@as_json
def show_(list_: str, *, as_json: bool) -> None:
    """Show one list, and how many stand where.

    Example: hayabin lists show newsletter
    """

    async def work(client: httpx.AsyncClient) -> None:
        show(await asked(client, "GET", f"/v1/lists/{await id_of(client, 'lists', list_)}"), as_json=as_json)

    over_rest(work)


@lists.command("members")
@click.argument("list_", metavar="LIST")
@click.option("--state", type=click.Choice([state.value for state in SubscriptionState]), help="Only who stands there.")
@at_most
@as_json
def members(list_: str, state: str | None, limit: int | None, *, as_json: bool) -> None:
    """List who is or was on a list, in order of contact id.

    Example: hayabin lists members newsletter --state bounced
    """

    async def work(client: httpx.AsyncClient) -> None:
        path = f"/v1/lists/{await id_of(client, 'lists', list_)}/members"
        await Table(_MEMBERS, as_json=as_json).show_pages(paged(client, path, limit, {"state": state}))

    over_rest(work)


@lists.command("subscribe")
@click.argument("list_", metavar="LIST")
@click.argument("contact")
@_evidence(None)
def subscribe(list_: str, contact: str, **evidence: Any) -> None:
    """Subscribe a contact. Who unsubscribed, complained or bounced stays so.

    Example: hayabin lists subscribe newsletter taro@example.jp --basis written --note "paper 2026-041"
    """
    given = {name: value for name, value in evidence.items() if value is not None}
    if given and "basis" not in given:
        raise click.UsageError("say --basis, too: the rest is evidence of it")

    async def work(client: httpx.AsyncClient) -> None:
        path = f"/v1/lists/{await id_of(client, 'lists', list_)}/members"
        form: dict[str, Any] = {"contact_ids": [await contact_id_of(client, contact)]}
        added = (await asked(client, "POST", path, json=form | ({"consent": given} if given else {})))["added"]
        if not added:
            raise click.ClickException("Not subscribed: they were, or they left and come back by their own act alone.")
        click.echo("Subscribed.")

    over_rest(work)


@lists.command("unsubscribe")
@click.argument("list_", metavar="LIST")
@click.argument("contact")
@_evidence(ConsentBasis.API.value)
def unsubscribe(list_: str, contact: str, **evidence: Any) -> None:
    """Unsubscribe a contact, and write it down. They get no mail of the list from then on.

    Example: hayabin lists unsubscribe newsletter taro@example.jp --note "telephone, 20 November"
    """
    given = {name: value for name, value in evidence.items() if value is not None}

    async def work(client: httpx.AsyncClient) -> None:
        form = {
            "list_id": await id_of(client, "lists", list_),
            "contact_id": await contact_id_of(client, contact),
            "action": "opt_out",
        }
        moved = (await asked(client, "POST", "/v1/consents", json=form | given))["moved"]
        click.echo("Unsubscribed." if moved else "They were not subscribed; that they want no mail is written down.")

    over_rest(work)


@lists.command("remove")
@click.argument("list_", metavar="LIST")
@click.argument("contact")
def remove(list_: str, contact: str) -> None:
    """Take a contact off a list. Who left by themselves stays there as such; others may be subscribed again.

    Example: hayabin lists remove newsletter 17
    """

    async def work(client: httpx.AsyncClient) -> None:
        list_id = await id_of(client, "lists", list_)
        await asked(client, "DELETE", f"/v1/lists/{list_id}/members/{await contact_id_of(client, contact)}")
        click.echo("Removed.")

    over_rest(work)
