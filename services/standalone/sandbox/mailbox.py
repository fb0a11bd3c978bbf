"""The mails that the sandbox took: kept as files, listed from memory, bounded in number and size.

Promises: a stored mail is exactly what came over the wire; at ``MAILS_MAX`` mails or ``BYTES_MAX`` bytes the oldest
ones go; a restart finds what is there.
"""

import contextlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage
from email.parser import BytesHeaderParser, BytesParser
from pathlib import Path

from services.standalone.sandbox.journal import Entry, What, read_journal

MAILS_MAX = 30_000
BYTES_MAX = 1 << 30
PER_FOLDER = 1000
HEADER_SHOWN_MAX_CHARS = 500


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
    head = content.partition(b"\r\n\r\n")[0][:65_536]
    message = BytesHeaderParser(policy=policy.default).parsebytes(head + b"\r\n\r\n")
    return Heading(*(_field(message, name) for name in ("Message-ID", "From", "Subject")))


def read_mail(content: bytes) -> EmailMessage:
    """The mail as the standard library understands it."""
    return BytesParser(policy=policy.default).parsebytes(content)


def body_text(message: EmailMessage, kind: str) -> str:
    """The text of the first ``html`` or ``plain`` part; empty where there is none."""
    part = message.get_body((kind,))
    if part is None:
        return ""
    content = part.get_content()
    return content if isinstance(content, str) else ""


def _field(message: EmailMessage, name: str) -> str:
    try:
        return str(message.get(name, ""))[:HEADER_SHOWN_MAX_CHARS]
    except (ValueError, IndexError, AttributeError) as error:  # the standard library's parsers on hostile fields
        return f"({type(error).__name__})"
