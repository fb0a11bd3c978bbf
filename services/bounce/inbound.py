"""Says what an inbound mail is: the most certain kind first.

Promises: any bytes give one of the four kinds of ``report``, in bounded time and memory; text that somebody quotes
never outweighs the structure of the mail.
Fails: never.
"""

import re
from typing import Final

from services.bounce.arf import read_arf
from services.bounce.dsn import read_dsn
from services.bounce.free_text import read_free_text
from services.bounce.mail_tree import Part, read_mail
from services.bounce.report import AutoReply, Report, Unreadable, Unrecognised

_REPLY_FIELDS: Final = ("x-autoreply", "x-autorespond", "x-autoresponder")
_REPLY_SUBJECT = re.compile(
    r"^\s*(?:re:\s*)?(?:out of (?:the )?office|auto(?:matic)?[ -]?(?:reply|response|answer)|vacation"
    r"|自動(?:返信|応答|送信)|不在)",
    re.IGNORECASE,
)


def parse_inbound(content: bytes) -> Report:
    """What ``content``, a mail as received, is.

    Source: RFC 3464 (DSN), RFC 5965 (ARF), RFC 3834 (automatic replies); see ``free_text`` for what has no RFC.
    """
    mail = read_mail(content)
    if not mail.fields.values:
        return Unrecognised(Unreadable.EMPTY)
    report = read_arf(mail) or read_dsn(mail) or read_free_text(mail)
    if report is not None:
        return report
    evidence = auto_reply_evidence(mail)
    if evidence:
        return AutoReply(evidence)
    claims_report = mail.content_type == "multipart/report"
    return Unrecognised(Unreadable.REPORT_WITHOUT_STATUS if claims_report else Unreadable.NO_REPORT)


def auto_reply_evidence(mail: Part) -> str:
    """The field that shows that no person wrote this, or the empty string (RFC 3834 §5)."""
    submitted = mail.fields.first("auto-submitted").strip().lower()
    if submitted and not submitted.startswith("no"):
        return "auto-submitted"
    if mail.fields.first("precedence").strip().lower() in {"auto_reply", "auto-reply"}:
        return "precedence"
    for name in _REPLY_FIELDS:
        if mail.fields.first(name):
            return name
    return "subject" if _REPLY_SUBJECT.search(mail.fields.first_decoded("subject")) else ""
