"""Rows as the bytes of a file: CSV for spreadsheet programs, or NDJSON.

Promises: no cell begins a formula; every character that the encoding does not have is counted and replaced by ``?``,
after the few that Unicode and CP932 merely call differently were taken for each other. NDJSON has JSON's own types.
Fails: never.
Source: RFC 4180 (CRLF between rows), https://github.com/ndjson/ndjson-spec.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

import orjson

from services.api.exports.subjects import ATTRIBUTE
from services.api.spreadsheet import formula_safe


class ExportFormat(StrEnum):
    """How rows stand in the file."""

    CSV = "csv"
    NDJSON = "ndjson"


class ExportEncoding(StrEnum):
    """How characters stand in the file."""

    UTF_8_SIG = "utf-8-sig"
    """With a byte order mark, by which Excel knows it."""
    UTF_8 = "utf-8"
    CP932 = "cp932"
    """Shift_JIS of Windows, for programs in Japan that take nothing else."""


_SAME_IN_CP932: Final = str.maketrans("〜−‖—¢£¬", "～－∥―￠￡￢")
"""What JIS X 0208 has once and Unicode twice."""
_MARK: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Layout:
    """A file that is to be written."""

    columns: Sequence[str]
    format: ExportFormat
    encoding: ExportEncoding

    def opening(self) -> bytes:
        """What comes before the first row."""
        if self.format is ExportFormat.NDJSON:
            return b""
        names, _ = self._encoded(_csv([[formula_safe(name) for name in self.columns]]))
        return (_MARK if self.encoding is ExportEncoding.UTF_8_SIG else b"") + names

    def rows(self, rows: Sequence[Mapping[str, Any]]) -> tuple[bytes, int]:
        """Some rows, and how many characters of them were replaced."""
        if self.format is ExportFormat.NDJSON:
            lines = [orjson.dumps({name: _of(row, name) for name in self.columns}, default=str) for row in rows]
            return b"".join(line + b"\n" for line in lines), 0
        return self._encoded(_csv([[_cell(_of(row, name)) for name in self.columns] for row in rows]))

    def _encoded(self, text: str) -> tuple[bytes, int]:
        if self.encoding is not ExportEncoding.CP932:
            return text.encode("utf-8", "replace"), 0
        same = text.translate(_SAME_IN_CP932)
        try:
            return same.encode("cp932"), 0
        except UnicodeEncodeError:
            return same.encode("cp932", "replace"), sum(not _is_in_cp932(character) for character in same)


def _of(row: Mapping[str, Any], name: str) -> Any:
    if name.startswith(ATTRIBUTE):
        return (row["attributes"] or {}).get(name.removeprefix(ATTRIBUTE))
    return row[name]


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)  # a number is no formula, whatever its sign
        case datetime():
            return value.isoformat()
        case str():
            return formula_safe(value)
        case list() if all(isinstance(item, str) for item in value):
            return formula_safe(";".join(value))
        case _:
            return formula_safe(orjson.dumps(value, default=str).decode())


def _csv(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


@lru_cache(maxsize=65_536)
def _is_in_cp932(character: str) -> bool:
    try:
        character.encode("cp932")
    except UnicodeEncodeError:
        return False
    return True
