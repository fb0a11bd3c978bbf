"""Secrets at rest: AES-256-GCM under a key derived for each tenant.

Promises: a sealed text opens only for the tenant and the purpose that it was sealed for.
Fails: ``SealBroken`` for another tenant, another purpose, another master key or a changed byte.
Source: NIST SP 800-38D (GCM), RFC 5869 (HKDF).
"""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE_BYTES = 12
_FORMAT = b"\x01"


class SealBroken(Exception):
    """The sealed text is not ours, or not for this tenant and purpose."""


def _cipher(master_key: bytes, tenant_id: int) -> AESGCM:
    info = b"hayabin sealing tenant " + str(tenant_id).encode()
    return AESGCM(HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(master_key))


def seal(master_key: bytes, tenant_id: int, purpose: str, plaintext: bytes) -> bytes:
    """``plaintext``, sealed: format byte, 12-byte random nonce, ciphertext with its 16-byte tag."""
    nonce = os.urandom(_NONCE_BYTES)
    bound = f"{tenant_id}:{purpose}".encode()
    return _FORMAT + nonce + _cipher(master_key, tenant_id).encrypt(nonce, plaintext, bound)


def unseal(master_key: bytes, tenant_id: int, purpose: str, sealed: bytes) -> bytes:
    """What was sealed.

    Raises:
        SealBroken: see the module.
    """
    if sealed[:1] != _FORMAT:
        raise SealBroken("not a sealed text of ours")
    nonce, box = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
    bound = f"{tenant_id}:{purpose}".encode()
    try:
        return _cipher(master_key, tenant_id).decrypt(nonce, box, bound)
    except (InvalidTag, ValueError) as error:
        raise SealBroken("another tenant, purpose or master key, or changed bytes") from error
