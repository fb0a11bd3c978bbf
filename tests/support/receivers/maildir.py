"""What a receiver stored, read from its Maildir.

Promises: each file is one mail for one recipient, in the order of nothing; ends of lines are LF, as servers on Unix
store them; what a server writes above the mail's own ``Message-ID`` is taken for its trace and is not content.
Fails with ``ValueError`` for a file that names no recipient or has no Message-ID.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

# How the servers write down the envelope's recipient: Exim in the first way, the others in the second.
_RECIPIENT = re.compile(rb"^(?:Envelope-to|Delivered-To): *(\S+)$", re.MULTILINE)
_OWN_BEGIN = re.compile(rb"^Message-ID: *(\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class StoredMail:
    """A mail as it was stored: ``sha256`` is that of its content, see ``content_digest``."""

    message_id: str
    recipient: str
    sha256: str


def content_digest(content: bytes) -> str:
    """Give the SHA-256 of a mail that begins with its Message-ID, whatever its ends of lines."""
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()


def count(maildir: Path) -> int:
    """Tell how many mails are stored."""
    new = maildir / "new"
    return sum(1 for _ in new.iterdir()) if new.is_dir() else 0


def read(maildir: Path) -> list[StoredMail]:
    """Read all mails.

    Raises: ValueError
    """
    return [_stored(path) for path in (maildir / "new").iterdir()]


def _stored(path: Path) -> StoredMail:
    content = path.read_bytes().replace(b"\r\n", b"\n")
    own = _OWN_BEGIN.search(content)
    recipient = _RECIPIENT.search(content, 0, own.start() if own else 0)
    if own is None or recipient is None:
        raise ValueError(f"{path.name} has no {'recipient' if own else 'Message-ID'}: {content[:500]!r}")
    return StoredMail(own[1].decode(), recipient[1].decode(), content_digest(content[own.start() :]))
