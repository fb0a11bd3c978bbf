"""A reader for a file of any form, and what it is to be read as.

Promises: the same items whatever the sizes of the chunks; memory is bounded as the readers behind it say.
Fails: ``FileRefused`` for a file that cannot be imported as a whole.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from services.api.imports.contact_rows import Contact, RowError
from services.api.imports.csv_rows import CsvRows
from services.api.imports.file_form import FileForm, FileFormat, Transcoder
from services.api.imports.json_rows import JsonRows
from services.api.imports.vocabulary import Vocabulary


class Rows(Protocol):
    """What reads bytes of UTF-8 or CP932."""

    @property
    def says(self) -> frozenset[str]:
        """Of what the file speaks, besides addresses, names and attributes."""

    def feed(self, chunk: bytes) -> list[Contact | RowError]:
        """What this chunk completes."""

    def finish(self) -> list[Contact | RowError]:
        """What the end of the file completes."""


@dataclass(slots=True)
class _Transcoded:
    """Rows of a file that is neither."""

    transcoder: Transcoder
    rows: Rows

    @property
    def says(self) -> frozenset[str]:
        return self.rows.says

    def feed(self, chunk: bytes) -> list[Contact | RowError]:
        return self.rows.feed(self.transcoder.feed(chunk))

    def finish(self) -> list[Contact | RowError]:
        rest = self.transcoder.finish()
        return [*(self.rows.feed(rest) if rest else ()), *self.rows.finish()]


def reader_of(form: FileForm, mapping: Mapping[str, str] | None, vocabulary: Vocabulary) -> Rows:
    """The reader for a file of that form; ``mapping`` None: as the names of its columns say."""
    rows: Rows
    match form.format:
        case FileFormat.NDJSON:
            rows = JsonRows(mapping, vocabulary)
        case FileFormat.CSV | FileFormat.TSV:
            rows = CsvRows(form.reader_encoding, mapping, vocabulary, form.delimiter)
    transcoder = form.decoder()
    return rows if transcoder is None else _Transcoded(transcoder, rows)
