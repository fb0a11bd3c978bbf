"""What the sandbox did, written down by itself: one JSON object a line, in the order in which it happened.

Promises: an entry is in the file before the reply that it tells of is on the wire; it knows nothing of Hayabin's
ledger, so that the two can be compared. A half-written last line (the sandbox was killed) is skipped by readers.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path


class What(StrEnum):
    """What an entry tells of."""

    ACCEPTED = "accepted"
    DEFERRED = "deferred"
    REJECTED = "rejected"
    DSN_SENT = "dsn_sent"
    COMPLAINT_SENT = "complaint_sent"
    REPORT_LOST = "report_lost"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened to one recipient of one mail.

    Units: ``at`` is Unix time; ``mail`` numbers the stored mail, 0 where none was stored.
    """

    what: What
    recipient: str
    sender: str
    reply: str
    mail: int = 0
    message_id: str = ""
    header_from: str = ""
    subject: str = ""
    size_bytes: int = 0
    server: str = ""
    peer: str = ""
    ehlo: str = ""
    at: float = field(default_factory=time.time)


class Journal:
    """The open journal."""

    def __init__(self, path: Path) -> None:
        """Append to ``path``."""
        self._file = path.open("ab", buffering=0)

    def write(self, entry: Entry) -> None:
        """Append one entry."""
        self._file.write(json.dumps(asdict(entry), ensure_ascii=False).encode() + b"\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_journal(path: Path, offset: int = 0) -> Iterator[Entry]:
    """The entries from a byte offset on; an offset is a file size of earlier, so that one run's part can be read."""
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if line.endswith(b"\n"):
                fields = json.loads(line)
                yield Entry(**{**fields, "what": What(fields["what"])})
