"""What the API answers, shown: as a table for people, or as JSON lines for programs.

Promises: columns are aligned where characters are two columns wide, too. No value steers the terminal: control
characters and what turns the direction of text are replaced in a table and escaped in JSON. Rows are shown page by
page; a column is as wide as the first page needs, up to ``CELL_MAX``, and a longer cell is whole and sticks out.
Fails: never for a value; ``OSError`` where nobody reads any more.
"""

import json
import re
import unicodedata
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import click

CELL_MAX: Final = 48
"""Columns of a terminal that a cell is padded to at most."""
_STEERING: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_UNPRINTED: Final = frozenset({"Mn", "Me", "Cf"})


def plain(text: str) -> str:
    """A text on one line, without what steers a terminal."""
    return _STEERING.sub("\ufffd", text)


def width(text: str) -> int:
    """Columns of a terminal that a text takes (UAX 11: W and F are two wide)."""
    return sum(map(_width, text))


def cell(value: Any) -> str:
    """A value as it stands in a table."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list() if not any(isinstance(item, dict | list) for item in value):
            return ", ".join(map(cell, value))
        case dict() | list():
            return plain(json.dumps(value, ensure_ascii=False))
        case _:
            return plain(str(value))


def json_line(value: Any) -> str:
    """A value as one line of JSON."""
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))


class Table:
    """Rows as they come, in columns of these names; as JSON every member of a row is shown."""

    def __init__(self, names: Sequence[str], *, as_json: bool) -> None:
        """Nothing is shown before there is a row."""
        self._names = names
        self._as_json = as_json
        self._widths: list[int] = []

    def show(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Show some more."""
        if not rows:
            return
        if self._as_json:
            lines = [json_line(row) for row in rows]
        else:
            cells = [[cell(row.get(name)) for name in self._names] for row in rows]
            if not self._widths:
                cells.insert(0, list(self._names))
                self._widths = [min(CELL_MAX, max(map(width, column))) for column in zip(*cells, strict=True)]
            lines = [self._line(line) for line in cells]
        click.echo("\n".join(lines))

    async def show_pages(self, pages: AsyncIterator[list[dict[str, Any]]]) -> None:
        """Show all, page by page."""
        async for rows in pages:
            self.show(rows)

    def _line(self, cells: Sequence[str]) -> str:
        return "  ".join(map(_padded, cells, self._widths)).rstrip()


def show(thing: Mapping[str, Any], *, as_json: bool) -> None:
    """Show one thing: a line for each of its members, or JSON."""
    if as_json:
        click.echo(json_line(thing))
        return
    names = max(map(width, thing), default=0)
    for name, value in thing.items():
        click.echo(f"{_padded(plain(name), names)}  {cell(value)}".rstrip())


def _padded(text: str, wide: int) -> str:
    return text + " " * (wide - width(text))


def _width(character: str) -> int:
    if unicodedata.category(character) in _UNPRINTED:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
