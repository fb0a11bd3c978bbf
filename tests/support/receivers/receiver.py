"""One running receiver: its place, its process, its journal.

Promises: ``journal`` is what the server itself stored, not what it said; ``tail`` is what its logs say.
Fails as ``maildir`` does.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from socket import create_connection

from tests.support.instances import LOG_TAIL_BYTES, KeptServer
from tests.support.receivers import maildir
from tests.support.receivers.maildir import StoredMail
from tests.support.receivers.place import Place
from tests.support.receivers.tree import let_us_read


@dataclass(frozen=True, slots=True)
class Receiver:
    """See the module; ``maildir`` is where the server stores, ``queues`` the folders of what is not yet stored.

    ``logs`` are files that it writes beside its output.
    """

    place: Place
    server: KeptServer
    maildir: Path
    queues: tuple[Path, ...] = ()
    logs: tuple[Path, ...] = ()

    def queued(self) -> int:
        """Count the files of mails that the server took and has not stored yet."""
        count = 0
        for queue in self.queues:
            let_us_read(queue)
            count += sum(len(files) for _, _, files in os.walk(queue))
        return count

    def stored(self) -> int:
        """Count what is stored by now."""
        let_us_read(self.maildir)
        return maildir.count(self.maildir)

    def journal(self) -> list[StoredMail]:
        """Read all that is stored by now."""
        let_us_read(self.maildir)
        return maildir.read(self.maildir)

    def tail(self) -> str:
        """Give the end of the server's logs."""
        ends = [path.read_bytes()[-LOG_TAIL_BYTES:] for path in (self.server.log, *self.logs) if path.exists()]
        return b"\n".join(ends).decode("utf-8", "replace")


def greets(place: Place) -> Callable[[], bool]:
    """Give the question whether a server at that place says 220."""

    def ask() -> bool:
        with suppress(OSError), create_connection((place.address, place.port), timeout=5) as probe:
            greeting = probe.recv(512)
            probe.sendall(b"QUIT\r\n")
            return greeting.startswith(b"220")
        return False

    return ask
