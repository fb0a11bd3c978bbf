"""The scripted MX's journal: one JSON line for each mail and recipient that it has finally taken.

A line is written before the reply to the dot is given, so what the client was told is in the journal, and what is in
the journal may not have been told (``replied`` is false where that was the script's wish).
"""

import hashlib
import json
import os
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

_MESSAGE_ID = re.compile(rb"^message-id:[ \t\r\n]*(<[^>\r\n]*>)", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Entry:
    """One mail taken for one recipient."""

    ts: float
    listener: str
    peer_ip: str
    ehlo: str
    tls: bool
    mail_from: str
    rcpt_to: str
    size_bytes: int
    sha256: str
    message_id: str
    eml: str
    replied: bool


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the server knows at the final dot."""

    listener: str
    peer_ip: str
    ehlo: str
    tls: bool
    mail_from: str
    recipients: tuple[str, ...]
    content: bytes
    replied: bool


class Journal:
    """Entries in memory, and in a file if asked; mails as files if asked."""

    def __init__(self, path: Path | None = None, *, store: Path | None = None, fsync: bool = False) -> None:
        """Append to ``path``; keep mails as ``store/<sha256>.eml``."""
        self.entries: list[Entry] = []
        self._store = store
        self._fsync = fsync
        self._file: TextIO | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8")
        if store is not None:
            store.mkdir(parents=True, exist_ok=True)

    def write(self, delivery: Delivery) -> None:
        """Take a mail; it is on disk afterwards if ``fsync`` was asked for."""
        digest = hashlib.sha256(delivery.content).hexdigest()
        eml = ""
        if self._store is not None:
            target = self._store / f"{digest}.eml"
            target.write_bytes(delivery.content)
            eml = str(target)
        found = _MESSAGE_ID.search(delivery.content)
        for recipient in delivery.recipients:
            entry = Entry(
                ts=time.time(),
                listener=delivery.listener,
                peer_ip=delivery.peer_ip,
                ehlo=delivery.ehlo,
                tls=delivery.tls,
                mail_from=delivery.mail_from,
                rcpt_to=recipient,
                size_bytes=len(delivery.content),
                sha256=digest,
                message_id=found[1].decode("ascii", "replace") if found else "",
                eml=eml,
                replied=delivery.replied,
            )
            self.entries.append(entry)
            if self._file is not None:
                self._file.write(json.dumps(asdict(entry), ensure_ascii=False) + "\n")
        if self._file is not None:
            self._file.flush()
            if self._fsync:
                os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def read_journal(path: Path) -> list[Entry]:
    """Read a journal that another process writes; a last line without its end is not yet there."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [Entry(**json.loads(line)) for line in text[: text.rfind("\n") + 1].splitlines()]
