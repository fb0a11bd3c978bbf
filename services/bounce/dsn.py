"""Delivery status notifications with fields for machines: multipart/report of RFC 3464.

Promises: reads what Postfix, Sendmail, Exim, Exchange, Gmail and the rest send, and what is left of it where a gateway
on the way has damaged it. Each recipient gets one status; where the field is as vague as ``5.0.0`` and the server's
own words hold a better code, that one is taken.
Fails: never; without a single recipient the answer is ``None``.
"""

import re
from typing import Final

from services.bounce.fields import Fields, read_fields
from services.bounce.mail_tree import Part
from services.bounce.original import original_of
from services.bounce.report import Action, Dsn, DsnForm, RecipientStatus

RECIPIENTS_MAX: Final = 100
DIAGNOSTIC_MAX_CHARS: Final = 1000
ADDRESS_MAX_CHARS: Final = 320

_STATUS_TYPES: Final = frozenset({"message/delivery-status", "message/global-delivery-status"})
_STATUS = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?!\d|\.\d)")
# Where the reply was given decides what it means; only the text for people tells.
_PHASE = re.compile(  # Postfix: "(in reply to RCPT TO command)"; Exim: "after RCPT TO:<…>"; Sendmail: ">>> RCPT To:<…>"
    r"in reply to (?:end of DATA|RCPT TO|MAIL FROM|DATA|EHLO|HELO)|after (?:end of data|RCPT TO|MAIL FROM|DATA)"
    r"|>>> (?:RCPT TO|MAIL FROM|DATA|\.(?=\s))",
    re.IGNORECASE,
)


def read_dsn(mail: Part) -> Dsn | None:
    """The DSN that ``mail`` holds, or None where no part has the fields of one.

    Source: RFC 3464 §2; RFC 6533 for message/global-delivery-status.
    """
    part = next((found for found in mail.walk() if found.content_type in _STATUS_TYPES), None)
    if part is None:
        return None
    phase = phase_mark(_text_for_people(mail))
    groups = re.split(r"\n[ \t]*\n", part.text(), maxsplit=RECIPIENTS_MAX + 1)[: RECIPIENTS_MAX + 1]
    recipients = tuple(status for group in groups if (status := _read_recipient(read_fields(group), phase)) is not None)
    return Dsn(DsnForm.RFC3464, recipients, original_of(mail)) if recipients else None


def phase_mark(text: str) -> str:
    """The words that say which command was refused, as Postfix, Exim or Sendmail write them; or the empty string."""
    found = _PHASE.search(text)
    return found[0] if found else ""


def find_status(text: str) -> str | None:
    """The first enhanced status code in ``text`` (RFC 3463 §2)."""
    found = _STATUS.search(text)
    return found[1] if found else None


def one_line(text: str, phase: str = "") -> str:
    """A diagnostic as we keep it: one line, bounded, with the refused command after it if that is not in it already."""
    line = " ".join(text[: 4 * DIAGNOSTIC_MAX_CHARS].split())[:DIAGNOSTIC_MAX_CHARS]
    return f"{line} ({phase})" if phase and phase.lower() not in line.lower() else line


def _text_for_people(mail: Part) -> str:
    """The first part of a report (RFC 6522 §3)."""
    part = next((found for found in mail.walk() if found.content_type == "text/plain" and not found.parts), None)
    return part.text() if part is not None else ""


def _read_recipient(fields: Fields, phase: str) -> RecipientStatus | None:
    """The status of one per-recipient group; None for the per-message group, which has none of its fields."""
    final = fields.first("final-recipient") or fields.first("original-recipient")
    if not final and not fields.first("action") and not fields.first("status"):
        return None
    said = one_line(_without_type(fields.first("diagnostic-code")))
    status = _better(find_status(fields.first("status")), find_status(said))
    return RecipientStatus(
        recipient=_without_type(final).strip("<> ")[:ADDRESS_MAX_CHARS],
        action=_action(fields.first("action"), status),
        status=status,
        diagnostic=one_line(said, phase),
    )


def _without_type(value: str) -> str:
    """``rfc822; taro@example.jp`` without the type (RFC 3464 §2.1.2); values that never had one stay whole."""
    kind, semicolon, rest = value.partition(";")
    return rest.strip() if semicolon and kind.strip().replace("-", "").isalnum() else value.strip()


def _better(field_status: str | None, said_status: str | None) -> str | None:
    """The more telling of Status and the code in Diagnostic-Code; never one of another class."""
    if field_status is None:
        return said_status
    vague = field_status.endswith(".0.0")
    return said_status if vague and said_status is not None and said_status[0] == field_status[0] else field_status


def _action(value: str, status: str | None) -> Action:
    """The Action field; where it is missing or unknown, what the class of the status says."""
    word = value.strip().lower().partition(" ")[0]
    if word in set(Action):
        return Action(word)
    match status[:1] if status else "":
        case "2":
            return Action.DELIVERED
        case "4":
            return Action.DELAYED
        case _:
            return Action.FAILED
