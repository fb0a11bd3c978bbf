"""What an import would make of the beginning of a file: its form, its header, a mapping, and its first rows.

Promises: rows are read by the same code as the import itself; nothing is written. The beginning is enough: no more than
``HEAD_BYTES`` are looked at.
Fails: never; a file that cannot be imported says why in ``problem``.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson

from services.api.imports.contact_rows import Contact, FileRefused, RowError
from services.api.imports.csv_rows import read_header
from services.api.imports.file_form import FileForm, FileFormat
from services.api.imports.file_reader import reader_of
from services.api.imports.header_mapping import Suggestion, Target, suggest
from services.api.imports.json_rows import LineCutter, members_of
from services.api.imports.row_cutter import RowCutter
from services.api.imports.vocabulary import Vocabulary

PREVIEW_ROWS: Final = 100
_PIECE_BYTES: Final = 32 * 1024


@dataclass(frozen=True, slots=True)
class Head:
    """The beginning of a file."""

    content: bytes
    is_whole: bool
    """Whether it is all of the file."""


def header_of(head: Head, form: FileForm) -> list[str]:
    """The names of columns; of objects, the members of the first ones.

    Raises:
        FileRefused: there is none that can be read.
    """
    transcoder = form.decoder()
    content = head.content
    if transcoder is not None:
        content = transcoder.feed(content) + (transcoder.finish() if head.is_whole else b"")
    if form.format is FileFormat.NDJSON:
        return _members(content, is_whole=head.is_whole)
    cutter = RowCutter(form.delimiter)
    for row in cutter.feed(content):
        return read_header(row, form.reader_encoding, form.delimiter)
    if head.is_whole:
        for row in cutter.finish():
            return read_header(row, form.reader_encoding, form.delimiter)
    raise FileRefused("The file has no header row: its first line must name the columns, one of them `email`.")


def _members(content: bytes, *, is_whole: bool) -> list[str]:
    cutter = LineCutter()
    names: dict[str, None] = {}
    lines = [*cutter.feed(content), *(cutter.finish() if is_whole else ())]
    for _, line in lines[:PREVIEW_ROWS]:
        try:
            found = orjson.loads(line or b"")
        except orjson.JSONDecodeError:
            continue
        if isinstance(found, dict):
            names |= dict.fromkeys(members_of(found))
    return list(names)


def suggested(names: list[str], vocabulary: Vocabulary) -> list[Suggestion]:
    """A target for each column."""
    return suggest(names, vocabulary.known)


def preview_of(head: Head, form: FileForm, mapping: Mapping[str, str] | None, vocabulary: Vocabulary) -> dict[str, Any]:
    """All of it as the API shows it; without ``mapping``, the suggested one is used."""
    answer: dict[str, Any] = {
        "format": form.format.value, "encoding": form.encoding.value, "delimiter": form.delimiter or None,
        "header": [], "suggestions": [], "mapping": {}, "rows": [], "problem": None,
    }  # fmt: skip
    try:
        names = header_of(head, form)
        answer["header"] = names
        suggestions = suggested(names, vocabulary)
        used = {one.column: one.target for one in suggestions} if mapping is None else dict(mapping)
        answer |= {"suggestions": [asdict(one) for one in suggestions], "mapping": used}
        if Target.EMAIL in used.values():
            answer["rows"] = [_shown(item) for item in _first_rows(head, form, used, vocabulary)]
        else:
            answer["problem"] = (
                f"No column seems to hold addresses: map one to `email`. It has: {', '.join(names)[:300]}"
            )
    except FileRefused as refused:
        answer["problem"] = str(refused)
    return answer


def _first_rows(
    head: Head, form: FileForm, mapping: Mapping[str, str], vocabulary: Vocabulary
) -> list[Contact | RowError]:
    reader = reader_of(form, mapping, vocabulary)
    found: list[Contact | RowError] = []
    for start in range(0, len(head.content), _PIECE_BYTES):
        found += reader.feed(head.content[start : start + _PIECE_BYTES])
        if len(found) >= PREVIEW_ROWS:
            return found[:PREVIEW_ROWS]
    return (found + reader.finish() if head.is_whole else found)[:PREVIEW_ROWS]


def _shown(item: Contact | RowError) -> dict[str, Any]:
    match item:
        case Contact():
            contact = {
                "email": item.address, "name": item.name, "locale": item.locale, "stage": item.stage,
                "time_zone": item.time_zone, "consented_at": item.consented_at, "attributes": item.attributes,
            }  # fmt: skip
            return {"line": item.line, "contact": contact, "error": None}
        case RowError():
            error = {"column": item.column, "reason": item.reason, "value": item.value}
            return {"line": item.line, "contact": None, "error": error}
