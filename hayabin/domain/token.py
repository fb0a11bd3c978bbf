"""Keyed tokens that stand in URLs: who opened, who clicked where, who asks to be taken off which list, who confirms.

Promises: a token that reads back was issued by a holder of the key, for the purpose it is read for, and is the one
spelling of its content; a key that stays in the ring keeps its old tokens readable after the active key has moved on.
Fails: whatever else is handed in raises ``TokenInvalid`` with a reason, whatever its length or characters.

A token is ``key id (1 byte) | payload | MAC (12 bytes)`` in base64url without padding. The MAC is keyed BLAKE2b of key
id and payload (RFC 7693 §2.9); its ``person`` parameter separates the purposes, so a tracking token can not be passed
off as an unsubscribe token. Nothing in a token is secret: it is signed, not encrypted.
"""

import binascii
import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hmac import compare_digest
from typing import NamedTuple

MAC_BYTES = 12
SECRET_MIN_BYTES = 32
SECRET_MAX_BYTES = 64

_TRACKING = struct.Struct(">BQ")
_UNSUBSCRIBE = struct.Struct(">BIIQQ")
UNSUBSCRIBE_BYTES = _UNSUBSCRIBE.size + MAC_BYTES
_LINK = struct.Struct(">QI")
_LINK_MAX = 0xFFFFFFFF
_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_", b"+/")


class TokenProblem(StrEnum):
    """Why a token was refused."""

    MALFORMED = "malformed"
    """Not the one spelling of a token of this kind: length, alphabet or unused bits are wrong."""
    UNKNOWN_KEY = "unknown_key"
    """Names a key that is not in the ring: retired, or never ours."""
    FORGED = "forged"
    """The MAC is not that of the content."""


class TokenInvalid(ValueError):
    """A token, return path or Message-ID was not issued by us; carries a ``TokenProblem`` as ``reason``."""

    def __init__(self, reason: TokenProblem) -> None:
        """Keep the reason; the token itself is left out, since it may be personal data or an attack."""
        super().__init__(reason.value)
        self.reason = reason


class Purpose(StrEnum):
    """What a MAC is for; the value is BLAKE2b's ``person`` parameter (at most 16 bytes), so it can never change."""

    TRACKING = "hb.tracking"
    LINK = "hb.link"
    UNSUBSCRIBE = "hb.unsubscribe"
    CONFIRM = "hb.confirm"
    RETURN_PATH = "hb.return-path"
    MESSAGE_ID = "hb.message-id"


