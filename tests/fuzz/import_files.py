"""Files that are imported: whatever the bytes are, each row is a contact or an error, and how the file is cut says nothing."""

import random
import zlib

from hayabin.domain.address import parse_address
from hayabin.domain.attribute import AttributeType, Definition
from services.api.imports.contact_rows import SHOWN_CHARS, Contact, FileRefused, RowError
from services.api.imports.file_form import FileForm, FileFormat, Sniffer
from services.api.imports.file_reader import reader_of
from services.api.imports.header_mapping import Target, suggest
from services.api.imports.preview import Head, header_of, preview_of
from services.api.imports.vocabulary import Vocabulary

MOST_BYTES = 200_000
"""Time is linear in the bytes; a file of a million would be measured, not looked at."""
_VOCABULARY = Vocabulary(
    {
        name: Definition(name=name, type=AttributeType(name), max_chars=20, max_items=3)
        for name in ("number", "boolean", "date", "datetime", "list", "string")
    }
)
_TABLE = (
    "メールアドレス,氏名,number,boolean,date,datetime,list,string,stage,time_zone\r\n"
    'a..b@docomo.ne.jp,"田中, ""花子""","1,234",はい,2026/4/1,2026-04-01T09:00:00+09:00,a;b,表ポソ,won,Asia/Tokyo\r\n'
    'broken,"x\ny",－１,no,2026年4月1日,,、,,,\r\n'
    "c@d.example,,,,,,,,,Mars\r\n"
)
_OBJECTS = (
    '{"email": "a@b.example", "name": "Ada", "number": 1.5, "attributes": {"list": ["x"], "date": "2026-04-01"}}\n'
    '{"email": "c@d.example", "x": [1, {"y": null}], "stage": "won", "time_zone": "UTC"}\n{"email": 7}\n[]\n'
)


def import_seeds() -> list[bytes]:
    """Small files in every form."""
    tables = [_TABLE.replace(",", sign) if sign != "," else _TABLE for sign in ",\t;|"]
    encodings = ("utf-8", "utf-8-sig", "cp932", "utf-16")
    found = [table.encode(encoding, "replace") for table in tables for encoding in encodings]
    return [*found, b"\xfe\xff" + _TABLE.encode("utf-16-be"), *(_OBJECTS.encode(e) for e in ("utf-8-sig", "utf-16"))]


def feed_import(content: bytes) -> None:
    """Detection, header, preview and rows of a file."""
    content = content[:MOST_BYTES]
    chance = random.Random(zlib.crc32(content))
    form = _form(content)
    whole, pieces = _read(content, form, len(content) or 1), _read(content, form, chance.randint(1, 5000))
    assert whole == pieces, "how it is cut makes a difference"
    preview = preview_of(Head(content, is_whole=True), form, None, _VOCABULARY)
    assert len(preview["rows"]) <= 100
    if isinstance(whole, str):
        return
    lines = [item.line for item in whole]
    assert lines == sorted(set(lines)), "a line twice, or out of order"
    for item in whole:
        _look_at(item)
    if form.format is FileFormat.NDJSON or b'"' not in content:
        assert len(whole) == _rows(content, form), "a row is neither a contact nor an error"


def feed_mapping(content: bytes) -> None:
    """Suggestions for the header of a file: a target for each column, none twice."""
    content = content[:MOST_BYTES]
    form = _form(content)
    try:
        names = header_of(Head(content, is_whole=True), form)
    except FileRefused:
        return
    targets = [one.target for one in suggest(names, _VOCABULARY.known) if one.target != Target.SKIP]
    assert len(set(targets)) == len(targets)


def _form(content: bytes) -> FileForm:
    sniffer = Sniffer()
    sniffer.see(content)
    return sniffer.form()


def _read(content: bytes, form: FileForm, size: int) -> list[Contact | RowError] | str:
    reader = reader_of(form, None, _VOCABULARY)
    try:
        found = [item for at in range(0, len(content), size) for item in reader.feed(content[at : at + size])]
        return [*found, *reader.finish()]
    except FileRefused as refused:
        return str(refused)


def _look_at(item: Contact | RowError) -> None:
    if isinstance(item, RowError):
        assert item.reason
        assert len(item.value) <= SHOWN_CHARS or item.reason.endswith(("line_too_long", "unclosed_quote"))
        assert "\x00" not in item.value + item.column
        return
    assert parse_address(item.address).key == item.key
    assert "\x00" not in f"{item.name}{item.locale}{item.stage}{item.attributes}"


def _rows(content: bytes, form: FileForm) -> int:
    """How many rows a file without quotes, or of objects, has: lines with something on them."""
    transcoder = form.decoder()
    if transcoder is not None:
        content = transcoder.feed(content) + transcoder.finish()
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if form.format is FileFormat.NDJSON:
        return sum(1 for line in lines if line.strip())
    return max(sum(1 for line in lines if line.strip(b"\r")) - 1, 0)
