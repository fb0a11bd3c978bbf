"""From the bytes of a CSV to contacts and row errors, chunk by chunk.

Promises: every row is either a contact or an error with its line, column and reason; UTF-8 with or without BOM and
CP932 (as Excel writes it in Japan) are read. Memory and time are bounded as ``RowCutter`` says. Lines without quotes
are read many at a time, with the same result as one by one.
Fails: ``FileRefused`` when the header cannot be used; single rows never fail the file.
"""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from hayabin.domain.address import AddressInvalid, parse_address, plain_forms
from services.api.imports.row_cutter import MAX_ROW_BYTES, BrokenRow, Row, RowCutter

MAX_COLUMNS = 100
MAX_VALUE_CHARS = 10_000
MAX_ATTRIBUTES_CHARS = 20_000
SHOWN_CHARS = 200
_EMAIL = frozenset({"email", "e-mail", "mail", "address", "メールアドレス", "メール", "アドレス"})
_NAME = frozenset({"name", "氏名", "名前", "お名前", "full name"})
_LOCALE = frozenset({"locale", "language", "言語"})


class FileRefused(Exception):
    """The file as a whole cannot be imported; the message says what to do."""


class Contact(NamedTuple):
    """A row that can be imported; a tuple, because there are millions."""

    line: int
    address: str
    wire: str
    key: str
    name: str
    locale: str
    """Empty where the file does not say."""
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RowError:
    """A row that cannot, and why."""

    line: int
    column: str
    reason: str
    value: str


@dataclass(frozen=True, slots=True)
class _Columns:
    """The header: the names, and where what a contact is made of stands."""

    names: list[str]
    kinds: list[str]
    email: int
    name: int | None
    locale: int | None
    attributes: list[tuple[str, int]]

    @classmethod
    def of(cls, names: list[str], kinds: list[str]) -> Self:
        """Find them; of several columns of a kind the last one counts."""
        last = {kind: at for at, kind in enumerate(kinds)}
        attributes = [(names[at], at) for at, kind in enumerate(kinds) if kind == "attribute"]
        return cls(names, kinds, last["email"], last.get("name"), last.get("locale"), attributes)


