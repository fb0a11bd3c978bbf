"""Signed addresses and Message-IDs: how a bounce, a complaint or an unsubscribe by mail names what it is about.

Promises: what reads back was issued by us for that message (and, for a return path, that attempt), so a forged report
names no row of the ledger; reading ignores case, because mail systems on the way back do not keep it.
Fails: anything else raises ``TokenInvalid``.

A return path is ``b-<base32 of key id | message id | attempt | MAC>@domain``: 39 octets of local part, of the 64 that
RFC 5321 §4.5.3.1.1 grants. A Message-ID is ``<message id in decimal>.<base32 of key id | MAC>@domain``: readable for
who searches a log, the same at every attempt, and as unforgeable. An unsubscribe address is ``u-<base32 of the
unsubscribe token>@domain``: 62 octets of local part, as other mail systems need not keep the case of the token's own
spelling. No MAC covers the domain, so a sending domain
can be renamed while its bounces come home.
"""

import base64
import binascii
import re
import struct
from typing import Final, NamedTuple

from hayabin.domain.token import (
    MAC_BYTES,
    UNSUBSCRIBE_BYTES,
    Purpose,
    TokenInvalid,
    TokenProblem,
    TokenRing,
    UnsubscribeClaim,
)

RETURN_PATH_PREFIX: Final = "b-"
UNSUBSCRIBE_PREFIX: Final = "u-"
ADDRESS_MAX_CHARS: Final = 320
ATTEMPT_MAX: Final = 0xFFFF

_CLAIM = struct.Struct(">BQH")
_ID = struct.Struct(">BQ")
_ID_MAX = 2**64 - 1
_MESSAGE_ID = re.compile(r"([0-9]{1,20})\.([a-z2-7]{21})@[^@\s<>]+", re.ASCII)
_RETURN_PATH = re.compile(r"b-([a-z2-7]{37})@[^@\s<>]+", re.ASCII)
_UNSUBSCRIBE = re.compile(r"u-([a-z2-7]{60})@[^@\s<>]+", re.ASCII)
_ALPHABET = b"abcdefghijklmnopqrstuvwxyz234567" * 8


