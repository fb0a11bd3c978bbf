"""A mail from its parts: headers, multipart/alternative, signatures; one pass, the shared parts made once.

Promises: the same input gives the same bytes; CRLF everywhere; no line over 76 octets but long header words (≤ 998);
no body line begins with a dot (base64), and the body's relaxed canonical form is itself, so it is hashed once.
Fails: ``PermanentFailure`` for an address that cannot be written (``services.renderer.headers``).
Source: RFC 5322, RFC 2045 §6.8, RFC 2046 §5.1.4, RFC 8058 §3 (one-click, covered by the signature), RFC 2919 (List-Id).
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache

import pybase64

from services.renderer.dkim import DkimSigner, Field, body_hash, canonical, signed_names
from services.renderer.headers import addr_spec, mailbox, phrase, shared_mailbox, unstructured

_LINE = 76
_CUT_MAX_LINES = 1000
"""Beyond this the prepared cuts would take more memory than they save time."""


@dataclass(frozen=True, slots=True)
class Sender:
    """What all mails of a campaign share."""

    campaign_id: int
    tenant_id: int
    message_class: str
    from_name: str
    from_address: str
    reply_to: str
    list_id: int
    list_name: str
    domain: str


@dataclass(frozen=True, slots=True)
class MailParts:
    """What one mail has of its own; ``message_id`` with its angle brackets."""

    to_name: str
    to_address: str
    subject: str
    text: str
    html: str | None
    message_id: str
    unsubscribe_url: str


class MailWriter:
    """Writes the mails of one campaign."""

    def __init__(self, sender: Sender, signers: Sequence[DkimSigner]) -> None:
        """Make the shared parts."""
        self._signers = tuple(signers)
        boundary = hashlib.blake2b(f"{sender.domain}:{sender.campaign_id}".encode(), digest_size=12).hexdigest()
        self._boundary = f"=_hb_{boundary}".encode()
        list_label = f"list-{sender.list_id}" if sender.list_id else f"test-{sender.tenant_id}"
        list_id = b"<%s.%s>" % (list_label.encode(), sender.domain.encode("idna"))
        list_name = phrase(sender.list_name)
        feedback = f"{sender.campaign_id}:{sender.tenant_id}:{sender.message_class}:hayabin"
        self._from: Field = (b"From", shared_mailbox(sender.from_name, sender.from_address))
        self._shared: tuple[Field, ...] = (
            (b"List-Unsubscribe-Post", b"List-Unsubscribe=One-Click"),
            (b"List-Id", list_name + b"\r\n " + list_id if list_name else list_id),
            (b"Feedback-ID", feedback.encode()),
            (b"MIME-Version", b"1.0"),
            *(((b"Reply-To", addr_spec(sender.reply_to)),) if sender.reply_to else ()),
        )
        self._shared_raw = b"".join(_raw(field) for field in self._shared)
        self._shared_canonical = b"".join(canonical(*field) + b"\r\n" for field in self._shared)
        self._names: dict[int, bytes] = {}
        self._multipart = b'multipart/alternative;\r\n boundary="' + self._boundary + b'"'

    def write(self, parts: MailParts, date: datetime) -> bytes:
        """The whole mail, signed, ready for the wire (but for dot-stuffing).

        Raises:
            PermanentFailure: the address cannot be written.
        """
        content_type, body = self._body(parts)
        own: tuple[Field, ...] = (
            (b"To", mailbox(parts.to_name, parts.to_address)),
            (b"Subject", unstructured(parts.subject, len("Subject: "))),
            (b"Date", _date(date)),
            (b"Message-ID", parts.message_id.encode()),
            (b"List-Unsubscribe", b"<" + parts.unsubscribe_url.encode() + b">"),
            (b"Content-Type", content_type),
            *(((b"Content-Transfer-Encoding", b"base64"),) if parts.html is None else ()),
        )
        raw = _raw(self._from) + b"".join(map(_raw, own)) + self._shared_raw
        signatures = b""
        if self._signers:
            head = b"".join(canonical(*field) + b"\r\n" for field in (self._from, *own)) + self._shared_canonical
            bh = body_hash(body)
            names = self._names.get(len(own))
            if names is None:
                names = self._names[len(own)] = signed_names((self._from, *own, *self._shared))
            timestamp = int(date.timestamp())
            signatures = b"".join(signer.sign(names, head, bh, timestamp) for signer in self._signers)
        return signatures + raw + b"\r\n" + body

    def _body(self, parts: MailParts) -> tuple[bytes, bytes]:
        text = _base64_lines(parts.text)
        if parts.html is None:
            return b"text/plain; charset=utf-8", text
        edge = b"--" + self._boundary
        body = b"".join(
            (
                edge,
                b"\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n",
                text,
                edge,
                b"\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n",
                _base64_lines(parts.html),
                edge,
                b"--\r\n",
            )
        )
        return self._multipart, body


def _raw(field: Field) -> bytes:
    return b"%s: %s\r\n" % field


@lru_cache(maxsize=8)
def _date(date: datetime) -> bytes:
    """The value of Date, which a whole chunk shares."""
    return format_datetime(date.astimezone(UTC)).encode()


def _base64_lines(text: str) -> bytes:
    """UTF-8 as base64 in lines of 76 with CRLF; line ends of the text become CRLF first (RFC 2046 §4.1.1)."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    encoded = (text or "\n").replace("\n", "\r\n").encode("utf-8", "replace")
    return _wrap(pybase64.b64encode(encoded))


def _wrap(encoded: bytes) -> bytes:
    """Base64 in lines (RFC 2045 §6.8); the cut by ``struct`` takes a third of what the library's own wrapping does."""
    lines = len(encoded) // _LINE
    if lines > _CUT_MAX_LINES:
        cut: Sequence[bytes] = [encoded[at : at + _LINE] for at in range(0, lines * _LINE, _LINE)]
    else:
        cut = _cutter(lines).unpack_from(encoded)
    rest = encoded[lines * _LINE :]
    return b"\r\n".join((*cut, rest, b"") if rest else (*cut, b""))


@lru_cache(maxsize=256)
def _cutter(lines: int) -> struct.Struct:
    return struct.Struct(f"{_LINE}s" * lines)
