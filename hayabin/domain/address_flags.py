"""What stands out about an address that is nevertheless good: flagged, never refused.

Promises: pure and quick, for millions at a time; domains repeat and are looked up once.
Fails: never; the key is ``Address.key``.
"""

from enum import StrEnum
from functools import lru_cache
from typing import Final

from hayabin.domain.disposable_domains import DISPOSABLE_DOMAINS

ROLE_NAMES: Final = frozenset(
    """
    abuse noc security postmaster hostmaster usenet news webmaster www uucp ftp
    info marketing sales support
    mailer-daemon nobody root admin administrator sysadmin system daemon
    noreply no-reply donotreply do-not-reply no_reply bounce bounces return-path
    contact contacts inquiry enquiry inquiries toiawase otoiawase mail email office reception shop order orders
    help helpdesk service customer customerservice care feedback billing invoice invoices accounts accounting finance
    keiri hr jobs job career careers recruit recruiting saiyo jinji soumu somu eigyo kouhou koho press pr media
    legal privacy compliance dpo dns domain domains registrar spam phishing virus cert csirt
    all everyone staff team list lists list-request owner subscribe unsubscribe majordomo listserv
    dev devnull null ops it web test
    """.split()  # noqa: SIM905 - a column of a hundred words otherwise
)
"""Mailboxes of a task and not of a person. Source: RFC 2142 (first two lines), then what is common, in Japan too."""


class AddressFlag(StrEnum):
    """What stands out; the values are stored, and part of the API."""

    ROLE = "role"
    """A mailbox of a task: read by several people, or by none."""
    DISPOSABLE = "disposable"
    """A mailbox for minutes."""


def flags_of(key: str) -> list[str]:
    """The flags of an address, by its key; in a fixed order, mostly none."""
    local, _, domain = key.rpartition("@")
    found: list[str] = []
    if local.partition("+")[0] in ROLE_NAMES:
        found.append(AddressFlag.ROLE.value)
    if _is_disposable(domain):
        found.append(AddressFlag.DISPOSABLE.value)
    return found


@lru_cache(maxsize=4096)
def _is_disposable(domain: str) -> bool:
    """Whether a domain, or one that it is part of, is such a service's."""
    labels = domain.split(".")
    return any(".".join(labels[at:]) in DISPOSABLE_DOMAINS for at in range(len(labels) - 1))
