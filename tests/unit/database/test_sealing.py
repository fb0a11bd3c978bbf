"""Sealed secrets open for their tenant and purpose alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hayabin.database.sealing import SealBroken, seal, unseal

KEY = bytes(range(32))


@given(tenant_id=st.integers(1, 2**40), purpose=st.text(max_size=40), secret=st.binary(max_size=200))
def test_seal_opens_for_the_same_tenant_and_purpose(tenant_id: int, purpose: str, secret: bytes) -> None:
    """What was sealed comes back, and stands nowhere in the sealed text."""
    sealed = seal(KEY, tenant_id, purpose, secret)
    assert unseal(KEY, tenant_id, purpose, sealed) == secret
    assert len(secret) < 8 or secret not in sealed


def test_seal_of_another_tenant_purpose_or_master_key_does_not_open() -> None:
    """Each of the three is bound into the seal."""
    sealed = seal(KEY, 1, "dkim:a.example:s", b"secret")
    for key, tenant_id, purpose in (
        (KEY, 2, "dkim:a.example:s"),
        (KEY, 1, "dkim:b.example:s"),
        (bytes(32), 1, "dkim:a.example:s"),
    ):
        with pytest.raises(SealBroken):
            unseal(key, tenant_id, purpose, sealed)


def test_seal_with_any_byte_changed_does_not_open() -> None:
    """Format, nonce, text and tag are all covered; so is a text cut short."""
    sealed = seal(KEY, 1, "p", b"secret")
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(SealBroken):
            unseal(KEY, 1, "p", bytes(changed))
    for size in range(len(sealed)):
        with pytest.raises(SealBroken):
            unseal(KEY, 1, "p", sealed[:size])
