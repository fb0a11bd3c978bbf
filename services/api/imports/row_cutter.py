"""Cuts the bytes of a CSV into rows, chunk by chunk.

Promises: memory is bounded by a chunk and ``MAX_ROW_BYTES``, time is linear in the bytes, whatever the quotes are; line
ends inside quoted cells belong to their row. A quote opens a cell only where the cell begins, so ``5" disk`` is a
value and does not swallow the rows after it. Rows are cut as bytes: neither UTF-8 nor CP932 has a line end, quote or
delimiter inside another character.
Fails: never; a row that cannot be had is a ``BrokenRow`` that says which lines it was.
Source: RFC 4180 §2.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_ROW_BYTES = 1024 * 1024
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Row:
    """A whole row without its line end; ``line`` is where it begins, counted from 1."""

    line: int
    content: bytes


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """Lines that make no row, and why (``line_too_long`` or ``unclosed_quote``)."""

    line: int
    last_line: int
    reason: str


@dataclass(slots=True)
class RowCutter:
    """Feed it chunks, then ``finish``; empty lines are left out."""

    delimiter: str = ""
    """Given, or ``,``, a tab or ``;``, whichever the first line has most of; known from then on."""
    _rest: bytes = b""
    _row: list[bytes] = field(default_factory=list)
    _row_bytes: int = 0
    _row_line: int = 0
    _line: int = 0
    _in_quotes: bool = False
    _skipping: bool = False
    _cell_quote: bytes = b""

    def feed(self, chunk: bytes) -> Iterator[Row | BrokenRow]:
        """The rows that this chunk completes."""
        lines = (self._rest + chunk).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            yield from self._take(line)
        if len(self._rest) > MAX_ROW_BYTES:  # a line whose end is not in sight: say so once, forget it
            self._rest = b""
            if not self._skipping:
                self._skipping = True
                yield BrokenRow(self._row_line if self._row else self._line + 1, self._line + 1, "line_too_long")
                self._forget()

    def plain_lines(self, chunk: bytes) -> tuple[int, bytes] | None:
        """The lines that this chunk completes, and the number of the first, where each is a row or empty.

        None where one may be more or less than a row, for a quote or its length, or where the header has not come:
        nothing was taken then, and ``feed`` takes the chunk.
        """
        if not self._cell_quote or self._row or self._skipping or len(self._rest) + len(chunk) > MAX_ROW_BYTES:
            return None
        head, end, rest = chunk.rpartition(b"\n")
        if not end or b'"' in chunk or b'"' in self._rest:
            return None
        first = self._line + 1
        content = self._rest + head
        self._rest = rest
        self._line += content.count(b"\n") + 1
        return first, content

    def finish(self) -> Iterator[Row | BrokenRow]:
        """What the end of the file completes."""
        if self._rest or self._skipping:
            yield from self._take(self._rest)
        if self._row:
            yield BrokenRow(self._row_line, self._line, "unclosed_quote")
            self._forget()

    def _take(self, line: bytes) -> Iterator[Row | BrokenRow]:
        self._line += 1
        if self._line == 1:
            line = line.removeprefix(BOM)
        if self._skipping:  # the end of the line that was forgotten
            self._skipping = False
            return
        if not self._row:
            if not line.strip(b"\r"):
                return
            self._row_line = self._line
            self._choose_delimiter(line)
        self._row.append(line)
        self._row_bytes += len(line) + 1
        self._in_quotes = self._ends_in_quotes(line)
        if self._row_bytes > MAX_ROW_BYTES:
            yield BrokenRow(self._row_line, self._line, "unclosed_quote" if self._in_quotes else "line_too_long")
            self._forget()
        elif not self._in_quotes:
            yield Row(self._row_line, b"\n".join(self._row).removesuffix(b"\r"))
            self._forget()

    def _forget(self) -> None:
        self._row = []
        self._row_bytes = 0
        self._in_quotes = False

    def _choose_delimiter(self, line: bytes) -> None:
        if not self._cell_quote:
            self.delimiter = self.delimiter or max(",\t;", key=lambda sign: line.count(sign.encode()))
            self._cell_quote = self.delimiter.encode() + b'"'

    def _ends_in_quotes(self, line: bytes) -> bool:
        """Whether the row goes on after this line."""
        open_ = self._in_quotes
        at = 0
        if not open_ and line.startswith(b'"'):
            open_, at = True, 1
        while True:
            if open_:
                at = line.find(b'"', at) + 1
                if at == 0:
                    return True
                if line.startswith(b'"', at):  # a doubled quote is a quote
                    at += 1
                    continue
            at = line.find(self._cell_quote, at)
            if at < 0:
                return False
            open_, at = True, at + 2
