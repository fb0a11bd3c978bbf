"""Reads HTML and MJML as a flat run of tags, comments and text, with the place of everything.

Promises: the tokens cover the source without gap or overlap, in one pass linear in its length, so that an edit can
replace a span and leave the rest as it was written; nothing is normalised.
Fails: never; what is not closed runs to the end of the source, as browsers read it (HTML Living Standard §13.2.5).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

VOID_TAGS = frozenset("area base br col embed hr img input link meta param source track wbr".split())  # noqa: SIM905 - reads as words
RAW_TAGS = frozenset({"script", "style", "title", "textarea", "mj-style", "mj-title", "mj-preview"})
"""Elements that hold text only: a ``<`` in them is no tag."""

_START = re.compile(r"<([A-Za-z][^\s/>]*)")
_END = re.compile(r"</([A-Za-z][^\s/>]*)[^>]*>?")
_ATTRIBUTE = re.compile(r"""[\s/]*([^\s=>/"'][^\s=>/]*)(?:\s*=\s*("[^"]*"?|'[^']*'?|[^\s>"']+))?""")
_ATTRIBUTES_END = re.compile(r"""[^>]*>?""")


class TokenKind(StrEnum):
    """What a token of markup is."""

    TEXT = "text"
    START = "start"
    END = "end"
    COMMENT = "comment"
    """Comments, conditional ones included, declarations and processing instructions."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute; ``start`` and ``end`` are the place of its value without quotes (empty if it has none)."""

    name: str
    value: str
    start: int
    end: int
    name_start: int


@dataclass(frozen=True, slots=True)
class MarkupToken:
    """One token; ``name`` is lower case, and empty for text and comments."""

    kind: TokenKind
    start: int
    end: int
    name: str = ""
    attributes: tuple[Attribute, ...] = ()
    closed: bool = False
    """A start tag that ends with ``/>``."""

    def attribute(self, name: str) -> Attribute | None:
        """The first attribute of that name."""
        return next((attribute for attribute in self.attributes if attribute.name == name), None)


def read_markup(source: str) -> Iterator[MarkupToken]:
    """The tokens of ``source``."""
    position = text_from = 0
    while (opening := source.find("<", position)) >= 0:
        token = _tag(source, opening)
        if token is None:
            position = opening + 1
            continue
        if opening > text_from:
            yield MarkupToken(TokenKind.TEXT, text_from, opening)
        yield token
        position = text_from = token.end
        if token.kind is TokenKind.START and token.name in RAW_TAGS and not token.closed:
            position = _raw_end(source, token)
    if text_from < len(source):
        yield MarkupToken(TokenKind.TEXT, text_from, len(source))


def _raw_end(source: str, token: MarkupToken) -> int:
    """Where the end tag of an element stands that holds text only."""
    closing = re.compile(rf"</{re.escape(token.name)}(?=[\s/>]|\Z)", re.IGNORECASE).search(source, token.end)
    return closing.start() if closing else len(source)


def _tag(source: str, start: int) -> MarkupToken | None:
    """The tag or comment that begins at ``start``; None if that ``<`` is text."""
    if source.startswith("<!--", start):
        end = source.find("-->", start + 2)  # <!--> is a whole comment
        return MarkupToken(TokenKind.COMMENT, start, len(source) if end < 0 else end + 3)
    if source.startswith(("<!", "<?"), start):
        end = source.find(">", start)
        return MarkupToken(TokenKind.COMMENT, start, len(source) if end < 0 else end + 1)
    ending = _END.match(source, start)
    if ending:
        return MarkupToken(TokenKind.END, start, ending.end(), ending.group(1).lower())
    beginning = _START.match(source, start)
    return _start_tag(source, beginning) if beginning else None


def _start_tag(source: str, beginning: re.Match[str]) -> MarkupToken:
    attributes: list[Attribute] = []
    position = beginning.end()
    while found := _ATTRIBUTE.match(source, position):
        value, start, end = found.group(2) or "", found.start(2), found.end(2)
        if value[:1] in {'"', "'"}:
            start, end = start + 1, end - (len(value) > 1 and value[-1] == value[0])
        if not value:
            start = end = found.end()
        attributes.append(Attribute(found.group(1).lower(), source[start:end], start, end, found.start(1)))
        position = found.end()
    rest = _ATTRIBUTES_END.match(source, position)
    end = rest.end() if rest else len(source)
    closed = source[max(0, end - 2) : end] == "/>"
    return MarkupToken(TokenKind.START, beginning.start(), end, beginning.group(1).lower(), tuple(attributes), closed)