@dataclass(frozen=True, slots=True)
class TokenKey:
    """One secret and the number that tokens name it by.

    Units: ``key_id`` 0–255; ``secret`` 32–64 bytes, from a random source.
    """

    key_id: int
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse what BLAKE2b or the key byte can not carry."""
        if not 0 <= self.key_id <= 255:
            raise ValueError(f"key id {self.key_id} is not 0–255")
        if not SECRET_MIN_BYTES <= len(self.secret) <= SECRET_MAX_BYTES:
            raise ValueError(f"the secret of key {self.key_id} is not {SECRET_MIN_BYTES}–{SECRET_MAX_BYTES} bytes")


class UnsubscribeClaim(NamedTuple):
    """Everything that an unsubscribe needs to know, so that it works when the ledger row is long gone.

    Units: ``tenant_id`` and ``list_id`` below 2^32, ``contact_id`` and ``message_id`` below 2^64; ``list_id`` 0 means
    every list.
    """

    tenant_id: int
    list_id: int
    contact_id: int
    message_id: int


class TokenRing:
    """The keys that are accepted, and the one that signs."""

    __slots__ = ("_hashers", "active")

    def __init__(self, keys: Sequence[TokenKey], active: int) -> None:
        """Prepare the hashers of every key and purpose.

        Raises:
            ValueError: two keys have one id, or the active one is missing.

        """
        self._hashers = {
            purpose: {
                key.key_id: hashlib.blake2b(digest_size=MAC_BYTES, key=key.secret, person=purpose.value.encode())
                for key in keys
            }
            for purpose in Purpose
        }
        if len({key.key_id for key in keys}) != len(keys):
            raise ValueError("two keys of the ring have the same id")
        if active not in self._hashers[Purpose.TRACKING]:
            raise ValueError(f"the active key {active} is not in the ring")
        self.active = active

    def seal(self, payload: bytes, purpose: Purpose, covered: bytes = b"") -> bytes:
        """``payload`` (which starts with the active key's id) and after it the MAC of payload and ``covered``.

        ``covered`` is content that the reader has from elsewhere, such as the destination of a link.
        """
        hasher = self._hashers[purpose][payload[0]].copy()
        hasher.update(payload + covered)
        return payload + hasher.digest()

    def open(self, sealed: bytes, purpose: Purpose, covered: bytes = b"") -> bytes:
        """The payload, with its key id, of what ``seal`` made.

        Raises:
            TokenInvalid: the key is unknown or the MAC is another's.

        """
        payload = sealed[:-MAC_BYTES]
        if not payload:
            raise TokenInvalid(TokenProblem.MALFORMED)
        prepared = self._hashers[purpose].get(payload[0])
        if prepared is None:
            raise TokenInvalid(TokenProblem.UNKNOWN_KEY)
        hasher = prepared.copy()
        hasher.update(payload + covered)
        if not compare_digest(hasher.digest(), sealed[-MAC_BYTES:]):
            raise TokenInvalid(TokenProblem.FORGED)
        return payload

    def issue_tracking(self, message_id: int) -> str:
        """The token of one mail's open pixel ``/o/<token>`` and links ``/c/<token>/<number>``; 28 characters."""
        return _spell(self.seal(_TRACKING.pack(self.active, message_id), Purpose.TRACKING))

    def read_tracking(self, token: str) -> int:
        """The message id that a tracking token names.

        Raises:
            TokenInvalid: not a tracking token of ours.

        """
        sealed = _unspell(token, _TRACKING.size + MAC_BYTES)
        message_id: int = _TRACKING.unpack(self.open(sealed, Purpose.TRACKING))[1]
        return message_id

    def issue_unsubscribe(self, claim: UnsubscribeClaim) -> str:
        """The token of one person's unsubscribe and preference pages; 50 characters."""
        return _spell(self.seal_unsubscribe(claim))

    def read_unsubscribe(self, token: str) -> UnsubscribeClaim:
        """What an unsubscribe token claims.

        Raises:
            TokenInvalid: not an unsubscribe token of ours.

        """
        return self.open_unsubscribe(_unspell(token, UNSUBSCRIBE_BYTES))

    def seal_unsubscribe(self, claim: UnsubscribeClaim) -> bytes:
        """What an unsubscribe token is before it is spelled; 37 bytes."""
        return self.seal(_UNSUBSCRIBE.pack(self.active, *claim), Purpose.UNSUBSCRIBE)

    def open_unsubscribe(self, sealed: bytes) -> UnsubscribeClaim:
        """The claim of what ``seal_unsubscribe`` made.

        Raises:
            TokenInvalid: we did not make it.

        """
        return UnsubscribeClaim(*_UNSUBSCRIBE.unpack(self.open(sealed, Purpose.UNSUBSCRIBE))[1:])

    def issue_confirm(self, message_id: int, address: str) -> str:
        """The token of the mail that asks ``address`` to confirm something; 28 characters.

        It is kept nowhere: what it confirms is found by the mail, and its MAC covers the address, so that it confirms
        nothing for another one.
        """
        covered = address.encode("utf-8", "surrogatepass")
        return _spell(self.seal(_TRACKING.pack(self.active, message_id), Purpose.CONFIRM, covered))

    @staticmethod
    def look_at_confirm(token: str) -> int:
        """The message id that a token claims; whether it is ours is known after ``check_confirm``.

        Raises:
            TokenInvalid: it has not the form of one.

        """
        message_id: int = _TRACKING.unpack(_unspell(token, _TRACKING.size + MAC_BYTES)[:-MAC_BYTES])[1]
        return message_id

    def check_confirm(self, token: str, address: str) -> None:
        """Return where ``token`` was issued for a mail to ``address``.

        Raises:
            TokenInvalid: it was not.

        """
        sealed = _unspell(token, _TRACKING.size + MAC_BYTES)
        self.open(sealed, Purpose.CONFIRM, address.encode("utf-8", "surrogatepass"))

    def link_mac(self, message_id: int, link: int, url: str) -> str:
        """What lets ``/c/<token>/<link>?u=…&m=<this>`` lead to ``url``, which merge values made; 18 characters.

        Units: ``link`` is the number of the link in its template, below 2^32.
        """
        covered = _LINK.pack(message_id, link) + url.encode("utf-8", "surrogatepass")
        return _spell(self.seal(bytes((self.active,)), Purpose.LINK, covered))

    def check_link_mac(self, message_id: int, link: int, url: str, mac: str) -> None:
        """Return where ``mac`` was issued for just this mail, link and destination.

        Raises:
            TokenInvalid: it was not, so following the link would be an open redirect.

        """
        if not 0 <= link <= _LINK_MAX:
            raise TokenInvalid(TokenProblem.MALFORMED)
        sealed = _unspell(mac, 1 + MAC_BYTES)
        covered = _LINK.pack(message_id, link) + url.encode("utf-8", "surrogatepass")
        self.open(sealed, Purpose.LINK, covered)


def spell_token(sealed: bytes) -> str:
    """The characters of a sealed token, as its URL has them."""
    return _spell(sealed)


def _spell(sealed: bytes) -> str:
    """Base64url without padding (RFC 4648 §5)."""
    return binascii.b2a_base64(sealed, newline=False).translate(_TO_URL, b"=").decode("ascii")


def _unspell(token: str, size_bytes: int) -> bytes:
    """The ``size_bytes`` bytes that ``token`` spells; a second spelling of the same bytes is refused.

    The stdlib's decoders skip foreign characters and ignore the unused bits of the last one (RFC 4648 §3.5), so the
    bytes are spelled again and compared.
    """
    if len(token) != (size_bytes * 8 + 5) // 6 or not token.isascii():
        raise TokenInvalid(TokenProblem.MALFORMED)
    try:
        sealed = binascii.a2b_base64(token.encode("ascii").translate(_FROM_URL) + b"=" * (-len(token) % 4))
    except binascii.Error as error:
        raise TokenInvalid(TokenProblem.MALFORMED) from error
    if len(sealed) != size_bytes or _spell(sealed) != token:
        raise TokenInvalid(TokenProblem.MALFORMED)
    return sealed
