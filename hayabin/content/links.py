"""Rewrites the links of a template once, so that rendering a mail rewrites none.

Promises: each ``http`` and ``https`` destination of ``<a>`` and ``<area>`` gets a number and leads by the tracker; all
other markup stays as it was written. Left alone: other schemes, fragments, and links that begin with a system field
(``{{ unsubscribe_url }}``). Links inside comments (Outlook's conditional ones) are not seen.
Fails: ``LinkProblem``s are returned for destinations that are too long, too many or not closed in themselves.

A static destination is kept in ``Link.url`` and the mail carries ``<track url>/<number>``. A destination with template
syntax is known only when a mail is rendered: the syntax is captured and given to the link function, which signs it.
"""

import html
import re
from dataclasses import dataclass, field

from hayabin.content.compiled import (
    LINK_FUNCTION,
    OPEN_VARIABLE,
    SYSTEM_FIELDS,
    TRACK_VARIABLE,
    Link,
)
from hayabin.content.markup import MarkupToken, TokenKind, read_markup
from hayabin.content.placeholder import ProtectedSource
from hayabin.content.syntax import PieceKind

LINKS_MAX = 500
URL_MAX_CHARS = 2000

OPEN_PIXEL = (
    f'<img src="{{{{ {OPEN_VARIABLE}|safe }}}}" width="1" height="1" alt="" '
    'style="display:block;width:1px;height:1px;border:0">'
)
_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]*):")
_UNSEEN = re.compile(r"[\x00-\x20\x7f]+")
_TEXT_URL = re.compile(r"https?://[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")
_TRAILING = ".,;:!?'"


@dataclass(frozen=True, slots=True)
class LinkProblem:
    """A link that can not be tracked; ``offset`` is in the protected text."""

    offset: int
    message: str


@dataclass(slots=True)
class LinkBook:
    """The tracked links of one template, over all its parts."""

    links: list[Link] = field(default_factory=list)
    problems: list[LinkProblem] = field(default_factory=list)
    _static: dict[str, Link] = field(default_factory=dict)

    def add(self, url: str, *, dynamic: bool, offset: int, reuse: bool = False) -> Link:
        """Number a destination; ``reuse`` gives a static one the number that it has already."""
        if reuse and not dynamic and url in self._static:
            return self._static[url]
        if len(self.links) == LINKS_MAX:
            self.problems.append(LinkProblem(offset, f"more than {LINKS_MAX} links"))
        if len(url) > URL_MAX_CHARS:
            self.problems.append(LinkProblem(offset, f"a link of more than {URL_MAX_CHARS} characters"))
        link = Link(len(self.links), url[:URL_MAX_CHARS], dynamic)
        self.links.append(link)
        if not dynamic:
            self._static.setdefault(url, link)
        return link


@dataclass(frozen=True, slots=True)
class Anchor:
    """A link of the HTML part: where its destination stands, and what the text part writes for it.

    Shape: ``link`` is None for a destination that is left alone; ``url`` is the protected destination, decoded.
    """

    start: int
    end: int
    link: Link | None
    url: str


def find_anchors(protected: ProtectedSource, markup: str, book: LinkBook) -> dict[int, Anchor]:
    """The links of ``markup``, by the offset of their tag, the tracked ones entered in ``book``."""
    anchors: dict[int, Anchor] = {}
    for token in read_markup(markup):
        if token.kind is not TokenKind.START or token.name not in {"a", "area"}:
            continue
        href = token.attribute("href")
        if href is not None and href.value.strip():
            anchors[token.start] = _anchor(protected, token, href.value, href.start, book)
    return anchors


def _anchor(protected: ProtectedSource, token: MarkupToken, value: str, start: int, book: LinkBook) -> Anchor:
    url = html.unescape(value).strip()
    end = start + len(value)
    if not is_tracked(protected, url):
        return Anchor(start, end, None, url)
    if protected.word.search(url):
        if not _is_closed(protected, url):
            book.problems.append(LinkProblem(token.start, "a statement in a link must end in the same link"))
        shown = protected.word.sub(lambda match: protected.piece(match).text, url)
        return Anchor(start, end, book.add(shown, dynamic=True, offset=token.start), url)
    return Anchor(start, end, book.add(_UNSEEN.sub("", url), dynamic=False, offset=token.start), url)


