"""Inbound mail as a tree of parts, read with every size bounded.

Promises: any bytes give a tree, in time linear in their length; at most ``MAIL_MAX_BYTES`` are looked at, in at most
``PARTS_MAX`` parts, ``DEPTH_MAX`` deep, with ``FIELDS_MAX`` header fields each. What is truncated or malformed is read
as far as it goes.
Fails: never; what can not be read is an empty part.

The stdlib's parser is not used on purpose: it recurses once per nested multipart (2,000 of them, in 100 KB, end in
``RecursionError``) and builds an object per blank line of a ``message/delivery-status`` (120 MB out of 1 MB).
"""

import binascii
import quopri
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from services.bounce.fields import Fields, decode_text, read_fields

MAIL_MAX_BYTES: Final = 1 << 20
HEADER_MAX_BYTES: Final = 64 << 10
TEXT_MAX_BYTES: Final = 64 << 10
PARTS_MAX: Final = 64
DEPTH_MAX: Final = 8

_ENCLOSED_MAIL: Final = frozenset({"message/rfc822", "message/global"})
_ENCLOSED_HEADER: Final = frozenset({"text/rfc822-headers", "message/rfc822-headers", "message/global-headers"})
_BOUNDARY_MAX_CHARS: Final = 200  # RFC 2046 §5.1.1 allows 70


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a mail, or the mail itself."""

    content_type: str
    """Lower case, ``type/subtype``; ``text/plain`` where nothing sensible is said (RFC 2045 §5.2)."""
    fields: Fields
    body: bytes = field(repr=False)
    """As transferred, line ends as LF."""
    parts: tuple["Part", ...] = ()

    def walk(self) -> Iterator["Part"]:
        """The part itself and all below it, in order; what an enclosed mail holds is not this mail's own word."""
        yield self
        if not self.is_enclosed_mail():
            for part in self.parts:
                yield from part.walk()

    def text(self) -> str:
        """The body as text: transfer encoding and character set undone, at most ``TEXT_MAX_BYTES`` of it."""
        return decode_text(_decode_transfer(self.fields, self.body), self.fields.parameter("content-type", "charset"))

    def is_enclosed_mail(self) -> bool:
        """True where this part holds another mail, or just that mail's header."""
        return self.content_type in _ENCLOSED_MAIL or self.content_type in _ENCLOSED_HEADER


@dataclass(slots=True)
class _Budget:
    """How many parts may still be made."""

    parts: int = PARTS_MAX


def read_mail(content: bytes) -> Part:
    """The tree of an RFC 5322 / MIME message.

    Source: RFC 2045, RFC 2046 §5.1 (multipart), §5.2.1 (message/rfc822).
    """
    text = content[:MAIL_MAX_BYTES].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return _read_part(text, DEPTH_MAX, _Budget())


def _read_part(text: bytes, depth: int, budget: _Budget) -> Part:
    """One part: its header, its body, and what is inside as far as depth and budget go."""
    budget.parts -= 1
    header, body = _split_header(text)
    fields = read_fields(header.decode("utf-8", "replace"))
    content_type = fields.content_type()
    parts: tuple[Part, ...] = ()
    if depth > 0 and budget.parts > 0:
        if content_type.startswith("multipart/"):
            parts = tuple(_read_part(piece, depth - 1, budget) for piece in _pieces(body, fields) if budget.parts > 0)
        elif content_type in _ENCLOSED_MAIL:
            parts = (_read_part(_decode_transfer(fields, body, MAIL_MAX_BYTES), depth - 1, budget),)
        elif content_type in _ENCLOSED_HEADER:
            budget.parts -= 1
            enclosed = _split_header(_decode_transfer(fields, body))[0]
            parts = (Part("text/plain", read_fields(enclosed.decode("utf-8", "replace")), b""),)
    return Part(content_type, fields, body, parts)


def _split_header(text: bytes) -> tuple[bytes, bytes]:
    """Header and body around the first blank line; a part that begins with one has no header."""
    if text.startswith(b"\n"):
        return b"", text[1:]
    header, _, body = text.partition(b"\n\n")
    return header[:HEADER_MAX_BYTES], body


def _pieces(body: bytes, fields: Fields) -> Iterator[bytes]:
    """The texts between the delimiter lines, without preamble and epilogue; a missing end is the end of ``body``."""
    boundary = fields.parameter("content-type", "boundary")[:_BOUNDARY_MAX_CHARS]
    if not boundary:
        return
    delimiter = re.compile(rb"(?:\A|\n)--" + re.escape(boundary.encode()) + rb"(--)?[ \t]*(?=\n|\Z)")
    start = None
    for found in delimiter.finditer(body):
        if start is not None:
            yield body[start : found.start()]
        if found[1]:
            return
        start = found.end() + 1
    if start is not None:
        yield body[start:]


def _decode_transfer(fields: Fields, body: bytes, limit: int = TEXT_MAX_BYTES) -> bytes:
    """At most ``limit`` bytes of ``body`` without its Content-Transfer-Encoding; as it is where that is broken."""
    match fields.first("content-transfer-encoding").strip().lower():
        case "base64":
            encoded = re.sub(rb"[^A-Za-z0-9+/]", b"", body[: limit * 3 // 2])
            if len(encoded) % 4 == 1:  # a lone character holds no byte: the mail was cut there
                encoded = encoded[:-1]
            decoded = binascii.a2b_base64(encoded + b"=" * (-len(encoded) % 4))
            return decoded[:limit].replace(b"\r\n", b"\n")
        case "quoted-printable":
            return quopri.decodestring(body[: limit * 3])[:limit].replace(b"\r\n", b"\n")
        case _:
            return body[:limit]
