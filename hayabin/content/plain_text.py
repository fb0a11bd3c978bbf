"""Writes the text part of a mail from its HTML part, template syntax included.

Promises: text, links (``label: url``), headings, lists and table rows in the order of the HTML; nothing of head,
styles, scripts, comments or hidden elements. Statements stand where they stood, so that a
loop over table rows is a loop over lines.
Fails: never; markup that is not closed is read to its end.
"""

import html
import re
from dataclasses import dataclass, field

from hayabin.content.links import Anchor, text_url
from hayabin.content.markup import VOID_TAGS, MarkupToken, TokenKind, read_markup
from hayabin.content.placeholder import ProtectedSource

_SPACES = re.compile(r"[ \t\r\n\f\u00a0]+")
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_SKIPPED = frozenset({"head", "script", "style", "title", "textarea", "noscript", "template", "svg"})
_HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
_SPACED = _HEADINGS | {"p", "ul", "ol", "blockquote", "pre"}
_BLOCKS = _SPACED | frozenset(
    "address article aside body center dd div dl dt fieldset figure footer form header html li main nav section table "  # noqa: SIM905 - reads as words
    "tbody tfoot thead tr".split()
)


def write_text(protected: ProtectedSource, markup: str, anchors: dict[int, Anchor]) -> str:
    """The text part as a template."""
    writer = _Writer(protected, anchors)
    for token in read_markup(markup):
        writer.read(token, markup)
    return writer.text()


@dataclass(slots=True)
class _Writer:
    """Collects lines; breaks are owed until the next word, so that they never pile up."""

    protected: ProtectedSource
    anchors: dict[int, Anchor]
    parts: list[str] = field(default_factory=list)
    owed: int = 0
    """Line breaks to write before the next text."""
    space: bool = False
    cell: bool = False
    line_empty: bool = True
    begun: bool = False
    """Whether any text was written; statements before it owe no line breaks."""
    hidden: list[str] = field(default_factory=list)
    """The element whose content is skipped, and those of its name inside it."""
    lists: list[int] = field(default_factory=list)
    """For each open list, the next number, or 0 for bullets."""
    anchor: Anchor | None = None
    label: str = ""

    def text(self) -> str:
        return "".join(self.parts).strip("\n") + "\n"

    def read(self, token: MarkupToken, markup: str) -> None:
        if self.hidden:
            self._skip(token)
            return
        match token.kind:
            case TokenKind.TEXT:
                self._words(html.unescape(markup[token.start : token.end]))
            case TokenKind.COMMENT:
                match = self.protected.mark.fullmatch(markup, token.start, token.end)
                if match:
                    self._statement(markup[token.start : token.end], self.protected.piece(match).tag)
            case TokenKind.START:
                self._start(token)
            case TokenKind.END:
                self._end(token.name)

    def _skip(self, token: MarkupToken) -> None:
        if token.name == self.hidden[0]:
            if token.kind is TokenKind.START and not token.closed:
                self.hidden.append(token.name)
            elif token.kind is TokenKind.END:
                self.hidden.pop()

    def _start(self, token: MarkupToken) -> None:
        style = token.attribute("style")
        hides = token.name in _SKIPPED or (style is not None and _HIDDEN.search(style.value) is not None)
        if hides and token.name not in VOID_TAGS and not token.closed:
            self.hidden.append(token.name)
        elif token.name == "a" and token.start in self.anchors:
            self._end("a")
            self.anchor, self.label = self.anchors[token.start], ""
        elif token.name == "br":
            self.owed += 1
        elif token.name == "hr":
            self._break(2)
            self._write("-" * 40)
            self._break(2)
        elif token.name == "img":
            alt = token.attribute("alt")
            self._words(f" {html.unescape(alt.value)} " if alt else " ")
        elif token.name in {"td", "th"}:
            self.cell = not self.line_empty and self.owed == 0
        elif token.name == "li":
            self._break(1)
            self._bullet()
        elif token.name in _BLOCKS:
            self._break(2 if token.name in _SPACED else 1)
            if token.name in {"ul", "ol"}:
                self.lists.append(int(token.name == "ol"))

    def _end(self, name: str) -> None:
        if name == "a" and self.anchor is not None:
            anchor, self.anchor = self.anchor, None
            self._address(anchor)
        elif name in _BLOCKS:
            if name in {"ul", "ol"} and self.lists:
                self.lists.pop()
            self._break(2 if name in _SPACED else 1)

    def _break(self, count: int) -> None:
        self.owed = max(self.owed, count)

    def _bullet(self) -> None:
        number = self.lists[-1] if self.lists else 0
        self._write(f"{number}. " if number else "- ")
        if number:
            self.lists[-1] += 1
        self.space = False

    def _words(self, text: str) -> None:
        collapsed = _SPACES.sub(" ", text)
        if not collapsed.strip(" "):
            self.space = self.space or (bool(collapsed) and not self.line_empty)
            return
        self.space = (self.space or collapsed.startswith(" ")) and not self.line_empty
        self._write(self.protected.restore(collapsed.strip(" ")))
        self.label += collapsed
        self.space = collapsed.endswith(" ")

    def _address(self, anchor: Anchor) -> None:
        """Write the destination after the label, unless it says nothing more."""
        label, space = self.label.strip(), self.space
        if anchor.url.startswith("#") or anchor.url.partition(":")[2] == label != "":
            return
        self.space = False
        if label != anchor.url or anchor.link is not None:
            address = text_url(self.protected, anchor)
            self._write((": " if label else "") + address.removeprefix("mailto:").removeprefix("tel:"))
        self.space = space

    def _write(self, text: str) -> None:
        """Write what is owed, then ``text``, which has no line breaks of its own."""
        if self.owed:
            breaks = min(self.owed, 2) - self.line_empty  # a statement before this has ended the line
            self.parts.append("\n" * breaks if self.begun else "")
            self.owed, self.space, self.line_empty = 0, False, True
        if self.cell and not self.line_empty:
            self.parts.append(" | ")
        elif self.space and not self.line_empty:
            self.parts.append(" ")
        self.cell = self.space = False
        self.parts.append(text)
        self.line_empty, self.begun = False, True

    def _statement(self, word: str, tag: str) -> None:
        """Write a statement; what it repeats ends with its line break, so the next line begins at the left."""
        ends = tag.startswith("end") or tag in {"elif", "else"}
        if self.owed and self.begun and not self.line_empty:
            self.parts.append("\n" if ends else "\n" * min(self.owed, 2))
            self.owed, self.space, self.line_empty = 0, False, True
        elif self.space and not self.line_empty and not self.owed:
            self.parts.append(" ")
            self.space = False
        self.parts.append(self.protected.restore(word))
