"""DKIM signatures: relaxed/relaxed, RSA-SHA256 and Ed25519-SHA256, over headers that we wrote ourselves.

Promises: a body whose relaxed form is itself (``services.renderer.mime`` builds no other) is hashed once for all
signatures; From is over-signed, so nobody can add a second one.
Fails: nothing but the errors of ``cryptography`` for a key that cannot sign.
Source: RFC 6376 (§3.4.2 relaxed headers, §3.5 tags, §5.4 and §8.15 over-signing), RFC 8463 (Ed25519).
"""

import base64
import hashlib
import re
from collections.abc import Sequence

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

_WHITE = re.compile(rb"[ \t]+")
_PADDING = padding.PKCS1v15()
_SHA256 = hashes.SHA256()
_FOLD_CHARS = 72
_FOLD = b"\r\n\t"

Field = tuple[bytes, bytes]
"""A header field: name, and value as it is written after the colon, folds included, without the final CRLF."""


def canonical(name: bytes, value: bytes) -> bytes:
    """A field in relaxed canonical form, without the final CRLF (RFC 6376 §3.4.2)."""
    return name.lower() + b":" + relaxed(value)


def relaxed(value: bytes) -> bytes:
    """The value of a field in relaxed canonical form."""
    unfolded = value.replace(b"\r\n", b"")
    if b"  " in unfolded or b"\t" in unfolded:
        unfolded = _WHITE.sub(b" ", unfolded)
    return unfolded.strip()


def body_hash(body: bytes) -> bytes:
    """``bh=`` of a body that is its own relaxed form."""
    return base64.b64encode(hashlib.sha256(body).digest())


class DkimSigner:
    """Signs for one domain with one key."""

    def __init__(self, domain: str, selector: str, key: RSAPrivateKey | Ed25519PrivateKey) -> None:
        """Prepare what all signatures share."""
        self._rsa = key if isinstance(key, RSAPrivateKey) else None
        self._ed25519 = key if isinstance(key, Ed25519PrivateKey) else None
        algorithm = "rsa-sha256" if self._rsa else "ed25519-sha256"
        self._start = f"v=1; a={algorithm}; c=relaxed/relaxed; d={domain}; s={selector};\r\n\tt=".encode()

    def sign(self, names: bytes, canonical_fields: bytes, bh: bytes, timestamp: int) -> bytes:
        """The whole DKIM-Signature field with its CRLF.

        Shape: ``names`` are ``signed_names`` of the fields whose relaxed forms, in the same order and each with its
        CRLF, are ``canonical_fields``.
        Units: ``timestamp`` is Unix seconds.
        """
        value = b"".join((self._start, b"%d; h=" % timestamp, names, b";\r\n\tbh=", bh, b";\r\n\tb="))
        # The only white space that is not one space already is in the folds.
        signed = canonical_fields + b"dkim-signature:" + value.replace(_FOLD, b" ")
        signature = base64.b64encode(self._signature(signed))
        lines = [signature[i : i + _FOLD_CHARS] for i in range(0, len(signature), _FOLD_CHARS)]
        return b"DKIM-Signature: " + value + _FOLD.join(lines) + b"\r\n"

    def _signature(self, signed: bytes) -> bytes:
        if self._rsa is not None:
            return self._rsa.sign(signed, _PADDING, _SHA256)
        if self._ed25519 is None:
            raise RuntimeError("a signer has a key")
        return self._ed25519.sign(hashlib.sha256(signed).digest())  # RFC 8463 §3


def signed_names(fields: Sequence[Field]) -> bytes:
    """The value of ``h=``, folded: From twice, so that a second one breaks the signature, then the rest in order.

    Shape: the first of ``fields`` is From. What ``h=`` names beyond the fields there are adds nothing to what is hashed
    (RFC 6376 §5.4.2).
    """
    lines = [b"from:"]
    for name, _ in fields:
        piece = name.lower() + b":"
        if len(lines[-1]) + len(piece) > _FOLD_CHARS - (len("t=1700000000; h=") if len(lines) == 1 else 0):
            lines.append(b"")
        lines[-1] += piece
    return _FOLD.join(lines).removesuffix(b":")
