"""What a file is written in: format, encoding and delimiter, found out from its bytes, or said by the user.

Promises: found out while the file streams by, in bounded memory (its beginning is kept). UTF-8 is believed only if all
of the file is; UTF-16 only with a byte order mark, or if the user says so; what is neither is CP932, as Excel writes it
in Japan. A reader gets UTF-8 or CP932: everything else is transcoded on the way, with what cannot be decoded left
undecodable, so that it costs its row alone.
Fails: never.
Source: RFC 3629 §3 (UTF-8 is recognised by being valid), RFC 2781 §3.2 (the mark of UTF-16).
"""

import codecs
import re
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, Self

import orjson

from services.api.imports.row_cutter import BOM

HEAD_BYTES: Final = 1024 * 1024
"""Kept of the beginning; a header, and what a preview shows, is in it."""
_MARKS: Final = ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_QUOTED: Final = re.compile(r'"[^"]*"')


class FileFormat(StrEnum):
    """How rows stand in a file."""

    CSV = "csv"
    TSV = "tsv"
    NDJSON = "ndjson"


class FileEncoding(StrEnum):
    """How characters stand in a file."""

    UTF_8 = "utf-8"
    UTF_8_SIG = "utf-8-sig"
    """With a byte order mark."""
    CP932 = "cp932"
    """Shift_JIS with the additions of Windows."""
    UTF_16_LE = "utf-16-le"
    UTF_16_BE = "utf-16-be"


class Delimiter(StrEnum):
    """What stands between cells."""

    COMMA = ","
    TAB = "\t"
    SEMICOLON = ";"
    BAR = "|"


@dataclass(frozen=True, slots=True)
class Said:
    """What the user says of a file, and what its name and media type say; None: find out."""

    format: FileFormat | None = None
    encoding: FileEncoding | None = None
    delimiter: Delimiter | None = None
    filename: str = ""
    media_type: str = ""


@dataclass(frozen=True, slots=True)
class FileForm:
    """What a file is written in."""

    format: FileFormat
    encoding: FileEncoding
    delimiter: str
    """Empty for NDJSON."""

    @classmethod
    def of(cls, format_: str, encoding: str, delimiter: str | None) -> Self:
        """As a job keeps it."""
        return cls(FileFormat(format_), FileEncoding(encoding), delimiter or "")

    @property
    def reader_encoding(self) -> str:
        """What a reader behind ``decoder`` is given."""
        return "cp932" if self.encoding is FileEncoding.CP932 and not self.is_transcoded else "utf-8"

    @property
    def is_transcoded(self) -> bool:
        """UTF-16 has line ends inside characters, CP932 has bars inside characters."""
        match self.encoding:
            case FileEncoding.UTF_16_LE | FileEncoding.UTF_16_BE:
                return True
            case FileEncoding.CP932:
                return self.delimiter == Delimiter.BAR or self.format is FileFormat.NDJSON
            case _:
                return False

    def decoder(self) -> "Transcoder | None":
        """What the bytes go through before the reader; None: nothing."""
        return Transcoder(self.encoding) if self.is_transcoded else None


@dataclass(slots=True)
class Transcoder:
    """To UTF-8, chunk by chunk; what cannot be decoded becomes bytes that are no UTF-8."""

    encoding: FileEncoding
    _decoder: codecs.IncrementalDecoder = field(init=False)
    _started: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        """Begin at the first byte."""
        errors = "surrogateescape" if self.encoding is FileEncoding.CP932 else "surrogatepass"
        self._decoder = codecs.getincrementaldecoder(self.encoding.value)(errors)

    def feed(self, chunk: bytes) -> bytes:
        """Transcode what is complete."""
        text = self._decoder.decode(chunk)
        if not self._started and text:
            self._started = True
            text = text.removeprefix("\ufeff")
        return text.encode("utf-8", "surrogatepass")

    def finish(self) -> bytes:
        """Half a character at the end."""
        try:
            text = self._decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return b"\xff"
        return text.encode("utf-8", "surrogatepass")


