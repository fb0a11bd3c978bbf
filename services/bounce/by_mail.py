"""Unsubscribe by mail: what comes to the signed address of a List-Unsubscribe field.

Promises: a mail that a person's program sends to that address takes them off, as the one-click POST of the same mail
does, and once only. What no person sent changes nothing: the null reverse path, reports, automatic replies (whoever
mails a list's members from that address would otherwise unsubscribe each who is on holiday).
Fails: ``Refused`` with the reason, for the projection to count or keep.
Source: RFC 2369 §3.2; RFC 3834 §2, §5 (what is automatic); RFC 3464 and RFC 5965 (reports).
"""

from enum import StrEnum
from typing import Final

from hayabin.domain.token import TokenInvalid, TokenProblem, TokenRing, UnsubscribeClaim
from hayabin.domain.verp import read_unsubscribe_address
from services.bounce.inbound import auto_reply_evidence
from services.bounce.mail_tree import read_mail

_AUTOMATIC_SENDERS: Final = frozenset({"mailer-daemon", "postmaster", "noreply", "no-reply"})


class RefusedReason(StrEnum):
    """Why a mail to an unsubscribe address changes nothing."""

    FORGED = "forged"
    """In the form of such an address, and not signed by us."""
    RETIRED_KEY = "retired_key"
    """Signed with a key that is not in the ring: retired too early, or forged."""
    AUTOMATIC = "automatic"
    """A report, an out-of-office note or the like: nobody asks for anything."""
    UNKNOWN_PERSON = "unknown_person"
    """Our signature, and nothing is known of the person any more."""


class Refused(Exception):
    """A mail changes nothing; carries a ``RefusedReason``."""

    def __init__(self, reason: RefusedReason) -> None:
        """Keep the reason."""
        super().__init__(reason.value)
        self.reason = reason


def unsubscribe_claim(content: bytes, mail_from: str, rcpt_to: str, ring: TokenRing) -> UnsubscribeClaim:
    """Whom a mail asks to take off, and which list.

    Raises:
        Refused: it asks nothing.
    """
    try:
        claim = read_unsubscribe_address(rcpt_to, ring)
    except TokenInvalid as error:
        retired = error.reason is TokenProblem.UNKNOWN_KEY
        raise Refused(RefusedReason.RETIRED_KEY if retired else RefusedReason.FORGED) from error
    if _is_automatic(content, mail_from):
        raise Refused(RefusedReason.AUTOMATIC)
    return claim


def _is_automatic(content: bytes, mail_from: str) -> bool:
    if not mail_from or mail_from.partition("@")[0].lower() in _AUTOMATIC_SENDERS:
        return True
    mail = read_mail(content)
    return mail.content_type == "multipart/report" or bool(auto_reply_evidence(mail))
