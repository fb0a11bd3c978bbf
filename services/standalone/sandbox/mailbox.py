"""The mails that the sandbox took: kept as files, listed from memory, bounded in number and size.

Promises: a stored mail is exactly what came over the wire; at ``MAILS_MAX`` mails or ``BYTES_MAX`` bytes the oldest
ones go; a restart finds what is there.
"""

import contextlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from pathlib import Path

from services.standalone.sandbox.journal import Entry, What, read_journal

MAILS_MAX = 30_000
BYTES_MAX = 1 << 30
PER_FOLDER = 1000
HEADER_MAX_BYTES = 65_536
HEADER_SHOWN_MAX_CHARS = 2000


@dataclass(frozen=True, slots=True)
class Heading:
    """What the header fields say."""

    message_id: str
    header_from: str
    subject: str


class Mailbox:
    """Every recipient's mails in one place."""

    def __init__(self, folder: Path, journal: Path) -> None:
        """Find what earlier runs stored and ``journal`` tells of."""
        self._folder = folder
        self._entries: OrderedDict[int, Entry] = OrderedDict()
        self._bytes = 0
        self._last = 0
        folder.mkdir(mode=0o700, exist_ok=True)
        for entry in read_journal(journal):
            if entry.what is What.ACCEPTED:
                self._last = max(self._last, entry.mail)
                if self.path(entry.mail).exists():
                    self.add(entry)

    def path(self, mail: int) -> Path:
        """Where a mail is kept."""
        return mail_path(self._folder, mail)

    def store(self, content: bytes) -> int:
        """Keep the content; returns the mail's number."""
        self._last += 1
        path = self.path(self._last)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return self._last

    def add(self, entry: Entry) -> None:
        """List a stored mail, and let the oldest go where there are too many."""
        self._entries[entry.mail] = entry
        self._bytes += entry.size_bytes
        while len(self._entries) > MAILS_MAX or self._bytes > BYTES_MAX:
            oldest, gone = self._entries.popitem(last=False)
            self._bytes -= gone.size_bytes
            with contextlib.suppress(FileNotFoundError):
                self.path(oldest).unlink()

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, search: str = "") -> Iterator[Entry]:
        """Newest first: the mails whose recipient, subject or author contains every word of ``search``."""
        words = search.casefold().split()
        for entry in reversed(self._entries.values()):
            text = f"{entry.recipient} {entry.subject} {entry.header_from}".casefold()
            if all(word in text for word in words):
                yield entry

    def entry(self, mail: int) -> Entry | None:
        """The entry of a mail that is still kept."""
        return self._entries.get(mail)

    def content(self, mail: int) -> bytes | None:
        """The mail as it came, if it is still kept."""
        return self.path(mail).read_bytes() if mail in self._entries else None


def mail_path(folder: Path, mail: int) -> Path:
    """Where the mail of that number stands below the mailbox's folder."""
    return folder / str(mail // PER_FOLDER) / f"{mail}.eml"


def heading_of(content: bytes) -> Heading:
    """Read the header fields that lists show; odd ones come out as they are."""
    message = message_from_bytes(content.partition(b"\r\n\r\n")[0][:HEADER_MAX_BYTES] + b"\r\n\r\n")
    return Heading(*(header_text(message, name) for name in ("Message-ID", "From", "Subject")))


def read_mail(content: bytes) -> Message:
    """The mail as the standard library understands it, in the way that raises on nothing."""
    return message_from_bytes(content)


def header_text(message: Message, name: str) -> str:
    """A header field with its encoded words decoded; as it came where they can not be.

    Source: RFC 2047 §6.2.
    """
    raw = str(message.get(name, ""))[:HEADER_SHOWN_MAX_CHARS]
    if "=?" not in raw:
        return raw.replace("\r\n", "")
    try:
        return str(make_header(decode_header(raw)))
    except (HeaderParseError, LookupError, ValueError):
        return raw


def body_text(message: Message, kind: str) -> str:
    """The text of the first ``text/<kind>`` part; empty where there is none."""
    for part in message.walk():
        if part.get_content_type() == f"text/{kind}" and part.get_content_disposition() != "attachment":
            payload = part.get_payload(decode=True)
            text = payload if isinstance(payload, bytes) else b""
            try:
                return text.decode(part.get_content_charset("utf-8"), "replace")
            except LookupError:
                return text.decode("utf-8", "replace")
    return ""
