"""What a report quotes of the mail that it is about: the enclosed message or header, or lines of it in free text.

Promises: gives Return-Path and Message-ID as quoted, bounded; whether they are ours is for ``match`` to say.
Fails: never; what is not quoted is the empty string.
"""

import re
from typing import Final

from services.bounce.fields import read_fields
from services.bounce.mail_tree import Part
from services.bounce.report import OriginalMail

_QUOTED_MAX_CHARS: Final = 320
_HEADER_LINE = re.compile(r"^[> \t]*((?:message-id|return-path):.{1,400})$", re.IGNORECASE | re.MULTILINE)


def original_of(mail: Part) -> OriginalMail:
    """Return-Path and Message-ID of the enclosed mail; of the text after our own marks where nothing is enclosed."""
    enclosed = next((part for part in mail.walk() if part.is_enclosed_mail() and part.parts), None)
    if enclosed is not None:
        fields = enclosed.parts[0].fields
        found = _bounded(fields.first("return-path"), fields.first("message-id"))
        if found != OriginalMail():
            return found
    return original_in_text("\n".join(part.text() for part in mail.walk() if part.content_type == "text/plain"))


def original_in_text(text: str) -> OriginalMail:
    """The same two fields where a mailer daemon has pasted the header into its text."""
    fields = read_fields("\n".join(line[1] for line in _HEADER_LINE.finditer(text)))
    return _bounded(fields.first("return-path"), fields.first("message-id"))


def _bounded(return_path: str, message_id: str) -> OriginalMail:
    return OriginalMail(return_path.strip("<> ")[:_QUOTED_MAX_CHARS], message_id.strip()[:_QUOTED_MAX_CHARS])
