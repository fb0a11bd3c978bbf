"""Carries template syntax through tools that read markup and know nothing of templates.

Promises: every ``{{ output }}`` and ``{% statement %}`` becomes a word that an attribute, a style or a text can hold;
statements between tags become comments, which may stand anywhere, even between the rows of a table. ``restore`` puts
all of it back, and makes the braces inert that were text and only look like syntax afterwards.
Fails: never; a word that a tool dropped stays dropped (the syntax check after compilation sees it).
"""

import re
from bisect import bisect_right

from hayabin.content.guard import guarded
from hayabin.content.markup import RAW_TAGS, TokenKind, read_markup
from hayabin.content.syntax import Piece, PieceKind, line_of

_SYNTAX_LIKE = re.compile(r"\{(?=[{%#]|\Z)")
_INERT_BRACE = "{{ '{' }}"


class ProtectedSource:
    """A template's source with words in place of its syntax: ``text``."""

    def __init__(self, source: str, pieces: list[Piece], *, markup: bool) -> None:
        """Replace the syntax of ``pieces``, which are those of ``source``; ``markup`` makes statements comments."""
        self._source = source
        self._mark = "hbq"
        while self._mark in source.lower():
            self._mark += "q"
        mark = self._mark
        self.word = re.compile(rf"{mark}([0-9]+)z")
        self.mark = re.compile(rf"<!--{mark}([0-9]+)z-->|{mark}([0-9]+)z")
        # A tool gives a statement between attributes an empty value.
        self._restorable = re.compile(rf"<!--{mark}([0-9]+)z-->|(?<=\s){mark}([0-9]+)z=\"\"|{mark}([0-9]+)z")
        self.pieces = [piece for piece in pieces if piece.kind is not PieceKind.TEXT]
        self._offsets: list[tuple[int, int]] = []
        self.text = self._replace(pieces, frozenset())
        if markup:
            self.text = self._replace(pieces, self._between_tags())

    def _replace(self, pieces: list[Piece], comments: frozenset[int]) -> str:
        """The source with words for its syntax, those in ``comments`` as comments."""
        self._offsets = []
        parts: list[str] = []
        length = number = 0
        for piece in pieces:
            part = piece.text
            if piece.kind is not PieceKind.TEXT:
                part = f"<!--{self._mark}{number}z-->" if number in comments else f"{self._mark}{number}z"
                number += 1
            self._offsets.append((length, piece.start))
            parts.append(part)
            length += len(part)
        return "".join(parts)

    def _between_tags(self) -> frozenset[int]:
        """The numbers of the statements that stand where a tag could."""
        numbers: set[int] = set()
        inside = ""
        for token in read_markup(self.text):
            if token.kind is TokenKind.TEXT and inside not in RAW_TAGS:
                for match in self.word.finditer(self.text, token.start, token.end):
                    if self.piece(match).kind is PieceKind.STATEMENT:
                        numbers.add(int(match.group(1)))
            inside = token.name if token.kind is TokenKind.START else ""
        return frozenset(numbers)

    def piece(self, match: re.Match[str]) -> Piece:
        """The piece that a match of ``word`` or ``mark`` stands for."""
        return self.pieces[int(next(group for group in match.groups() if group))]

    def line(self, offset: int) -> int:
        """The line of the source that ``offset`` of the protected text comes from."""
        index = max(0, bisect_right(self._offsets, (offset, len(self._source))) - 1)
        if not self._offsets:
            return 1
        protected, original = self._offsets[index]
        following = self._offsets[index + 1][1] if index + 1 < len(self._offsets) else len(self._source)
        return line_of(self._source, min(original + offset - protected, following))

    def restore_all(self) -> str:
        """The whole source, guarded."""
        return self.restore(self.text)

    def restore(self, text: str) -> str:
        """``text`` with syntax in place of words, guarded, and with inert braces where text looks like syntax."""
        parts, position = [], 0
        for match in self._restorable.finditer(text):
            parts += [make_inert(text[position : match.start()]), guarded(self.piece(match))]
            position = match.end()
        parts.append(make_inert(text[position:]))
        return "".join(parts)


def make_inert(text: str) -> str:
    """``text`` so that minijinja writes it out as it stands."""
    return _SYNTAX_LIKE.sub(_INERT_BRACE, text)
