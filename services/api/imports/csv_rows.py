"""From the bytes of a CSV to contacts and row errors, chunk by chunk.

Promises: every row is either a contact or an error with its line, column and reason; UTF-8 with or without BOM and
CP932 (as Excel writes it in Japan) are read. Memory and time are bounded as ``RowCutter`` says. Lines without quotes
are read many at a time, with the same result as one by one.
Fails: ``FileRefused`` when the header cannot be used; single rows never fail the file.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hayabin.domain.address import AddressInvalid, parse_address, plain_forms
from services.api.imports.columns import Columns
from services.api.imports.contact_rows import (
    LOCALE_CHARS,
    MAX_ATTRIBUTES_CHARS,
    MAX_VALUE_CHARS,
    SHOWN_CHARS,
    Contact,
    FileRefused,
    RowError,
    RowRefused,
    moment_of,
    name_of,
    stage_of,
    time_zone_of,
)
from services.api.imports.row_cutter import MAX_ROW_BYTES, BrokenRow, Row, RowCutter
from services.api.imports.vocabulary import Vocabulary

__all__ = ["Contact", "CsvRows", "FileRefused", "RowError", "cells_of", "read_header"]


@dataclass(slots=True)
class CsvRows:
    """Feed it chunks, then ``finish``; both give what became complete."""

    encoding: str
    mapping: Mapping[str, str] | None = None
    vocabulary: Vocabulary = field(default_factory=Vocabulary)
    delimiter: str = ""
    """Empty: whichever the first line has most of."""
    _cutter: RowCutter = field(init=False)
    _header: Columns | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """Begin at the first line."""
        self._cutter = RowCutter(self.delimiter)

    @property
    def says(self) -> frozenset[str]:
        """See ``Columns.says``; known once the header was read."""
        return frozenset() if self._header is None else self._header.says

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
                names = read_header(row, self.encoding, self._cutter.delimiter)
                self._header = Columns.of(names, self.mapping, self.vocabulary)
            elif isinstance(row, BrokenRow):
                where = f"lines {row.line} to {row.last_line}: " if row.last_line > row.line else ""
                yield RowError(row.line, "", row.reason, f"{where}not read, at most {MAX_ROW_BYTES} bytes make a row")
            else:
                yield self._read(row, self._header)

    def _read_plain(self, first: int, text: str, columns: Columns) -> Iterator[Contact | RowError]:
        """Read lines without quotes; whatever is not of the usual kind goes by ``_read_text``."""
        if "\r" in text:
            text = f"{text}\n".replace("\r\n", "\n")[:-1]
        usual = not ("\r" in text or "\x00" in text)
        width, delimiter = len(columns.names), self._cutter.delimiter
        # Defined attributes, stages and moments can be wrong, which the long way says well; locals, as this is hot.
        rest = _Rest(columns)
        has_rest, attributes = rest.is_any, columns.attributes
        for number, line in enumerate(text.split("\n"), first):
            cells = line.split(delimiter)
            if usual and len(cells) == width and len(line) <= MAX_VALUE_CHARS:
                address = cells[columns.email].strip()
                forms = plain_forms(address)
                if forms is not None:
                    name = "" if columns.name is None else name_of(cells[columns.name])
                    locale = "" if columns.locale is None else cells[columns.locale].strip()[:LOCALE_CHARS]
                    said = {column: value for column, at in attributes if (value := cells[at].strip())}
                    more = rest.read(cells, said) if has_rest else _NOTHING
                    if more is not None:
                        yield Contact._make((number, address, *forms, name, locale, said, *more))
                        continue
            if line.strip("\r"):
                yield self._read_text(number, line, columns)

    def _read(self, row: Row, columns: Columns) -> Contact | RowError:
        try:
            text = row.content.decode(self.encoding)
        except UnicodeDecodeError as error:
            return RowError(row.line, "", "undecodable", f"byte {error.start + 1} of the row is not {self.encoding}")
        return self._read_text(row.line, text, columns)

    def _read_text(self, line: int, text: str, columns: Columns) -> Contact | RowError:
        try:
            cells = cells_of(text, self._cutter.delimiter)
        except csv.Error as error:
            return RowError(line, "", "malformed", str(error)[:SHOWN_CHARS])
        if len(cells) != len(columns.names):
            return RowError(line, "", "column_count", f"{len(cells)} instead of {len(columns.names)}")
        values = [cell.strip() for cell in cells]
        size = 0
        for column, value in zip(columns.names, values, strict=True):
            size += len(value)
            if "\x00" in value:
                return RowRefused(column, "nul_character", value).at(line)
            if len(value) > MAX_VALUE_CHARS or size > MAX_ATTRIBUTES_CHARS:
                return RowRefused(column, "value_too_long", value).at(line)
        try:
            return _contact(line, columns, values)
        except RowRefused as refused:
            return refused.at(line)


_NOTHING = ("", "", None)


class _Rest:
    """Reads what few files have; None from ``read`` says that a value is wrong."""

    def __init__(self, columns: Columns) -> None:
        """Look at the header once."""
        self._columns = columns
        self._has_more = not (columns.stage is None and columns.time_zone is None and columns.consented_at is None)
        self.is_any = bool(columns.typed) or self._has_more

    def read(self, cells: list[str], said: dict[str, Any]) -> tuple[str, str, Any] | None:
        """Stage, time zone and moment of consent; defined attributes are replaced in ``said``."""
        try:
            for name, at, column in self._columns.typed:
                if name in said:
                    said[name] = column.value(self._columns.names[at], said[name])
            return _rest_of(self._columns, [cell.strip() for cell in cells]) if self._has_more else _NOTHING
        except RowRefused:
            return None


def _rest_of(columns: Columns, values: list[str]) -> tuple[str, str, Any]:
    names = columns.names
    return (
        "" if columns.stage is None else stage_of(names[columns.stage], values[columns.stage], columns.stages),
        "" if columns.time_zone is None else time_zone_of(names[columns.time_zone], values[columns.time_zone]),
        None if columns.consented_at is None else moment_of(names[columns.consented_at], values[columns.consented_at]),
    )


def _contact(line: int, columns: Columns, values: list[str]) -> Contact:
    try:
        address = parse_address(values[columns.email])
    except AddressInvalid as error:
        raise RowRefused(columns.names[columns.email], str(error.reason), values[columns.email]) from error
    name = "" if columns.name is None else name_of(values[columns.name])
    locale = "" if columns.locale is None else values[columns.locale][:LOCALE_CHARS]
    attributes: dict[str, Any] = {column: values[at] for column, at in columns.attributes if values[at]}
    for attribute, at, column in columns.typed:
        if attribute in attributes:
            attributes[attribute] = column.value(columns.names[at], attributes[attribute])
    more = _rest_of(columns, values)
    return Contact(line, address.given, address.wire, address.key, name, locale, attributes, *more)


def read_header(row: Row | BrokenRow, encoding: str, delimiter: str) -> list[str]:
    """The names in a header row.

    Raises:
        FileRefused: it cannot be read.
    """
    if isinstance(row, BrokenRow):
        raise FileRefused("The header row has a quote that is not closed, or is longer than 1 MiB.")
    try:
        names = [name.strip() for name in cells_of(row.content.decode(encoding), delimiter)]
    except UnicodeDecodeError:
        raise FileRefused("The header is neither UTF-8 nor CP932 (Shift_JIS).") from None
    except csv.Error as error:
        raise FileRefused(f"The header row is not CSV: {error}. Lines end with LF or CRLF.") from error
    if any(plain_forms(name) for name in names):  # and so nothing of that person is told as names of columns
        raise FileRefused("The first line has an address where the names of columns belong: put a header before it.")
    return names


def cells_of(text: str, delimiter: str) -> list[str]:
    """The cells of a row.

    Raises:
        csv.Error: it is none.
    """
    if '"' not in text and "\r" not in text:
        return text.split(delimiter)
    return next(csv.reader([text], delimiter=delimiter, strict=True))
