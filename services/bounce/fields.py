"""Header fields, and the fields of delivery-status and feedback-report parts: ``Name: value`` lines with folding.

Promises: any text gives fields; their number and length are bounded, values hold no line ends or control characters.
Fails: never. Lines that are no field are skipped, unknown character sets are read as Latin-1.
"""

import binascii
import re
from dataclasses import dataclass, field
from email.errors import HeaderParseError
from email.header import decode_header
from typing import Final

FIELDS_MAX: Final = 500
VALUE_MAX_CHARS: Final = 4000
ENCODED_MAX_CHARS: Final = 1000

_FOLD = re.compile(r"\n(?=[ \t])")
_NAME = re.compile(r"[!-9;-~]{1,100}[ \t]*")
_CONTENT_TYPE = re.compile(r"\s*([a-z0-9!#$&^_.+-]{1,60}/[a-z0-9!#$&^_.+-]{1,60})\s*(?:;|\(|$)", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")

# Decoders that read text in linear time. The name comes from the mail, and Python has codecs that do not (punycode).
_CHARSETS: Final = frozenset(
    {"utf-8", "utf8", "us-ascii", "ascii", "iso-2022-jp", "iso-2022-jp-1", "iso-2022-jp-2", "iso-2022-jp-3"}
    | {"iso-2022-jp-ext", "shift_jis", "shift-jis", "sjis", "cp932", "ms932", "euc-jp", "eucjp", "gb2312", "gbk"}
    | {"gb18030", "big5", "euc-kr", "ks_c_5601-1987", "koi8-r", "koi8-u"}
    | {f"iso-8859-{number}" for number in (*range(1, 12), *range(13, 17))}
    | {f"windows-{number}" for number in range(1250, 1259)}
)
_ALIASES: Final = {
    "windows-31j": "cp932",
    "x-sjis": "cp932",
    "iso-2022-jp-ms": "iso-2022-jp-ext",
    "cp50220": "iso-2022-jp-ext",
}


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of one header or group, found by name whatever its case."""

    values: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Every value of each lower-case name, unfolded, in order."""

    def first(self, name: str) -> str:
        """The first value of the field, or the empty string."""
        return self.values.get(name, ("",))[0]

    def first_decoded(self, name: str) -> str:
        """The first value with its encoded words (RFC 2047) read."""
        return decode_words(self.first(name))

    def content_type(self) -> str:
        """``type/subtype`` in lower case; ``text/plain`` where there is none (RFC 2045 §5.2)."""
        found = _CONTENT_TYPE.match(self.first("content-type"))
        return found[1].lower() if found else "text/plain"

    def parameter(self, name: str, parameter: str) -> str:
        """The value of ``; parameter=value`` in a field, unquoted, or the empty string."""
        pattern = rf';\s*{re.escape(parameter)}\s*=\s*(?:"([^"]*)"|([^\s;"]+))'
        found = re.search(pattern, self.first(name), re.IGNORECASE)
        return (found[1] or found[2] or "") if found else ""


def read_fields(text: str) -> Fields:
    """The fields of ``text``, whose line ends are LF.

    Source: RFC 5322 §2.2; §3.6 for white space before the colon of old.
    """
    values: dict[str, tuple[str, ...]] = {}
    taken = 0
    for line in _FOLD.sub("", text).split("\n"):
        name, colon, value = line.partition(":")
        if not colon or _NAME.fullmatch(name) is None:
            continue
        taken += 1
        if taken > FIELDS_MAX:
            break
        key = name.strip().lower()
        cleaned = _CONTROL.sub(" ", value[:VALUE_MAX_CHARS]).strip()
        values[key] = (*values.get(key, ()), cleaned)
    return Fields(values)


def decode_words(text: str) -> str:
    """``text`` with its encoded words read; as it is where they are broken (RFC 2047)."""
    if "=?" not in text:
        return text
    try:
        pieces = decode_header(text[:ENCODED_MAX_CHARS])
    except (HeaderParseError, binascii.Error, ValueError):
        return text
    decoded = "".join(
        piece if isinstance(piece, str) else decode_text(piece, charset or "us-ascii") for piece, charset in pieces
    )
    return _CONTROL.sub(" ", decoded)


def decode_text(raw: bytes, charset: str) -> str:
    """``raw`` read in ``charset`` if that is one of ours, else as UTF-8 or Latin-1; what does not fit is replaced."""
    name = charset.strip().lower()
    name = _ALIASES.get(name, name)
    if name in _CHARSETS and name not in {"us-ascii", "ascii"}:
        return raw.decode(name, "replace")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
