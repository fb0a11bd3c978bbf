"""Where `hayabin up` and `hayabin demo` keep things: one folder, and one run of Hayabin in it at a time.

Promises: everything that a run writes stands under the folder's root (see ``reach`` for the one exception, which leaves
a link); two runs never share a folder, and a killed run's claim ends with it.
Fails: ``AlreadyRunning`` names the process that holds the folder.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


class AlreadyRunning(Exception):
    """Another process runs Hayabin in this folder."""


@dataclass(frozen=True, slots=True)
class Places:
    """The folder's layout."""

    root: Path

    @property
    def postgres(self) -> Path:
        """The database: a folder, or a link to where the server's user can reach it."""
        return self.root / "postgres"

    @property
    def logs(self) -> Path:
        """One file for each child process."""
        return self.root / "logs"

    @property
    def sandbox(self) -> Path:
        """What the bundled receiving world wrote down: journal, mails, zone."""
        return self.root / "sandbox"

    @property
    def secrets(self) -> Path:
        """Keys made once for this folder; mode 0600."""
        return self.root / "secrets.json"

    @property
    def ports(self) -> Path:
        """The ports of the last run."""
        return self.root / "ports.json"

    @property
    def lock(self) -> Path:
        """Held by the run that uses the folder."""
        return self.root / "lock"


def open_places(root: Path) -> Places:
    """Make the folder where it is missing.

    Others can not list it. When we are root they may pass through, because the database then runs as another user.
    """
    places = Places(root.absolute())
    places.root.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
    for folder in (places.logs, places.sandbox):
        folder.mkdir(mode=0o700, exist_ok=True)
    return places


@contextmanager
def hold(places: Places) -> Iterator[None]:
    """Keep every other run out of the folder for the length of a ``with`` block.

    Raises:
        AlreadyRunning: somebody else holds it.
    """
    descriptor = os.open(places.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 20).decode("ascii", "replace").strip() or "unknown"
            raise AlreadyRunning(f"Hayabin already runs in {places.root} (process {holder}): stop it first") from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        yield
    finally:
        os.close(descriptor)
