"""What the commands about people have in common: their options, and the words that things are named by.

Promises: a number is an id; any other word is a name, or a contact's address. Fails: exit code 1 where there is none.
"""

from typing import Any, Final

import click
import httpx

from services.standalone.rest import asked, paged

ID: Final = click.IntRange(1, 2**63 - 1)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON lines, as the API gives them.")
at_most = click.option(
    "--limit", type=click.IntRange(min=1), help="Rows at most. Default: all; each page is asked for when it is printed."
)


async def id_of(client: httpx.AsyncClient, kind: str, word: str) -> int:
    """The id of a list or segment (``kind``: its plural) by id or name; names are looked for page by page.

    Raises:
        click.ClickException: none has that name.
    """
    if is_id(word):
        return int(word)
    async for rows in paged(client, f"/v1/{kind}", None, {}):
        for row in rows:
            if row["name"] == word:
                return int(row["id"])
    raise click.ClickException(f"There is no {kind.removesuffix('s')} of this name.")


async def contact_of(client: httpx.AsyncClient, word: str) -> dict[str, Any]:
    """A contact by id or address.

    Raises:
        click.ClickException: nobody has that address.
    """
    if is_id(word):
        found: dict[str, Any] = await asked(client, "GET", f"/v1/contacts/{word}")
        return found
    page = await asked(client, "GET", "/v1/contacts", params={"email": word, "limit": 1})
    if not page["items"]:
        raise click.ClickException("There is no contact with this address.")
    contact: dict[str, Any] = page["items"][0]
    return contact


async def contact_id_of(client: httpx.AsyncClient, word: str) -> int:
    """The id of a contact by id or address.

    Raises:
        click.ClickException: nobody has that address.
    """
    return int(word) if is_id(word) else int((await contact_of(client, word))["id"])


def is_id(word: str) -> bool:
    """Whether a word is an id rather than a name."""
    return word.isascii() and word.isdecimal()
