"""What inbound mail can be: a delivery status, a complaint, an automatic reply, or nothing that we know.

Promises: these are plain facts as the mail states them. Nothing here is trusted until ``match`` has found our own
signature in it.
"""

from dataclasses import dataclass
from enum import StrEnum


class Action(StrEnum):
    """What became of the mail, by RFC 3464 §2.3.3."""

    FAILED = "failed"
    """Given up for good."""
    DELAYED = "delayed"
    """Still being tried: a warning, no bounce."""
    DELIVERED = "delivered"
    """A success, reported because somebody asked."""
    RELAYED = "relayed"
    """Passed on to a system that sends no such reports."""
    EXPANDED = "expanded"
    """Passed on to the members of a list."""


class DsnForm(StrEnum):
    """How a report of non-delivery was written; for counting."""

    RFC3464 = "rfc3464"
    """A multipart/report with fields for machines."""
    QMAIL = "qmail"
    """The free text of qmail and its descendants (QSBMF)."""
    EXIM = "exim"
    """The free text of Exim before 4.85, or with its report part lost."""
    EXCHANGE = "exchange"
    """The free text of Exchange, its report part lost on the way."""
    JAPANESE_CARRIER = "japanese_carrier"
    """The free text of a Japanese mobile carrier or provider."""
    OTHER = "other"
    """Free text of another mailer daemon."""


class FeedbackType(StrEnum):
    """What a feedback report says, by RFC 5965 §7.3 and the IANA registry."""

    ABUSE = "abuse"
    """The recipient called it spam."""
    FRAUD = "fraud"
    """The recipient called it fraud or phishing."""
    OPT_OUT = "opt-out"
    """The recipient wants no more of it; of early drafts, still in use."""
    NOT_SPAM = "not-spam"
    """The recipient took it out of the spam folder (RFC 6430)."""
    AUTH_FAILURE = "auth-failure"
    """A report on SPF, DKIM or DMARC (RFC 6591)."""
    VIRUS = "virus"
    """The provider saw a virus in it."""
    OTHER = "other"
    """Everything else, also types that we do not know (RFC 5965 §3.4)."""


@dataclass(frozen=True, slots=True)
class OriginalMail:
    """What a report quotes of the mail that it is about; empty strings where it quotes nothing."""

    return_path: str = ""
    message_id: str = ""


@dataclass(frozen=True, slots=True)
class RecipientStatus:
    """What a report says of one recipient."""

    recipient: str
    """Final-Recipient, else Original-Recipient, without its type; may be empty."""
    action: Action
    status: str | None
    """Enhanced status code (RFC 3463), such as ``5.1.1``."""
    diagnostic: str
    """What the remote server said, and at which command where the report tells; bounded, on one line."""


@dataclass(frozen=True, slots=True)
class Dsn:
    """A report of non-delivery, or of delay or success. Source: RFC 3464."""

    form: DsnForm
    recipients: tuple[RecipientStatus, ...]
    """At least one."""
    original: OriginalMail


@dataclass(frozen=True, slots=True)
class Arf:
    """A report of a feedback loop. Source: RFC 5965."""

    feedback_type: FeedbackType
    original_mail_from: str
    """Original-Mail-From without angle brackets, or the empty string."""
    original: OriginalMail


@dataclass(frozen=True, slots=True)
class AutoReply:
    """An out-of-office note or another machine's answer; it says nothing about the address."""

    evidence: str
    """The header field, or ``subject``, that gave it away."""


class Unreadable(StrEnum):
    """Why inbound mail is none of the kinds that we know."""

    EMPTY = "empty"
    """No header field at all: binary, or cut before it began."""
    REPORT_WITHOUT_STATUS = "report_without_status"
    """Says that it is a report, but its fields for machines are missing or empty."""
    NO_REPORT = "no_report"
    """A mail as people write it, or a kind of report that we can not read."""


@dataclass(frozen=True, slots=True)
class Unrecognised:
    """Mail that changes nothing, and is kept for a look."""

    reason: Unreadable


Report = Dsn | Arf | AutoReply | Unrecognised
