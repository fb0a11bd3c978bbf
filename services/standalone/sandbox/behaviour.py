"""How the sandbox treats a recipient: by the address alone, so that a campaign's numbers can be predicted.

Promises: the same address is always treated alike, whatever its case and quoting, on every machine and in every run.
A local part such as ``unknown+anything`` chooses by its first word (``WORDS``); other addresses are spread by a hash
(``SHARES_PER_MILLE``).
"""

import hashlib
from enum import StrEnum
from typing import Final


class Behaviour(StrEnum):
    """What happens to a mail to a recipient."""

    ACCEPT = "accept"
    """250 at the first try."""
    GREYLIST = "greylist"
    """451 4.7.1 at the first try of each mail, 250 at the next."""
    UNKNOWN = "unknown"
    """550 5.1.1 at RCPT."""
    FULL = "full"
    """552 5.2.2 after the final dot."""
    POLICY = "policy"
    """550 5.7.1 after the final dot."""
    RETURNED = "returned"
    """250, and a while later a DSN that says 5.1.1 (RFC 3464)."""
    COMPLAINT = "complaint"
    """250, and a while later a feedback-loop report (RFC 5965)."""


WORDS: Final = frozenset(behaviour.value for behaviour in Behaviour)
SHARES_PER_MILLE: Final = (
    (Behaviour.GREYLIST, 60),
    (Behaviour.UNKNOWN, 30),
    (Behaviour.FULL, 15),
    (Behaviour.POLICY, 15),
    (Behaviour.RETURNED, 15),
)
"""The rest is accepted. Nobody complains by chance: a complaint has to be asked for by its word."""

TAKES: Final = frozenset({Behaviour.ACCEPT, Behaviour.GREYLIST, Behaviour.RETURNED, Behaviour.COMPLAINT})
"""Behaviours that end in a 250 for a sender that tries again."""


def canonical(address: str) -> str:
    """One spelling of an address: lower case, and ``"a..b"@docomo.ne.jp`` without its quotes."""
    local, _, domain = address.lower().rpartition("@")
    return f"{local.strip(chr(34))}@{domain}"


def behaviour_of(address: str) -> Behaviour:
    """What the sandbox does with mail to ``address``."""
    key = canonical(address)
    word, plus, _ = key.partition("+")
    if plus and word in WORDS:
        return Behaviour(word)
    place = draw(key, "behaviour")
    for behaviour, share in SHARES_PER_MILLE:
        if place < share:
            return behaviour
        place -= share
    return Behaviour.ACCEPT


def draw(address: str, purpose: str) -> int:
    """A number from 0 to 999 that belongs to the address, another one for each purpose."""
    digest = hashlib.blake2b(canonical(address).encode(), digest_size=8, person=purpose.encode()[:16]).digest()
    return int.from_bytes(digest, "big") % 1000
