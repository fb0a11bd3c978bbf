"""What a file is written in, found out from its bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.imports.contact_rows import Contact, RowError
from services.api.imports.file_form import (
    Delimiter,
    FileEncoding,
    FileForm,
    FileFormat,
    Said,
    Sniffer,
    Transcoder,
)
from services.api.imports.file_reader import reader_of
from services.api.imports.vocabulary import Vocabulary

MARKS = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff", "utf-8-sig": b""}


def form_of(content: bytes, size: int = 1 << 20, **said: object) -> FileForm:
    """The form of a file that comes in pieces."""
    sniffer = Sniffer(Said(**said))  # type: ignore[arg-type]
    for at in range(0, len(content), size):
        sniffer.see(content[at : at + size])
    return sniffer.form()


def read(content: bytes, form: FileForm, size: int = 1 << 20) -> list[Contact | RowError]:
    """Everything that a file has."""
    reader = reader_of(form, None, Vocabulary())
    found = [item for at in range(0, len(content), size) for item in reader.feed(content[at : at + size])]
    return found + reader.finish()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_form_of_a_table_is_found_out_and_read(encoding: str, delimiter: str, size: int) -> None:
    """Each encoding with each delimiter, in pieces of any size; ポ has a bar inside in CP932, which ends no cell."""
    rows = [["メールアドレス", "氏名", "メモ"], ["a..b@docomo.ne.jp", "田中 花子", "ポ|ャ".replace(delimiter, "")]]
    content = MARKS.get(encoding, b"") + "\r\n".join(delimiter.join(row) for row in rows).encode(encoding)
    form = form_of(content, size)
    assert (form.encoding, form.delimiter) == (encoding, delimiter)
    assert form.format is (FileFormat.TSV if delimiter == "\t" else FileFormat.CSV)
    (contact,) = read(content, form, size)
    assert isinstance(contact, Contact)
    assert (contact.address, contact.name, contact.attributes) == (rows[1][0], rows[1][1], {"メモ": rows[1][2]})


def test_form_of_objects_is_found_out_by_content_name_and_type() -> None:
    """NDJSON is known by its first line, its file's name or its media type; what the user says counts first."""
    content = b'{"email": "a@b.example", "n": 1}\n'
    assert form_of(content).format is FileFormat.NDJSON
    assert form_of(b"\n" + content).format is FileFormat.NDJSON
    assert form_of(b"x", filename="X.JSONL").format is FileFormat.NDJSON
    assert form_of(b"x", media_type="application/x-ndjson").format is FileFormat.NDJSON
    assert form_of(b"email;x,y\n", filename="a.tsv").delimiter == "\t"
    assert form_of(content, format=FileFormat.CSV).format is FileFormat.CSV
    assert form_of(b"{email},x\n").format is FileFormat.CSV
    assert form_of(b"email,x;y;z\n", delimiter=Delimiter.COMMA).delimiter == ","
    assert form_of(b'"a,b,c";email\n').delimiter == ";", "what is quoted does not count"


def test_encoding_is_utf8_only_if_all_of_the_file_is() -> None:
    """One byte at the end of a large file decides; half a character at the end is no UTF-8."""
    text = "email,氏名\n".encode() + b"a@b.example,x\n" * 200_000
    assert form_of(text).encoding is FileEncoding.UTF_8
    assert form_of(text + "髙".encode("cp932")).encoding is FileEncoding.CP932
    assert form_of(text + "髙".encode()[:2]).encoding is FileEncoding.CP932
    assert form_of(text, encoding=FileEncoding.CP932).encoding is FileEncoding.CP932
    assert form_of(b"\xef\xbb\xbfemail\n\xff", encoding=FileEncoding.UTF_8).encoding is FileEncoding.UTF_8_SIG


@given(st.binary(max_size=60), st.sampled_from(["utf-16-le", "utf-16-be", "cp932"]), st.integers(1, 9))
def test_transcoding_never_fails_and_does_not_care_for_pieces(content: bytes, encoding: str, size: int) -> None:
    """Any bytes at all: the same result however they are cut, and what is no text stays no text."""
    whole, pieces = Transcoder(FileEncoding(encoding)), Transcoder(FileEncoding(encoding))
    once = whole.feed(content) + whole.finish()
    cut = b"".join(pieces.feed(content[at : at + size]) for at in range(0, len(content), size)) + pieces.finish()
    assert once == cut
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        with pytest.raises(UnicodeDecodeError):
            once.decode()
    else:
        assert once.decode() == text.removeprefix("\ufeff")


def test_half_a_character_costs_its_row_alone() -> None:
    """A lone surrogate, or an odd last byte, of UTF-16 is an error of its row; its neighbours are read."""
    lines = ["email,x", "a@b.example,1", "b@b.example,\ud800", "c@b.example,3"]
    content = b"\xff\xfe" + "\n".join(lines).encode("utf-16-le", "surrogatepass") + b"\x00"
    found = read(content, form_of(content))
    assert [getattr(item, "reason", "") for item in found] == ["", "undecodable", "undecodable"]


@pytest.mark.parametrize("line", ["", "あ" * 100, '"', '"a","b"'])
def test_time_of_detection_is_bounded(line: str) -> None:
    """A megabyte of anything as first line is looked at once."""
    content = (line * (2_000_000 // max(len(line.encode()), 1))).encode() or b"\n" * 2_000_000
    assert form_of(content).format in FileFormat
