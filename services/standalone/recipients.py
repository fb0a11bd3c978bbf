"""The people of the demo: they read the mails that the sandbox took, and act by the links found in them.

Promises: everything that they do starts from a received mail alone (parsed by the standard library); who opens, clicks
and unsubscribes follows from the address, so that every run has the same numbers; what is returned is what the tracker
answered, not what was asked.
Fails: ``RecipientFailed`` for a mail without what a recipient needs, or an answer that is not the promised one.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path

import httpx

from services.standalone.sandbox.behaviour import Behaviour, behaviour_of, draw
from services.standalone.sandbox.journal import Entry
from services.standalone.sandbox.mailbox import body_text, mail_path, read_mail

OPENS_PER_MILLE = 450
CLICKS_PER_MILLE = 350  # of who opens
UNSUBSCRIBES_PER_MILLE = 25
AT_ONCE = 16
ONE_CLICK = "List-Unsubscribe=One-Click"  # RFC 8058 §3.1

_ANGLED_URL = re.compile(r"<(https?://[^<>\s]+)>")


class RecipientFailed(Exception):
    """A received mail, or the tracker's answer, is not what a recipient may expect."""


@dataclass(frozen=True, slots=True)
class Letter:
    """What a recipient finds in a mail."""

    recipient: str
    subject: str
    to_name: str
    html: str
    text: str
    pixel: str
    links: tuple[str, ...]
    unsubscribe: str


@dataclass(slots=True)
class Acts:
    """What the recipients did, and the tracker took."""

    opened: set[str] = field(default_factory=set)
    clicked: set[str] = field(default_factory=set)
    unsubscribed: set[str] = field(default_factory=set)
    destinations: set[str] = field(default_factory=set)
    looked_at_page: int = 0


class _Found(HTMLParser):
    """Collects what a mail program would fetch and offer."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "img" and values.get("src"):
            self.images.append(str(values["src"]))
        if tag == "a" and values.get("href"):
            self.links.append(str(values["href"]))


def read_letter(entry: Entry, content: bytes, tracker: str) -> Letter:
    """What ``entry``'s recipient finds in the mail.

    Raises:
        RecipientFailed: no open pixel, no tracked link or no one-click unsubscribe.
    """
    mail = read_mail(content)
    found = _Found()
    found.feed(html := body_text(mail, "html"))
    pixels = [image for image in found.images if image.startswith(f"{tracker}/o/")]
    links = [link for link in found.links if link.startswith(f"{tracker}/c/")]
    if len(pixels) != 1 or not links:
        raise RecipientFailed(f"mail {entry.mail} has {len(pixels)} open pixels and {len(links)} tracked links")
    text = body_text(mail, "plain")
    name = _display_name(mail)
    return Letter(
        entry.recipient, str(mail["Subject"]), name, html, text, pixels[0], tuple(links), _one_click(entry, mail)
    )


def opens(address: str) -> bool:
    """Whether the recipient looks at its mail; who got it by mistake (a DSN follows) does not."""
    return behaviour_of(address) is not Behaviour.RETURNED and draw(address, "open") < OPENS_PER_MILLE


def clicks(address: str) -> bool:
    """Whether the recipient follows a link."""
    return opens(address) and draw(address, "click") < CLICKS_PER_MILLE


def unsubscribes(address: str) -> bool:
    """Whether the recipient has enough."""
    reads = behaviour_of(address) in {Behaviour.ACCEPT, Behaviour.GREYLIST}
    return reads and draw(address, "unsubscribe") < UNSUBSCRIBES_PER_MILLE


async def act(letters: Sequence[Letter], on_done: Callable[[int], None]) -> Acts:
    """Let every recipient do what it does.

    Raises:
        RecipientFailed: the tracker answered otherwise than promised.
    """
    acts = Acts()
    done = 0
    slots = asyncio.Semaphore(AT_ONCE)
    limits = httpx.Limits(max_connections=AT_ONCE)
    async with httpx.AsyncClient(timeout=15, limits=limits, trust_env=False) as client:

        async def live(letter: Letter) -> None:
            nonlocal done
            async with slots:
                for deed in _deeds(letter):
                    await deed(client, letter, acts)
            done += 1
            on_done(done)

        async with asyncio.TaskGroup() as group:
            for letter in letters:
                group.create_task(live(letter))
    return acts


Deed = Callable[[httpx.AsyncClient, Letter, Acts], Awaitable[None]]


def _deeds(letter: Letter) -> Iterable[Deed]:
    if opens(letter.recipient):
        yield _open
    if clicks(letter.recipient):
        yield _click
    if unsubscribes(letter.recipient):
        yield _unsubscribe
    elif draw(letter.recipient, "curious") < UNSUBSCRIBES_PER_MILLE:
        yield _look_at_page


async def _open(client: httpx.AsyncClient, letter: Letter, acts: Acts) -> None:
    answer = await client.get(letter.pixel)
    _require(answer, httpx.codes.OK, "open pixel")
    if not answer.content.startswith(b"GIF8"):
        raise RecipientFailed("the open pixel is no GIF")
    acts.opened.add(letter.recipient)


async def _click(client: httpx.AsyncClient, letter: Letter, acts: Acts) -> None:
    link = letter.links[draw(letter.recipient, "which link") % len(letter.links)]
    answer = await client.get(link)
    _require(answer, httpx.codes.FOUND, "click")
    acts.clicked.add(letter.recipient)
    acts.destinations.add(answer.headers["location"])


async def _unsubscribe(client: httpx.AsyncClient, letter: Letter, acts: Acts) -> None:
    answer = await client.post(
        letter.unsubscribe, content=ONE_CLICK, headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    _require(answer, httpx.codes.OK, "one-click unsubscribe")
    acts.unsubscribed.add(letter.recipient)


async def _look_at_page(client: httpx.AsyncClient, letter: Letter, acts: Acts) -> None:
    """A GET shows a page and changes nothing (RFC 8058 §3.2), as link scanners do."""
    _require(await client.get(letter.unsubscribe), httpx.codes.OK, "unsubscribe page")
    acts.looked_at_page += 1


def _require(answer: httpx.Response, status: int, what: str) -> None:
    if answer.status_code != status:
        raise RecipientFailed(f"{what}: {answer.status_code} instead of {status}")


def _one_click(entry: Entry, mail: EmailMessage) -> str:
    """The URL to post to.

    Source: RFC 2369 §2 (angle brackets), RFC 8058 §3.1.
    """
    url = _ANGLED_URL.search(str(mail.get("List-Unsubscribe", "")))
    if url is None or str(mail.get("List-Unsubscribe-Post", "")) != ONE_CLICK:
        raise RecipientFailed(f"mail {entry.mail} has no one-click unsubscribe")
    return url[1]


def _display_name(mail: EmailMessage) -> str:
    header = mail["To"]
    addresses = getattr(header, "addresses", ())
    return str(addresses[0].display_name) if addresses else ""


def read_letters(entries: Iterable[Entry], mails: Path, tracker: str) -> list[Letter]:
    """The letters of the entries' mails, which stand below ``mails``.

    Raises:
        RecipientFailed: see ``read_letter``.
    """
    return [read_letter(entry, mail_path(mails, entry.mail).read_bytes(), tracker) for entry in entries]
