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

from services.renderer.dkim import DkimSigner, Field, body_hash, canonical, relaxed, signed_names
from services.renderer.headers import addr_spec, mailbox, phrase, shared_mailbox, unstructured

_LINE = 76
_CUT_MAX_LINES = 1000
"""Beyond this the prepared cuts would take more memory than they save time."""
_OWN: tuple[Field, ...] = (
    (b"To", b"%b"),
    (b"Subject", b"%b"),
    (b"Date", b"%b"),
    (b"Message-ID", b"%b"),
)
_UNSUBSCRIBE: Field = (b"List-Unsubscribe", b"<%b>,\r\n <mailto:%b?subject=unsubscribe>")
"""Https first: who can do both takes the first (RFC 2369 §2), and one-click is by https (RFC 8058 §3.1)."""
_TEXT = b"text/plain; charset=utf-8"
_HTML = b"text/html; charset=utf-8"
_BASE64: Field = (b"Content-Transfer-Encoding", b"base64")


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
    asks_to_confirm: bool = False
    """The mail is the answer to somebody's own act, and no mail of a list: it can not be unsubscribed from."""


@dataclass(frozen=True, slots=True)
class MailParts:
    """What one mail has of its own; ``message_id``, with its angle brackets, URL and addresses have no white space."""

    to_name: str
    to_address: str
    subject: str
    text: str
    html: str | None
    message_id: str
    unsubscribe_url: str
    unsubscribe_address: str


@dataclass(frozen=True, slots=True)
class Head:
    """The header of all mails of one form: as written and as signed, ``%b`` for what each has of its own; ``h=``."""

    raw: bytes
    canonical: bytes
    names: bytes


class MailWriter:
    """Writes the mails of one campaign."""

    def __init__(self, sender: Sender, signers: Sequence[DkimSigner]) -> None:
        """Make the shared parts."""
        self._signers = tuple(signers)
        self._of_list = not sender.asks_to_confirm
        boundary = hashlib.blake2b(f"{sender.domain}:{sender.campaign_id}".encode(), digest_size=12).hexdigest()
        edge = f"--=_hb_{boundary}".encode()
        self._before_text = edge + b"\r\n" + _raw((b"Content-Type", _TEXT)) + _raw(_BASE64)
        self._before_html = edge + b"\r\n" + _raw((b"Content-Type", _HTML)) + _raw(_BASE64)
        self._after = edge + b"--\r\n"
        multipart = b'multipart/alternative;\r\n boundary="' + edge.removeprefix(b"--") + b'"'
        self._multipart = _head(sender, ((b"Content-Type", multipart),))
        self._plain = _head(sender, ((b"Content-Type", _TEXT), _BASE64))

    def write(self, parts: MailParts, date: datetime) -> bytes:
        """The whole mail, signed, ready for the wire (but for dot-stuffing).

        Raises:
            PermanentFailure: the address cannot be written.
        """
        to = mailbox(parts.to_name, parts.to_address)
        subject = unstructured(parts.subject, len("Subject: "))
        others: tuple[bytes, ...] = (_date(date), parts.message_id.encode())
        if self._of_list:
            others += (parts.unsubscribe_url.encode(), parts.unsubscribe_address.encode())
        head = self._plain if parts.html is None else self._multipart
        body = self._body(parts)
        signatures: list[bytes] = []
        if self._signers:
            canonical_fields = head.canonical % (relaxed(to), relaxed(subject), *others)
            bh, timestamp = body_hash(body), int(date.timestamp())
            signatures = [signer.sign(head.names, canonical_fields, bh, timestamp) for signer in self._signers]
        return b"".join((*signatures, head.raw % (to, subject, *others), b"\r\n", body))

    def _body(self, parts: MailParts) -> bytes:
        text = _base64_lines(parts.text)
        if parts.html is None:
            return b"\r\n".join((*text, b""))
        html = _base64_lines(parts.html)
        return b"\r\n".join((self._before_text, *text, self._before_html, *html, self._after))


def _head(sender: Sender, form: Sequence[Field]) -> Head:
    """The header of the mails of ``sender`` whose content is of one ``form``."""
    feedback = f"{sender.campaign_id}:{sender.tenant_id}:{sender.message_class}:hayabin"
    fields: tuple[Field, ...] = (
        _constant(b"From", shared_mailbox(sender.from_name, sender.from_address)),
        *_OWN,
        *(() if sender.asks_to_confirm else (_UNSUBSCRIBE,)),
        *form,
        *(() if sender.asks_to_confirm else _list_fields(sender)),
        _constant(b"Feedback-ID", feedback.encode()),
        (b"MIME-Version", b"1.0"),
        *((_constant(b"Reply-To", addr_spec(sender.reply_to)),) if sender.reply_to else ()),
    )
    return Head(
        raw=b"".join(map(_raw, fields)),
        canonical=b"".join(canonical(*field) + b"\r\n" for field in fields),
        names=signed_names(fields),
    )


def _list_fields(sender: Sender) -> tuple[Field, ...]:
    label = f"list-{sender.list_id}" if sender.list_id else f"all-{sender.tenant_id}"
    list_id = b"<%s.%s>" % (label.encode(), sender.domain.encode("idna"))
    name = phrase(sender.list_name)
    return (
        (b"List-Unsubscribe-Post", b"List-Unsubscribe=One-Click"),
        _constant(b"List-Id", name + b"\r\n " + list_id if name else list_id),
    )


def _constant(name: bytes, value: bytes) -> Field:
    """A field of a ``Head`` that is the same in every mail; a ``%`` in it stays one."""
    return name, value.replace(b"%", b"%%")


def _raw(field: Field) -> bytes:
    return b"%s: %s\r\n" % field


@lru_cache(maxsize=8)
def _date(date: datetime) -> bytes:
    """The value of Date, which a whole chunk shares."""
    return format_datetime(date.astimezone(UTC)).encode()


def _base64_lines(text: str) -> Sequence[bytes]:
    """UTF-8 as lines of base64; line ends of the text become CRLF first (RFC 2046 §4.1.1)."""
    encoded = text.encode("utf-8", "replace") or b"\n"
    if b"\r" in encoded:
        encoded = encoded.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return _cut(pybase64.b64encode(encoded.replace(b"\n", b"\r\n")))


def _cut(encoded: bytes) -> Sequence[bytes]:
    """Base64 in lines (RFC 2045 §6.8); by ``struct`` it takes a third of what the library's own wrapping does."""
    lines = len(encoded) // _LINE
    if lines > _CUT_MAX_LINES:
        return [encoded[at : at + _LINE] for at in range(0, len(encoded), _LINE)]
    cut = _cutter(lines).unpack_from(encoded)
    rest = encoded[lines * _LINE :]
    return (*cut, rest) if rest else cut


@lru_cache(maxsize=256)
def _cutter(lines: int) -> struct.Struct:
    return struct.Struct(f"{_LINE}s" * lines)
