"""A file of addresses and domains that are to get no mail, sent to the API in parts.

Promises: a line is an address, or a domain with or without its @; empty lines are passed over. A line that the API
refuses is left out and told by its number alone, the others of its part are sent; a part is a request with an
Idempotency-Key, and a file that is sent again adds nothing twice.
Fails: ``Refused`` for everything but lines; after ``UNFIT_MAX`` unfit lines with ``click.ClickException``, as it is no
such file then. What was sent before stays.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, BinaryIO, Final

import click
import httpx

from services.standalone.rest import Refused, asked
from services.standalone.showing import plain

PART_LINES: Final = 1000
UNFIT_MAX: Final = 100
_PLACE: Final = re.compile(r"#/(emails|domains)/([0-9]+)")


@dataclass(slots=True)
class Sum:
    """What became of the lines."""

    added: int = 0
    known: int = 0
    unfit: list[int] = field(default_factory=list)
    """Numbers of lines."""


def lines_of(file: BinaryIO) -> Iterator[tuple[int, str]]:
    """The lines with their numbers.

    Raises:
        click.ClickException: one is no UTF-8.
    """
    for number, line in enumerate(file, start=1):
        try:
            word = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as error:
            raise click.ClickException(f"Line {number} is no UTF-8: nothing from here on was sent.") from error
        if word:
            yield number, word


def form_of(words: Iterable[str]) -> dict[str, list[str]]:
    """Addresses and domains, as `POST /v1/suppressions` takes them."""
    form: dict[str, list[str]] = {}
    for word in words:
        form.setdefault("emails" if "@" in word[1:] else "domains", []).append(word)
    return form


async def send(client: httpx.AsyncClient, lines: Iterator[tuple[int, str]], more: dict[str, Any]) -> Sum:
    """Suppress what the lines say; ``more``: the other members of each request.

    Raises:
        Refused, Unreachable, click.ClickException: see the module.
    """
    found = Sum()
    while part := dict(islice(lines, PART_LINES)):
        while part:
            try:
                counts = await asked(client, "POST", "/v1/suppressions", json=form_of(part.values()) | more)
            except Refused as refused:
                _leave_out(part, refused, found)
            else:
                found.added += counts["added"]
                found.known += counts["known"]
                break
    return found


def _leave_out(part: dict[int, str], refused: Refused, found: Sum) -> None:
    """Take the lines that were refused out of a part.

    Raises:
        Refused: it is not about lines.
    """
    numbers: dict[str, list[int]] = {"emails": [], "domains": []}
    for number, word in part.items():
        numbers[next(iter(form_of([word])))].append(number)
    for error in refused.errors:
        place = _PLACE.fullmatch(str(error.get("pointer")))
        if place is None:
            raise refused
        number = numbers[place[1]][int(place[2])]
        if part.pop(number, None) is not None:
            found.unfit.append(number)
            click.echo(f"line {number}: {plain(str(error.get('message')))}", err=True)
    if not refused.errors:
        raise refused
    if len(found.unfit) > UNFIT_MAX:
        raise click.ClickException(
            f"More than {UNFIT_MAX} lines are no address and no domain: is this the file? "
            f"{found.added + found.known} were suppressed."
        )