def _spread() -> tuple[tuple[int, int, int], ...]:
    """How 64 groups of 5 bits, one after the other in a number, become its bytes: shifts, and what is shifted by them.

    Each step takes runs of groups apart in their middle, all at once: 64, 32, 16, 8, 4, 2.
    """
    steps = []
    for half in (32, 16, 8, 4, 2, 1):
        ones = (1 << half * 5) - 1
        lower = sum(ones << run * half * 16 for run in range(32 // half))
        steps.append((half * 3, lower << half * 5, lower))
    return tuple(steps)


_SPREAD = _spread()


class VerpClaim(NamedTuple):
    """Which attempt of which message a return path was used for."""

    message_id: int
    attempt: int


def issue_return_path(message_id: int, attempt: int, ring: TokenRing, domain: str) -> str:
    """The RFC 5321 reverse-path, without angle brackets, of one attempt.

    Units: ``attempt`` 0–65,535.

    Raises:
        struct.error: an id or attempt is out of range.

    Source: RFC 5321 §4.5.3.1.1 (length); the practice is known as variable envelope return path.

    """
    sealed = ring.seal(_CLAIM.pack(ring.active, message_id, attempt), Purpose.RETURN_PATH)
    return f"{RETURN_PATH_PREFIX}{_spell(sealed)}@{domain}"


def read_return_path(address: str, ring: TokenRing) -> VerpClaim:
    """The message and attempt that a return path names; whose domain it has is for the caller to check.

    Raises:
        TokenInvalid: not a return path of ours.

    """
    found = _parts(_RETURN_PATH, address)
    if found is None:
        raise TokenInvalid(TokenProblem.MALFORMED)
    payload = ring.open(_unspell(found[1], _CLAIM.size + MAC_BYTES), Purpose.RETURN_PATH)
    return VerpClaim(*_CLAIM.unpack(payload)[1:])


def looks_like_return_path(address: str) -> bool:
    """True where ``address`` has the form of a return path, signed by whomever."""
    return _parts(_RETURN_PATH, address) is not None


def unsubscribe_address(sealed: bytes, domain: str) -> str:
    """The address that a mail is sent to for an unsubscribe; ``sealed`` is ``TokenRing.seal_unsubscribe``'s.

    Source: RFC 2369 §3.2 (List-Unsubscribe by mailto), RFC 5321 §4.5.3.1.1 (length).
    """
    return f"{UNSUBSCRIBE_PREFIX}{_spell(sealed)}@{domain}"


def read_unsubscribe_address(address: str, ring: TokenRing) -> UnsubscribeClaim:
    """The claim of an unsubscribe address; whose domain it has is for the caller to check.

    Raises:
        TokenInvalid: not an unsubscribe address of ours.

    """
    found = _parts(_UNSUBSCRIBE, address)
    if found is None:
        raise TokenInvalid(TokenProblem.MALFORMED)
    return ring.open_unsubscribe(_unspell(found[1], UNSUBSCRIBE_BYTES))


def looks_like_unsubscribe_address(address: str) -> bool:
    """True where ``address`` has the form of an unsubscribe address, signed by whomever."""
    return _parts(_UNSUBSCRIBE, address) is not None


def issue_message_id(message_id: int, ring: TokenRing, domain: str) -> str:
    """The Message-ID field's value, with angle brackets; the same for every attempt made with the same active key.

    Source: RFC 5322 §3.6.4.
    """
    sealed = ring.seal(_ID.pack(ring.active, message_id), Purpose.MESSAGE_ID)
    return f"<{message_id}.{_spell(sealed[:1] + sealed[_ID.size :])}@{domain}>"


def read_message_id(text: str, ring: TokenRing) -> int:
    """The ledger id that a Message-ID names, with or without its angle brackets and white space around them.

    Raises:
        TokenInvalid: not a Message-ID of ours.

    """
    if len(text) > ADDRESS_MAX_CHARS or not text.isascii():
        raise TokenInvalid(TokenProblem.MALFORMED)
    bare = text.strip().lower()
    if bare.startswith("<") and bare.endswith(">"):
        bare = bare[1:-1]
    found = _MESSAGE_ID.fullmatch(bare)
    if found is None:
        raise TokenInvalid(TokenProblem.MALFORMED)
    message_id = int(found[1])
    if message_id > _ID_MAX or str(message_id) != found[1]:
        raise TokenInvalid(TokenProblem.MALFORMED)
    key_and_mac = _unspell(found[2], 1 + MAC_BYTES)
    ring.open(_ID.pack(key_and_mac[0], message_id) + key_and_mac[1:], Purpose.MESSAGE_ID)
    return message_id


def _parts(form: re.Pattern[str], address: str) -> re.Match[str] | None:
    """The match of a form; ASCII only, since ``lower`` would make a ``k`` of the Kelvin sign."""
    if len(address) > ADDRESS_MAX_CHARS or not address.isascii():
        return None
    return form.fullmatch(address.lower())


def _spell(sealed: bytes) -> str:
    """Base32 without padding (RFC 4648 §6), in lower case, of at most 40 bytes; the library's goes digit by digit."""
    chars = (len(sealed) * 8 + 4) // 5
    groups = int.from_bytes(sealed, "big") << chars * 5 - len(sealed) * 8
    for shift, upper, lower in _SPREAD:
        groups = (groups & upper) << shift | groups & lower
    return groups.to_bytes(chars, "big").translate(_ALPHABET).decode("ascii")


def _unspell(spelled: str, size_bytes: int) -> bytes:
    """The bytes that ``spelled`` (lower case, alphabet checked) stands for; unused bits must be zero."""
    try:
        sealed = base64.b32decode(spelled.upper() + "=" * (-len(spelled) % 8))
    except binascii.Error as error:  # pragma: no cover - the pattern has checked alphabet and length
        raise TokenInvalid(TokenProblem.MALFORMED) from error
    if len(sealed) != size_bytes or _spell(sealed) != spelled:
        raise TokenInvalid(TokenProblem.MALFORMED)
    return sealed
