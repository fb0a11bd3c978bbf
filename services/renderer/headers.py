"""Header fields: encoded words, phrases, addresses.

Promises: no value can end its line or begin another field; lines have at most 76 characters of encoded words; a
character is never split between two encoded words; a local part that is no dot-atom (``a..b@docomo.ne.jp``) is quoted.
Fails: ``PermanentFailure`` for an address with a control character (addresses are checked at ingress, so this is ours).
Source: RFC 5322 §3.2.3, §3.4; RFC 2047 §2, §4.1, §5; RFC 6532 for addresses that are not ASCII.
"""

import re
from functools import lru_cache

import pybase64

from hayabin.domain.errors import PermanentFailure

_PLAIN = re.compile(r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~ .,:;()@\[\]<>\"\\]*")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~ ]+")
_ATOM = r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~\x80-\U0010ffff]+"
_DOT_ATOM = re.compile(rf"{_ATOM}(\.{_ATOM})*")
_NO_DOMAIN = re.compile(r"[\s<>,;:()\"\\]|\A\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_WORD_BYTES = 45
"""Octets in one encoded word: 60 characters of base64 and 12 around them, under 75."""
_AROUND_CHARS = len("=?utf-8?B??=")
_LINE_CHARS = 76


def clean(text: str) -> str:
    """Each control character and line end as a space."""
    return _CONTROL.sub(" ", text)


def unstructured(text: str, used: int = 0) -> bytes:
    """The value of an unstructured field such as Subject; ``used`` characters of its first line are taken.

    Text that is not plain ASCII, looks like an encoded word, or is long becomes encoded words.
    """
    text = clean(text).strip()
    if _PLAIN.fullmatch(text) and "=?" not in text and len(text) + used <= _LINE_CHARS:
        return text.encode("ascii")
    return _encoded_words(text, used)


def _encoded_words(text: str, used: int) -> bytes:
    """One word a line; the first line has ``used`` characters already (RFC 2047 §2: 76 for each line)."""
    raw = text.encode("utf-8", "replace")
    words = []
    start, room = 0, min(_WORD_BYTES, (_LINE_CHARS - used - _AROUND_CHARS) // 4 * 3)
    while start < len(raw):
        end = min(start + room, len(raw))
        room = _WORD_BYTES
        while end < len(raw) and raw[end] & 0xC0 == 0x80:  # never inside a character
            end -= 1
        words.append(b"=?utf-8?B?" + pybase64.b64encode(raw[start:end]) + b"?=")
        start = end
    return b"\r\n ".join(words)


def phrase(text: str, used: int = 0) -> bytes:
    """A display name: bare, quoted, or as encoded words; ``used`` characters of its first line are taken."""
    text = clean(text).strip()
    if not text:
        return b""
    if len(text) <= 60 and "=?" not in text:
        if _ATOMS.fullmatch(text):
            return text.encode("ascii")
        if _PLAIN.fullmatch(text):
            return b'"' + text.replace("\\", "\\\\").replace('"', '\\"').encode("ascii") + b'"'
    return _encoded_words(text, used)


def addr_spec(address: str) -> bytes:
    """An address as header fields must write it, without angle brackets.

    Raises:
        PermanentFailure: ``unwritable_address``.
    """
    local, at, domain = address.rpartition("@")
    if not at or not local or _CONTROL.search(address) or _NO_DOMAIN.search(domain):
        raise PermanentFailure("unwritable_address")
    if local.startswith('"') and local.endswith('"') and len(local) > 1:
        local = re.sub(r"\\(.)", r"\1", local[1:-1])
    if not _DOT_ATOM.fullmatch(local):
        local = '"' + local.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{local}@{domain}".encode()


def mailbox(name: str, address: str) -> bytes:
    """``name <address>``, on a line of its own for the address where the name is long."""
    words = phrase(name, len("From: "))
    spec = addr_spec(address)
    if not words:
        return spec
    joint = b"\r\n " if len(words) + len(spec) > 60 else b" "
    return words + joint + b"<" + spec + b">"


@lru_cache(maxsize=256)
def shared_mailbox(name: str, address: str) -> bytes:
    """``mailbox`` for senders, who are the same in every mail of a campaign."""
    return mailbox(name, address)
