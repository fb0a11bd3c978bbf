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
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from email.utils import parseaddr
from html import unescape
from pathlib import Path

import httpx

from services.standalone.sandbox.behaviour import Behaviour, behaviour_of, draw
from services.standalone.sandbox.journal import Entry
from services.standalone.sandbox.mailbox import body_text, header_text, mail_path, read_mail

OPENS_PER_MILLE = 450
CLICKS_PER_MILLE = 350  # of who opens
UNSUBSCRIBES_PER_MILLE = 25
AT_ONCE = 16
ONE_CLICK = "List-Unsubscribe=One-Click"  # RFC 8058 §3.1

_IMAGE = re.compile(r"""<img\b[^>]*?\ssrc=["']([^"'>]+)""", re.IGNORECASE)
_LINK = re.compile(r"""<a\b[^>]*?\shref=["']([^"'>]+)""", re.IGNORECASE)
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


def read_letter(entry: Entry, content: bytes, tracker: str) -> Letter:
    """What ``entry``'s recipient finds in the mail.

    Raises:
        RecipientFailed: no open pixel, no tracked link or no one-click unsubscribe.
    """
    mail = read_mail(content)
    html = body_text(mail, "html")
    pixels = [url for url in _urls(_IMAGE, html) if url.startswith(f"{tracker}/o/")]
    links = [url for url in _urls(_LINK, html) if url.startswith(f"{tracker}/c/")]
    if len(pixels) != 1 or not links:
        raise RecipientFailed(f"mail {entry.mail} has {len(pixels)} open pixels and {len(links)} tracked links")
    return Letter(
        recipient=entry.recipient,
        subject=header_text(mail, "Subject"),
        to_name=_display_name(mail),
        html=html,
        text=body_text(mail, "plain"),
        pixel=pixels[0],
        links=tuple(links),
        unsubscribe=_one_click(entry, mail),
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


def _urls(pattern: re.Pattern[str], html: str) -> Iterable[str]:
    """What a mail program would fetch or offer."""
    return (unescape(found) for found in pattern.findall(html))


def _one_click(entry: Entry, mail: Message) -> str:
    """The URL to post to.

    Source: RFC 2369 §2 (angle brackets), RFC 8058 §3.1.
    """
    url = _ANGLED_URL.search(header_text(mail, "List-Unsubscribe"))
    if url is None or header_text(mail, "List-Unsubscribe-Post") != ONE_CLICK:
        raise RecipientFailed(f"mail {entry.mail} has no one-click unsubscribe")
    return url[1]


def _display_name(mail: Message) -> str:
    """The name beside the address in To.

    Source: RFC 5322 §3.4 (the encoded words are decoded after the address is taken apart, RFC 2047 §6.2).
    """
    name, _ = parseaddr(str(mail.get("To", "")))
    try:
        return str(make_header(decode_header(name)))
    except (HeaderParseError, LookupError, ValueError):
        return ""


def read_letters(entries: Iterable[Entry], mails: Path, tracker: str) -> list[Letter]:
    """The letters of the entries' mails, which stand below ``mails``.

    Raises:
        RecipientFailed: see ``read_letter``.
    """
    return [read_letter(entry, mail_path(mails, entry.mail).read_bytes(), tracker) for entry in entries]