def is_tracked(protected: ProtectedSource, url: str) -> bool:
    """Whether a destination leads by the tracker."""
    first = protected.word.search(url)
    head = url[: first.start()] if first else url
    scheme = _SCHEME.match(head)
    if scheme:
        return scheme.group(1).lower() in {"http", "https"}
    if first is None or head.strip():
        return False
    piece = protected.piece(first)
    is_system = piece.kind is PieceKind.OUTPUT and bool(piece.tokens) and piece.tokens[0].text in SYSTEM_FIELDS
    return not is_system


def _is_closed(protected: ProtectedSource, url: str) -> bool:
    """Whether every statement that begins in a destination ends in it."""
    depth = 0
    for match in protected.word.finditer(url):
        tag = protected.piece(match).tag
        depth += (tag in {"if", "for", "with"}) - tag.startswith("end")
        if depth < 0 or (depth == 0 and tag in {"elif", "else"}):
            return False
    return depth == 0


def rewrite_html(protected: ProtectedSource, markup: str, anchors: dict[int, Anchor]) -> str:
    """The HTML part as a template: links rewritten, open pixel before ``</body>``, syntax restored."""
    edits = [
        (anchor.start, anchor.end, _html_url(protected, markup, anchor, anchor.link))
        for anchor in anchors.values()
        if anchor.link
    ]
    body_ends = [t.start for t in read_markup(markup) if t.kind is TokenKind.END and t.name == "body"]
    place = body_ends[-1] if body_ends else len(markup)
    edits.append((place, place, OPEN_PIXEL))
    parts, position = [], 0
    for start, end, replacement in sorted(edits):
        parts += [protected.restore(markup[position:start]), replacement]
        position = end
    return "".join([*parts, protected.restore(markup[position:])])


def _html_url(protected: ProtectedSource, markup: str, anchor: Anchor, link: Link) -> str:
    written = markup[anchor.start : anchor.end]
    quote = "" if markup[anchor.start - 1] in {'"', "'"} else '"'
    return quote + _template_url(link, protected.restore(written), f"{TRACK_VARIABLE}|safe") + quote


def text_url(protected: ProtectedSource, anchor: Anchor) -> str:
    """What the text part writes for a link of the HTML part."""
    if anchor.link is None:
        return protected.restore(anchor.url)
    return _template_url(anchor.link, protected.restore(anchor.url), TRACK_VARIABLE)


def _template_url(link: Link, captured: str, track: str) -> str:
    if not link.dynamic:
        return f"{{{{ {track} }}}}/{link.number}"
    name = f"{LINK_FUNCTION}_to"
    return f"{{% set {name} %}}{captured}{{% endset %}}{{{{ {LINK_FUNCTION}({link.number}, {name}) }}}}"


def rewrite_text(protected: ProtectedSource, book: LinkBook) -> str:
    """A text part that somebody wrote, as a template: the URLs that stand in it lead by the tracker."""
    parts, position = [], 0
    text = protected.text
    for match in _TEXT_URL.finditer(text):
        url = _text_url_end(protected, match.group())
        dynamic = protected.word.search(url) is not None
        shown = protected.word.sub(lambda word: protected.piece(word).text, url)
        link = book.add(shown, dynamic=dynamic, offset=match.start(), reuse=True)
        parts += [protected.restore(text[position : match.start()])]
        parts += [_template_url(link, protected.restore(url), TRACK_VARIABLE)]
        position = match.start() + len(url)
    return "".join([*parts, protected.restore(text[position:])])


def _text_url_end(protected: ProtectedSource, url: str) -> str:
    """``url`` without the statements and the punctuation of the sentence after it."""
    for match in protected.word.finditer(url):
        if protected.piece(match).kind is PieceKind.STATEMENT:
            url = url[: match.start()]
            break
    url = url.rstrip(_TRAILING)
    if len(url) > 4 * URL_MAX_CHARS:
        return url  # refused in any case
    while url.endswith((")", "]")) and url.count(url[-1]) > url.count("(" if url[-1] == ")" else "["):
        url = url[:-1].rstrip(_TRAILING)
    return url
