"""DKIM keys: made here, the private half sealed before it is stored, the public half as a DNS record.

Source: RFC 6376 §3.6.1 (record), RFC 8463 (Ed25519).
"""

import asyncio
import base64
from dataclasses import dataclass

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

RSA_BITS = 2048


@dataclass(frozen=True, slots=True)
class DkimKey:
    """A fresh key pair; ``public`` is the p= of its record."""

    algorithm: str
    private_der: bytes
    public: str

    def record(self) -> str:
        """The TXT record's value."""
        return record(self.algorithm, self.public)


def record(algorithm: str, public: str) -> str:
    """The TXT record's value of a public key."""
    kind = "rsa" if algorithm.startswith("rsa") else "ed25519"
    return f"v=DKIM1; k={kind}; p={public}"


async def new_keys() -> tuple[DkimKey, DkimKey]:
    """An RSA-2048 and an Ed25519 pair, made in a thread (RSA takes a while)."""
    return await asyncio.to_thread(lambda: (new_key("rsa-sha256"), new_key("ed25519-sha256")))


def new_key(algorithm: str) -> DkimKey:
    """A pair of one kind."""
    if algorithm == "rsa-sha256":
        pair = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
        public = pair.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return DkimKey(algorithm, _der(pair), base64.b64encode(public).decode())
    signing = ed25519.Ed25519PrivateKey.generate()
    raw = signing.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return DkimKey("ed25519-sha256", _der(signing), base64.b64encode(raw).decode())


def _der(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