@dataclass(slots=True)
class Sniffer:
    """Shown every chunk, it says at the end what the file is written in; keeps its beginning."""

    said: Said = field(default_factory=Said)
    head: bytearray = field(default_factory=bytearray)
    _utf8: codecs.IncrementalDecoder | None = field(init=False)
    _is_utf8: bool = field(init=False, default=True)
    _seen: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        """Look for bytes that are no UTF-8 only where it matters."""
        self._utf8 = codecs.getincrementaldecoder("utf-8")() if self.said.encoding is None else None

    def see(self, chunk: bytes) -> None:
        """Look at the next part of the file."""
        if len(self.head) < HEAD_BYTES:
            self.head += chunk[: HEAD_BYTES - len(self.head)]
        if self._utf8 is not None and (len(self.head) < 2 or _mark_of(self.head) is None):
            self._decode(chunk, final=False)

    def form_of(self, filename: str) -> FileForm:
        """The same, where the name is known at the end of an upload."""
        self.said = replace(self.said, filename=filename)
        return self.form()

    def form(self) -> FileForm:
        """What it is; to be asked once everything was seen."""
        encoding = self._encoding()
        text = head_text(bytes(self.head), encoding)
        format_ = self.said.format or self._format(text)
        match format_:
            case FileFormat.NDJSON:
                return FileForm(format_, encoding, "")
            case FileFormat.TSV:
                return FileForm(format_, encoding, self.said.delimiter or Delimiter.TAB)
            case FileFormat.CSV:
                delimiter = self.said.delimiter or _delimiter_of(text)
                is_tsv = delimiter == Delimiter.TAB and self.said.format is None
                return FileForm(FileFormat.TSV if is_tsv else FileFormat.CSV, encoding, delimiter)

    def _decode(self, chunk: bytes, *, final: bool) -> None:
        if self._utf8 is None:
            return
        try:
            self._utf8.decode(chunk, final)
        except UnicodeDecodeError:
            self._is_utf8, self._utf8 = False, None

    def _encoding(self) -> FileEncoding:
        has_mark = self.head.startswith(BOM)
        if self.said.encoding is not None:
            is_utf8 = self.said.encoding is FileEncoding.UTF_8
            return FileEncoding.UTF_8_SIG if is_utf8 and has_mark else self.said.encoding
        marked = _mark_of(self.head)
        if marked is not None:
            return marked
        if has_mark:
            return FileEncoding.UTF_8_SIG
        self._decode(b"", final=True)
        return FileEncoding.UTF_8 if self._is_utf8 else FileEncoding.CP932

    def _format(self, text: str) -> FileFormat:
        name, kind = self.said.filename.lower(), self.said.media_type
        if name.endswith((".ndjson", ".jsonl")) or kind in {"application/x-ndjson", "application/jsonl"}:
            return FileFormat.NDJSON
        if self.said.delimiter is None and (name.endswith(".tsv") or kind == "text/tab-separated-values"):
            return FileFormat.TSV
        return FileFormat.NDJSON if self.said.delimiter is None and _begins_with_object(text) else FileFormat.CSV


def head_text(head: bytes, encoding: FileEncoding) -> str:
    """The beginning of a file as text, without its mark; half a character at its end is left out."""
    return head.decode(encoding.value, "replace").removeprefix("\ufeff")


def _mark_of(head: bytes | bytearray) -> FileEncoding | None:
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return FileEncoding(encoding)
    return None


def _first_line(text: str) -> str:
    for line in text[:HEAD_BYTES].split("\n", 200):
        if line.strip():
            return line
    return ""


def _begins_with_object(text: str) -> bool:
    line = _first_line(text).strip()
    if not (line.startswith("{") and line.endswith("}")):
        return False
    try:
        return isinstance(orjson.loads(line), dict)
    except orjson.JSONDecodeError:
        return False


def _delimiter_of(text: str) -> Delimiter:
    """Whichever the header has most of, outside quotes."""
    line = _QUOTED.sub("", _first_line(text))
    return max(Delimiter, key=line.count)