@dataclass(slots=True)
class CsvRows:
    """Feed it chunks, then ``finish``; both give what became complete."""

    encoding: str
    _cutter: RowCutter = field(default_factory=RowCutter)
    _header: _Columns | None = None

    @property
    def has_locales(self) -> bool:
        """Whether the file has a column of locales; known once its header was read."""
        return self._header is not None and self._header.locale is not None

    def feed(self, chunk: bytes) -> list[Contact | RowError]:
        """The contacts and errors of the rows that this chunk completes.

        Raises:
            FileRefused: the header cannot be used.
        """
        lines = None if self._header is None else self._cutter.plain_lines(chunk)
        if self._header is None or lines is None:
            return list(self._read_all(self._cutter.feed(chunk)))
        first, content = lines
        try:
            return list(self._read_plain(first, content.decode(self.encoding), self._header))
        except UnicodeDecodeError:
            rows = [Row(number, line.removesuffix(b"\r")) for number, line in enumerate(content.split(b"\n"), first)]
            return list(self._read_all(row for row in rows if row.content.strip(b"\r")))

    def finish(self) -> list[Contact | RowError]:
        """What the end of the file completes.

        Raises:
            FileRefused: there was no header.
        """
        found = list(self._read_all(self._cutter.finish()))
        if self._header is None:
            raise FileRefused("The file has no header row: its first line must name the columns, one of them `email`.")
        return found

    def _read_all(self, rows: Iterable[Row | BrokenRow]) -> Iterator[Contact | RowError]:
        for row in rows:
            if self._header is None:
                self._read_header(row)
            elif isinstance(row, BrokenRow):
                where = f"lines {row.line} to {row.last_line}: " if row.last_line > row.line else ""
                yield RowError(row.line, "", row.reason, f"{where}not read, at most {MAX_ROW_BYTES} bytes make a row")
            else:
                yield self._read(row, self._header)

    def _read_header(self, row: Row | BrokenRow) -> None:
        if isinstance(row, BrokenRow):
            raise FileRefused("The header row has a quote that is not closed, or is longer than 1 MiB.")
        try:
            text = row.content.decode(self.encoding)
            names = [name.strip() for name in self._cells(text)]
        except UnicodeDecodeError:
            raise FileRefused("The header is neither UTF-8 nor CP932 (Shift_JIS).") from None
        except csv.Error as error:
            raise FileRefused(f"The header row is not CSV: {error}. Lines end with LF or CRLF.") from error
        kinds = [_kind(name) for name in names]
        if kinds.count("email") != 1:
            shown = ", ".join(names)[:300]
            raise FileRefused(f"The header must have one column `email` (or メールアドレス); it has: {shown}")
        if len(names) > MAX_COLUMNS:
            raise FileRefused(f"The header has {len(names)} columns; {MAX_COLUMNS} are possible.")
        if any(not _is_column_name(name) for name in names) or len(set(names)) < len(names):
            raise FileRefused(
                "Every column needs a name of its own, of at most 100 characters, not beginning with _hb."
            )
        self._header = _Columns.of(names, kinds)

    def _read_plain(self, first: int, text: str, columns: _Columns) -> Iterator[Contact | RowError]:
        """Read lines without quotes; whatever is not of the usual kind goes by ``_read_text``."""
        if "\r" in text:
            text = f"{text}\n".replace("\r\n", "\n")[:-1]
        usual = not ("\r" in text or "\x00" in text)
        width, delimiter = len(columns.names), self._cutter.delimiter
        for number, line in enumerate(text.split("\n"), first):
            cells = line.split(delimiter)
            if usual and len(cells) == width and len(line) <= MAX_VALUE_CHARS:
                address = cells[columns.email].strip()
                forms = plain_forms(address)
                if forms is not None:
                    name = "" if columns.name is None else " ".join(cells[columns.name].split())[:200]
                    locale = "" if columns.locale is None else cells[columns.locale].strip()[:35]
                    said = {column: value for column, at in columns.attributes if (value := cells[at].strip())}
                    yield Contact._make((number, address, *forms, name, locale, said))
                    continue
            if line.strip("\r"):
                yield self._read_text(number, line, columns)

    def _read(self, row: Row, columns: _Columns) -> Contact | RowError:
        try:
            text = row.content.decode(self.encoding)
        except UnicodeDecodeError as error:
            return RowError(row.line, "", "undecodable", f"byte {error.start + 1} of the row is not {self.encoding}")
        return self._read_text(row.line, text, columns)

    def _read_text(self, line: int, text: str, columns: _Columns) -> Contact | RowError:
        try:
            cells = self._cells(text)
        except csv.Error as error:
            return RowError(line, "", "malformed", str(error)[:SHOWN_CHARS])
        if len(cells) != len(columns.names):
            return RowError(line, "", "column_count", f"{len(cells)} instead of {len(columns.names)}")
        found = {"email": "", "name": "", "locale": ""}
        attributes: dict[str, Any] = {}
        size = 0
        for column, kind, cell in zip(columns.names, columns.kinds, cells, strict=True):
            value = cell.strip()
            if "\x00" in value:
                return RowError(line, column, "nul_character", value[:SHOWN_CHARS].replace("\x00", ""))
            size += len(value)
            if len(value) > MAX_VALUE_CHARS or size > MAX_ATTRIBUTES_CHARS:
                return RowError(line, column, "value_too_long", value[:SHOWN_CHARS])
            if kind in found:
                found[kind] = value
            elif value:
                attributes[column] = value
        return _contact(line, columns, found, attributes)

    def _cells(self, text: str) -> list[str]:
        if '"' not in text and "\r" not in text:
            return text.split(self._cutter.delimiter)
        return next(csv.reader([text], delimiter=self._cutter.delimiter, strict=True))


def _contact(line: int, columns: _Columns, found: dict[str, str], attributes: dict[str, Any]) -> Contact | RowError:
    try:
        address = parse_address(found["email"])
    except AddressInvalid as error:
        return RowError(line, columns.names[columns.email], str(error.reason), found["email"][:SHOWN_CHARS])
    name = " ".join(found["name"].split())[:200]
    return Contact(line, address.given, address.wire, address.key, name, found["locale"][:35], attributes)


def _is_column_name(name: str) -> bool:
    return 0 < len(name) <= 100 and not name.startswith("_hb") and name.isprintable()


def _kind(column: str) -> str:
    name = column.strip().lower()
    if name in _EMAIL:
        return "email"
    if name in _NAME:
        return "name"
    return "locale" if name in _LOCALE else "attribute"
