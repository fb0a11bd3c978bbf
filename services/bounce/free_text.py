"""Reports of non-delivery written for people alone: qmail, old Exim and Exchange, Japanese carriers, home-made daemons.

Promises: only a mail that a mailer daemon signs as its author is read this way, so that a person who quotes an error is
not taken for one. The failed address, the server's words and a status code are taken where they stand in the text.
Fails: never; a text without any sign of failure or delay gives ``None``.

``FORMS`` is the knowledge: one line for each daemon whose words we know. Others are read by the general phrases.
"""

import re
from collections.abc import Callable
from typing import Final

from services.bounce.dsn import ADDRESS_MAX_CHARS, find_status, one_line, phase_mark
from services.bounce.mail_tree import Part
from services.bounce.original import original_of
from services.bounce.report import Action, Dsn, DsnForm, RecipientStatus

LINES_MAX: Final = 400
_DIAGNOSTIC_LINES: Final = 4

_DAEMON = re.compile(
    r"mailer[-_ ]?daemon|postmaster|mail[ -]?delivery|mail administrator|mail(?:er)? system|microsoft outlook",
    re.IGNORECASE,
)

FORMS: Final = (
    # "Hi. This is the qmail-send program at mx.example.jp."
    (DsnForm.QMAIL, re.compile(r"this is the qmail-send program|this is the \S{1,60} program at \S", re.IGNORECASE)),
    # "This message was created automatically by mail delivery software (Exim)."
    (DsnForm.EXIM, re.compile(r"created automatically by (?:the )?mail delivery software", re.IGNORECASE)),
    # "Your message did not reach some or all of the intended recipients." / "Delivery has failed to these recipients"
    (
        DsnForm.EXCHANGE,
        re.compile(
            r"did not reach (?:some or all of )?the (?:intended|following) recipient|delivery has failed to these recip"
            r"|以下の受信者またはグループへの配信に失敗しました|次の受信者または配布リストへの配信に失敗しました",
            re.IGNORECASE,
        ),
    ),
)
_JAPANESE_CARRIER = re.compile(
    r"@(?:[a-z0-9-]{1,60}\.)*(?:docomo\.ne\.jp|ezweb\.ne\.jp|au\.com|softbank\.ne\.jp|softbank\.jp|ymobile\.ne\.jp)\b",
    re.IGNORECASE,
)

# Where the daemon's words end and the copy of our own mail begins.
_COPY_BEGINS = re.compile(
    r"^(?:-{2,20}.{0,40}(?:below this line is a copy|this is a copy of|original message|message header"
    r"|undelivered message|元のメッセージ|送信メッセージ).*"
    r"|original message headers?:.*|received: .*|return-path: .*)$",
    re.IGNORECASE | re.MULTILINE,
)
_DELAYED = re.compile(
    r"will keep trying|will be retried|will continue to be (?:made|tried)|has not yet been delivered"
    r"|delivery is delayed|delayed mail|warning message only|do not need to resend|配送が遅延|配信が遅れ|再送を試み",
    re.IGNORECASE,
)
_FAILED = re.compile(
    r"user unknown|unknown user|no such user|no mailbox here|does(?: not|n't) exist|not found|unknown address"
    r"|over ?quota|quota exceeded|mailbox (?:is )?full|(?:could not|couldn't|cannot|can't|unable to) (?:be )?deliver"
    r"|wasn't able to deliver|undeliver|permanent (?:error|failure)|delivery (?:has )?failed|rejected|refused"
    r"|not allowed|存在しません|存在しない|見つかりません|届きませんでした|配信できません|配送できません|送信できません"
    r"|送信できなかった|お届けできません|受信できません|受信拒否|容量|いっぱい|宛先不明",
    re.IGNORECASE,
)
_CODE_LINE = re.compile(r"(?<![\d.:/-])[45][0-5]\d[ -]\S|\(?#[45]\.\d{1,3}\.\d{1,3}")
_ADDRESS = re.compile(r"<?([^\s<>()\[\],;:\"]{1,64}@[A-Za-z0-9.-]{1,253}\.[A-Za-z0-9-]{2,63})>?")


def read_free_text(mail: Part) -> Dsn | None:
    """The DSN that a mailer daemon wrote in plain words, or None where ``mail`` is nothing of the kind."""
    author = f"{mail.fields.first_decoded('from')} {mail.fields.first_decoded('sender')}"
    marked = mail.fields.first("x-failed-recipients")
    if not marked and _DAEMON.search(author) is None:
        return None
    text = _plain_words(mail)
    cut = _COPY_BEGINS.search(text)
    words = text[: cut.start()] if cut else text
    lines = [line.strip() for line in words.split("\n", LINES_MAX)[:LINES_MAX]]
    action = _action(f"{mail.fields.first_decoded('subject')}\n{words}")
    if action is None:
        return None
    recipient = _recipient(marked or words)
    said = _diagnostic(lines, recipient)
    status = RecipientStatus(recipient, action, find_status(said), one_line(said, phase_mark(words)))
    return Dsn(_form(words, author), (status,), original_of(mail))


def _plain_words(mail: Part) -> str:
    """The first text part; HTML with its tags taken out where there is nothing else."""
    for wanted in ("text/plain", "text/html"):
        for part in mail.walk():
            if part.content_type == wanted and not part.parts:
                text = part.text()
                return text if wanted == "text/plain" else re.sub(r"<[^<>]{0,2000}>", "\n", text)
    return ""


def _action(words: str) -> Action | None:
    """Delayed, failed, or neither; delay goes first, since warnings quote the error that they wait for."""
    if _DELAYED.search(words):
        return Action.DELAYED
    return Action.FAILED if _FAILED.search(words) or _CODE_LINE.search(words) else None


def _form(words: str, author: str) -> DsnForm:
    for form, mark in FORMS:
        if mark.search(words):
            return form
    return DsnForm.JAPANESE_CARRIER if _JAPANESE_CARRIER.search(author) else DsnForm.OTHER


def _recipient(words: str) -> str:
    """The first address in the daemon's words, which in all forms that we know is the failed one."""
    found = _ADDRESS.search(words)
    return found[1][:ADDRESS_MAX_CHARS] if found else ""


def _diagnostic(lines: list[str], recipient: str) -> str:
    """The server's words: from the most telling line that there is to the end of its paragraph."""
    tests: tuple[Callable[[str], object], ...] = (
        _CODE_LINE.search,
        lambda line: recipient and recipient in line and line.endswith(":"),  # qmail: "<taro@example.jp>:"
        _FAILED.search,
        lambda line: recipient and recipient in line,
    )
    at = next((n for test in tests for n, line in enumerate(lines) if test(line)), None)
    if at is None:
        return ""
    taken = []
    for line in lines[at : at + _DIAGNOSTIC_LINES]:
        if not line:
            break
        taken.append(line)
    return " ".join(taken)
