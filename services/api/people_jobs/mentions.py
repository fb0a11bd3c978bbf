"""Whether a text, a mail, a file or a message of the belt mentions a person's address.

Promises: an address is found whatever its case, in plain bytes, in UTF-16, in quoted-printable, base64 and zstd, as a
part of a URL and of JSON; ``bob@example.jp`` is not found in ``jimbob@example.jp`` nor in ``bob@example.jp.example``.
Fails: never; what cannot be decoded is searched as it is. Unpacked content is bounded by ``MAX_UNPACKED_BYTES``.
"""

import base64
import json
import quopri
import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import quote

import zstandard

MAX_UNPACKED_BYTES: Final = 64 * 1024 * 1024
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_BEFORE: Final = r"(?:(?<![A-Za-z0-9_.+\-])|(?<=%[0-9A-Fa-f]{2})|(?<=\\[nrt]))"
"""No letter of an address, but for the end of an escape: ``%22taro%40…``, ``\\ntaro@…`` in JSON."""
_AFTER: Final = r"(?![A-Za-z0-9\-]|\.[A-Za-z0-9])"
_BASE64: Final = re.compile(rb"(?:[A-Za-z0-9+/]{16,}={0,2}[\r\n]*)+")


class Mentions:
    """Looks for a number of addresses."""

    def __init__(self, addresses: Iterable[str]) -> None:
        """Remember the addresses, each in the forms in which it is written down."""
        forms = {form for address in addresses for form in _forms(address)}
        alternatives = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
        pattern = f"{_BEFORE}(?:{alternatives}){_AFTER}" if forms else r"(?!)"
        self._in_text = re.compile(pattern, re.IGNORECASE)
        self._in_bytes = re.compile(pattern.encode(), re.IGNORECASE)

    def in_text(self, text: str | None) -> bool:
        """Whether a text mentions one of them."""
        return text is not None and self._in_text.search(text) is not None

    def in_bytes(self, content: bytes | None) -> bool:
        """Whether content of any kind mentions one of them."""
        return content is not None and any(self._in_bytes.search(view) for view in _views(content))

    def without(self, text: str, instead: str) -> str:
        """The text with ``instead`` in the place of each mention."""
        return self._in_text.sub(lambda _: instead, text)


def _forms(address: str) -> set[str]:
    return {address, quote(address, safe=""), quote(address, safe="@"), json.dumps(address)[1:-1]} - {""}


def _views(content: bytes) -> Iterator[bytes]:
    """The content in each way in which it may be read."""
    if content.startswith(_ZSTD_MAGIC):
        content = _unpacked(content)
    yield content
    if b"\x00" in content:
        yield content.replace(b"\x00", b"")  # what UTF-16 puts beside the letters of ASCII
    if b"=" in content:
        yield quopri.decodestring(content)
    for run in _BASE64.finditer(content):
        letters = run[0].translate(None, b"\r\n=")
        for skipped in range(4):  # a word of the line above may stand before it, and shift what each letter means
            end = len(letters) - ((len(letters) - skipped) % 4 == 1)  # a lone letter holds no byte
            yield base64.b64decode(letters[skipped:end] + b"=" * ((skipped - end) % 4))


def _unpacked(content: bytes) -> bytes:
    try:
        with zstandard.ZstdDecompressor().stream_reader(content) as reader:
            return reader.read(MAX_UNPACKED_BYTES)
    except zstandard.ZstdError:
        return content
