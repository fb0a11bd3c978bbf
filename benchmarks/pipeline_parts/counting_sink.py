"""Debian's ``smtp-sink``, where all mail of the benchmark ends, and how many mails it has taken so far.

Promises: ``mails`` is the sink's own counter, which it writes down at each final dot: one small write a mail, the same
for whoever sends. Where told, each mail is kept as a file too, which is slow and for warming up only.
Fails: ``SystemExit`` where the sink is not installed or does not listen.
"""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support import instances

_PATH = "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"
_BACKLOG = "1024"
_MOST_CONNECTIONS = "1000"
_TAIL_BYTES = 256
_READY_TIMEOUT_S = 10.0
_COUNTER = re.compile(rb"mesg=(\d+)\r")


@dataclass(frozen=True, slots=True)
class CountingSink:
    """A running sink; ``counters`` is the file that it writes its counters into, in the folder of what it keeps."""

    port: int
    pid: int
    counters: Path

    def kept_mails(self) -> list[Path]:
        """List the mails that it keeps, one a file."""
        return sorted(self.counters.parent.glob("mail.*"))

    def mails(self) -> int:
        """Count the mails taken so far, since the sink began."""
        with self.counters.open("rb") as file:
            size_bytes = file.seek(0, os.SEEK_END)
            file.seek(max(0, size_bytes - _TAIL_BYTES))
            return last_count(file.read())


def last_count(tail: bytes) -> int:
    """Find the newest counter in the end of what ``smtp-sink -c`` wrote; one that is cut off is none."""
    found = _COUNTER.findall(tail)
    return int(found[-1]) if found else 0


@contextlib.contextmanager
def counting_sink(port: int, *, keep: bool = False) -> Iterator[CountingSink]:
    """Run a sink on ``port``; what it kept goes with it."""
    folder = instances.new_folder("hayabin-sink-")
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    keeping = ["-d", f"{folder}/mail."] if keep else []
    command = [postfix_program("smtp-sink"), *user, "-c", "-m", _MOST_CONNECTIONS, *keeping]
    counters = folder / "counters"
    try:
        with counters.open("wb") as output:
            process = subprocess.Popen([*command, f"127.0.0.1:{port}", _BACKLOG], stdout=output)
        try:
            _wait_until_it_listens(process, port)
            yield CountingSink(port, process.pid, counters)
        finally:
            process.terminate()
            process.wait()
    finally:
        instances.remove_folder(folder)


def postfix_program(name: str) -> str:
    """Find a program of Debian's package ``postfix``."""
    found = shutil.which(name, path=_PATH)
    if found is None:
        raise SystemExit(f"{name} is missing: `scripts/debian-packages postfix` installs it")
    return found


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int) -> None:
    deadline_s = time.monotonic() + _READY_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline_s:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise SystemExit(f"smtp-sink does not listen on port {port}")
