"""The reasons of refusals by name, each with its meaning in a sentence.

Promises: names are stable (they stand in the ledger, in events and in reports); every reason has a meaning.
It cannot fail. Use it through ``hayabin.domain.bounce_reason``.
"""

from enum import StrEnum
from typing import Final


class BounceReason(StrEnum):
    """Why a mail was not taken."""

    USER_UNKNOWN = "user_unknown"
    MAILBOX_FULL = "mailbox_full"
    MAILBOX_DISABLED = "mailbox_disabled"
    DOMAIN_NOT_FOUND = "domain_not_found"
    NULL_MX = "null_mx"
    ADDRESS_SYNTAX = "address_syntax"
    EAI_UNSUPPORTED = "eai_unsupported"
    SENDER_REJECTED = "sender_rejected"
    POLICY_REJECTED = "policy_rejected"
    FILTERED = "filtered"
    SPAM_BLOCKED = "spam_blocked"
    REPUTATION = "reputation"
    CONTENT_REJECTED = "content_rejected"
    MESSAGE_TOO_LARGE = "message_too_large"
    RATE_LIMITED = "rate_limited"
    GREYLISTED = "greylisted"
    AUTH_FAILED = "auth_failed"
    TLS = "tls"
    NETWORK = "network"
    PROTOCOL = "protocol"
    SYSTEM_ERROR = "system_error"
    EXPIRED = "expired"
    UNDEFINED = "undefined"


MEANINGS: Final[dict[BounceReason, str]] = {
    BounceReason.USER_UNKNOWN: "The receiving system has no such mailbox.",
    BounceReason.MAILBOX_FULL: "The mailbox exists and has no room left.",
    BounceReason.MAILBOX_DISABLED: "The mailbox exists and is closed: suspended, deactivated or out of use for long.",
    BounceReason.DOMAIN_NOT_FOUND: "The domain of the address does not exist in the DNS.",
    BounceReason.NULL_MX: "The domain declares that it takes no mail at all.",
    BounceReason.ADDRESS_SYNTAX: "The receiving system does not accept the form of the address.",
    BounceReason.EAI_UNSUPPORTED: "The address has non-ASCII characters and the receiving system lacks SMTPUTF8.",
    BounceReason.SENDER_REJECTED: "The receiving system does not accept our return path.",
    BounceReason.POLICY_REJECTED: "A rule of the receiving system forbids this mail, without saying more.",
    BounceReason.FILTERED: "The recipient's own settings (such as a carrier's domain filter) turned the mail away.",
    BounceReason.SPAM_BLOCKED: "The receiving system takes this mail for spam.",
    BounceReason.REPUTATION: "The receiving system, or a blocklist it asks, thinks ill of our source IP or domain.",
    BounceReason.CONTENT_REJECTED: "Something in the content is not accepted: a virus, an attachment, a broken form.",
    BounceReason.MESSAGE_TOO_LARGE: "The mail is larger than the receiving system accepts.",
    BounceReason.RATE_LIMITED: "We send, or the recipient receives, more per time than the receiving system accepts.",
    BounceReason.GREYLISTED: "The receiving system asks unknown senders to come again later.",
    BounceReason.AUTH_FAILED: "SPF, DKIM, DMARC or reverse DNS of our mail did not pass.",
    BounceReason.TLS: "The encrypted connection that one side asks for did not come about.",
    BounceReason.NETWORK: "The receiving system could not be reached, or the connection broke.",
    BounceReason.PROTOCOL: "One side did not understand the other's commands or replies.",
    BounceReason.SYSTEM_ERROR: "The receiving system is in trouble of its own.",
    BounceReason.EXPIRED: "It was tried until the time for trying was over.",
    BounceReason.UNDEFINED: "The reply does not tell; nothing is concluded about the address.",
}

# Reasons that, given for good, say that the address itself is of no use.
HARD_REASONS: Final = frozenset(
    {
        BounceReason.USER_UNKNOWN,
        BounceReason.MAILBOX_DISABLED,
        BounceReason.DOMAIN_NOT_FOUND,
        BounceReason.NULL_MX,
    },
)
