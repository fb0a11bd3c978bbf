"""Feedback-loop reports: a provider tells that a recipient pressed "this is spam" (RFC 5965).

Promises: reads the machine-readable part and what is quoted of the reported mail.
Fails: never; without a feedback-report part the answer is ``None``.
"""

from services.bounce.fields import read_fields
from services.bounce.mail_tree import Part
from services.bounce.original import original_of
from services.bounce.report import Arf, FeedbackType

_ADDRESS_MAX_CHARS = 320
_SYNONYMS = {"opt-out-list": FeedbackType.OPT_OUT, "optout": FeedbackType.OPT_OUT, "dmarc": FeedbackType.AUTH_FAILURE}


def read_arf(mail: Part) -> Arf | None:
    """The feedback report that ``mail`` holds, or None.

    Source: RFC 5965 §2 (form), §3 (fields), §7.3 (types).
    """
    part = next((found for found in mail.walk() if found.content_type == "message/feedback-report"), None)
    if part is None:
        return None
    fields = read_fields(part.text().lstrip("\n"))
    word = fields.first("feedback-type").strip().lower()
    feedback_type = FeedbackType(word) if word in set(FeedbackType) else _SYNONYMS.get(word, FeedbackType.OTHER)
    mail_from = fields.first("original-mail-from").strip("<> ")[:_ADDRESS_MAX_CHARS]
    return Arf(feedback_type, mail_from, original_of(mail))
