"""From the bytes of a CSV to contacts and row errors, chunk by chunk.

Promises: memory is bounded by a chunk and ``MAX_ROW_BYTES``; quoted line ends are kept; every row is either a contact
or an error with its line, column and reason; UTF-8 with or without BOM and CP932 (as Excel writes it in Japan) are
read. Rows are cut as bytes: neither encoding has a line end, quote or delimiter inside another character.
Fails: ``FileRefused`` when the header cannot be used; single rows never fail the file.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from hayabin.domain.address import AddressInvalid, parse_address

MAX_ROW_BYTES = 1024 * 1024
MAX_COLUMNS = 100
MAX_VALUE_CHARS = 10_000
SHOWN_CHARS = 200
_EMAIL = frozenset({"email", "e-mail", "mail", "address", "メールアドレス", "メール", "アドレス"})
_NAME = frozenset({"name", "氏名", "名前", "お名前", "full name"})
_LOCALE = frozenset({"locale", "language", "言語"})
BOM = b"\xef\xbb\xbf"


class FileRefused(Exception):
    """The file as a whole cannot be imported; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Contact:
    """A row that can be imported."""

    line: int
    address: str
    wire: str
    key: str
    name: str
    locale: str
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RowError:
    """A row that cannot, and why."""

    line: int
    column: str
    reason: str
    value: str


@dataclass(slots=True)
class CsvRows:
    """Feed it chunks, then ``finish``; both give what became complete."""

    encoding: str
    rows: int = 0
    _rest: bytes = b""
    _row: list[bytes] = field(default_factory=list)
    _row_bytes: int = 0
    _row_line: int = 1
    _line: int = 0
    _skipping: bool = False
    _header: list[str] | None = None
    _delimiter: str = ","
    _started: bool = False

    def feed(self, chunk: bytes) -> list[Contact | RowError]:
        """The contacts and errors of the rows that this chunk completes.

        Raises:
            FileRefused: the header cannot be used.
        """
        if not self._started:
            self._started = True
            chunk = chunk.removeprefix(BOM)
        lines = (self._rest + chunk).split(b"\n")
        self._rest = lines.pop()
        found = list(self._take(lines))
        if len(self._rest) > MAX_ROW_BYTES:  # a line without an end: forget it, remember that we did
            self._rest = b""
            if not self._skipping:
                self._skipping = True
                found.append(self._too_long(self._line + 1))
        return found

    def finish(self) -> list[Contact | RowError]:
        """What the end of the file completes.

        Raises:
            FileRefused: there was no header.
        """
        found = list(self._take([self._rest])) if self._rest else []
        if self._row:
            self.rows += 1
            found.append(RowError(self._row_line, "", "unclosed_quote", ""))
            self._row = []
        if self._header is None:
            raise FileRefused("The file has no header row: its first line must name the columns, one of them `email`.")
        return found

    def _take(self, lines: list[bytes]) -> Iterator[Contact | RowError]:
        for line in lines:
            self._line += 1
            if self._skipping:
                self._skipping = False
                continue
            if not self._row:
                self._row_line = self._line
                self._row_bytes = 0
            self._row.append(line)
            self._row_bytes += len(line) + 1
            if self._row_bytes > MAX_ROW_BYTES:
                self._row = []
                yield self._too_long(self._row_line)
                continue
            row = line if len(self._row) == 1 else b"\n".join(self._row)
            if row.count(b'"') % 2:
                continue  # a quoted line end
            self._row = []
            if row.strip(b"\r"):
                yield from self._complete(row.rstrip(b"\r"))

    def _too_long(self, line: int) -> RowError:
        if self._header is None:
            raise FileRefused(f"The header row is longer than {MAX_ROW_BYTES} bytes.")
        self.rows += 1
        return RowError(line, "", "line_too_long", f"more than {MAX_ROW_BYTES} bytes")

    def _complete(self, row: bytes) -> Iterator[Contact | RowError]:
        try:
            text = row.decode(self.encoding)
        except UnicodeDecodeError:
            if self._header is None:
                raise FileRefused("The header is neither UTF-8 nor CP932 (Shift_JIS).") from None
            self.rows += 1
            yield RowError(self._row_line, "", "undecodable", "")
            return
        if self._header is None:
            self._header = self._read_header(text)
            return
        self.rows += 1
        yield self._read(text)

    def _read_header(self, text: str) -> list[str]:
        self._delimiter = max(",\t;", key=text.count)
        names = [name.strip() for name in _cells(text, self._delimiter)]
        kinds = [_kind(name) for name in names]
        if kinds.count("email") != 1:
            raise FileRefused(
                f"The header must have one column `email` (or メールアドレス); it has: {', '.join(names)[:300]}"
            )
        if len(names) > MAX_COLUMNS:
            raise FileRefused(f"The header has {len(names)} columns; {MAX_COLUMNS} are possible.")
        if any(not name or len(name) > 100 or name.startswith("_hb") for name in names) or len(set(names)) < len(names):
            raise FileRefused(
                "Every column needs a name of its own, of at most 100 characters, not beginning with _hb."
            )
        return names

    def _read(self, text: str) -> Contact | RowError:
        names = self._header or []
        try:
            cells = _cells(text, self._delimiter)
        except csv.Error as error:
            return RowError(self._row_line, "", "malformed", str(error)[:SHOWN_CHARS])
        if len(cells) != len(names):
            return RowError(self._row_line, "", "column_count", f"{len(cells)} instead of {len(names)}")
        email = name = ""
        locale = "ja"
        attributes: dict[str, Any] = {}
        for column, cell in zip(names, cells, strict=True):
            value = cell.strip()
            if len(value) > MAX_VALUE_CHARS or "\x00" in value:
                reason = "nul_character" if "\x00" in value else "value_too_long"
                return RowError(self._row_line, column, reason, value[:SHOWN_CHARS].replace("\x00", ""))
            match _kind(column):
                case "email":
                    email = value
                    email_column = column
                case "name":
                    name = " ".join(value.split())
                case "locale":
                    locale = value or "ja"
                case _ if value:
                    attributes[column] = value
        try:
            address = parse_address(email)
        except AddressInvalid as error:
            return RowError(self._row_line, email_column, str(error.reason), email[:SHOWN_CHARS])
        return Contact(self._row_line, address.given, address.wire, address.key, name[:200], locale[:35], attributes)


def _cells(text: str, delimiter: str) -> list[str]:
    return (
        next(csv.reader([text], delimiter=delimiter, strict=True))
        if "\n" not in text
        else next(csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True))
    )


def _kind(column: str) -> str:
    name = column.strip().lower()
    if name in _EMAIL:
        return "email"
    if name in _NAME:
        return "name"
    return "locale" if name in _LOCALE else "attribute"
