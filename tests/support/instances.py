"""What private PostgreSQL and RabbitMQ instances share: a folder, an unprivileged user, free ports, a kept process.

Promises: a server runs as a user without privileges (``nobody`` when we are root), in a folder of mode 0700 that only
that user reads, on ports of 127.0.0.1; when the program that started it ends in any way, the server and its folder go
too (see ``keeper``). Fails with ``ServerMissing`` when the software is not installed and with ``ServerFailed``, which
quotes the end of the server's log, when it does not get ready in time.
"""

import contextlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import keeper

# Below the range that Linux gives to outgoing connections (32768-60999): a port stays free between stop and start.
# Test processes that run side by side have a share each, since a port is taken a while after it was found to be free.
SHARE = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
SHARES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
PORTS = range(18000 + SHARE, 32000, SHARES)
_GIVEN: set[int] = set()
LOG_TAIL_BYTES = 4000
MEMORY = "/dev/shm"  # noqa: S108 - a folder of ours is made in it
MEMORY_FREE_BYTES = 4 * 1024**3


class ServerMissing(RuntimeError):
    """The server software is not installed."""


class ServerFailed(RuntimeError):
    """The server did not start, or did not answer in time."""


@dataclass(frozen=True)
class Launch:
    """How a server is started and stopped.

    Units: ``ready_timeout_s`` and ``stop_timeout_s`` are seconds.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]
    ready: Callable[[], bool]
    stop_signal: signal.Signals
    ready_timeout_s: float = 60.0
    stop_timeout_s: float = 30.0
    gives_up_root: bool = False  # where we are root it is started as root, and drops its privileges itself


@dataclass
class KeptServer:
    """One server in one folder, which can be stopped, killed and started again."""

    folder: Path
    launch: Launch
    _keeper: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def log(self) -> Path:
        """The file with what the server wrote to its standard output and error."""
        return self.folder / "server.log"

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended, by us or by itself."""
        return self._keeper is not None and self._keeper.poll() is None

    def start(self) -> None:
        """Start the server, unless it runs, and return when it answers.

        Raises: ``ServerFailed``.
        """
        if self.running:
            return
        options = [str(self.folder), str(int(self.launch.stop_signal)), str(self.launch.stop_timeout_s)]
        command = as_ourselves(self.launch.command) if self.launch.gives_up_root else as_user(self.launch.command)
        with self.log.open("ab") as log:
            self._keeper = subprocess.Popen(
                [sys.executable, "-S", "-E", keeper.__file__, *options, *command],
                cwd=self.folder,
                env=dict(self.launch.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C is for us, not for the server
            )
        self._wait_until_ready()

    def stop(self) -> None:
        """Stop the server in an orderly way; its data stays for the next ``start``."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL every process of the server at once, as a power cut would; its data stays as it was."""
        self._end(signal.SIGUSR1)

    def process_ids(self) -> list[int]:
        """List the ids of the server's processes, for measuring; the keeper is not one of them."""
        return keeper.descendants(self._keeper.pid) if self._keeper else []

    def _end(self, how: signal.Signals) -> None:
        """Tell the keeper how to end the server and wait until it did."""
        if self._keeper is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._keeper.send_signal(how)
        self._keeper.wait(timeout=self.launch.stop_timeout_s + 10)
        self._keeper = None

    def _wait_until_ready(self) -> None:
        """Poll the server until it answers; end it when it does not."""
        deadline = time.monotonic() + self.launch.ready_timeout_s
        while not self.launch.ready():
            ended = self._keeper is None or self._keeper.poll() is not None
            if ended or time.monotonic() > deadline:
                self.kill()
                tail = self.log.read_bytes()[-LOG_TAIL_BYTES:].decode("utf-8", "replace")
                why = "ended" if ended else f"did not answer within {self.launch.ready_timeout_s:.0f} s"
                raise ServerFailed(f"{self.launch.command[0]} {why}; its log ends with:\n{tail}")
            time.sleep(0.05)


def server_user() -> pwd.struct_passwd:
    """Return the user that servers run as: ourselves, or ``nobody`` when we are root."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())


def as_user(command: tuple[str, ...]) -> list[str]:
    """Prefix a command so that it runs without privileges and is killed when its parent dies."""
    user = server_user()
    privileges = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"] if os.geteuid() == 0 else []
    return ["setpriv", *privileges, "--pdeathsig", "KILL", "--", *command]


def as_ourselves(command: tuple[str, ...]) -> list[str]:
    """Prefix a command so that it is killed when its parent dies, and keeps the privileges that we have."""
    return ["setpriv", "--pdeathsig", "KILL", "--", *command]


def own(path: Path) -> None:
    """Give a file or folder to the user that servers run as."""
    user = server_user()
    os.chown(path, user.pw_uid, user.pw_gid)


def new_folder(prefix: str, *, in_memory: bool = False) -> Path:
    """Make a folder of mode 0700 that the server's user owns and can reach; in memory, where that is asked and goes."""
    place = MEMORY if in_memory and _has_room(MEMORY) else reachable_temporary_folder()
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
    own(folder)
    return folder


def _has_room(place: str) -> bool:
    """Tell whether a place is there for everybody and large enough for a server of a test session."""
    try:
        return os.access(place, os.W_OK | os.X_OK) and shutil.disk_usage(place).free >= MEMORY_FREE_BYTES
    except FileNotFoundError:
        return False


def remove_folder(folder: Path) -> None:
    """Remove an instance's folder with all that is in it."""
    shutil.rmtree(folder, ignore_errors=True)


def reachable_temporary_folder() -> Path:
    """Find a temporary folder that every user may enter; a private TMPDIR is no use to another user."""
    for name in (tempfile.gettempdir(), "/tmp", "/var/tmp"):  # noqa: S108
        folder = Path(name).resolve()
        if os.geteuid() != 0 or all(parent.stat().st_mode & 0o001 for parent in (folder, *folder.parents)):
            return folder
    raise ServerFailed("no temporary folder can be entered by other users")


def free_port() -> int:
    """Find a port of 127.0.0.1 that nobody listens on, and that was not given before: it may not be taken yet."""
    left = [port for port in PORTS if port not in _GIVEN]
    for port in random.SystemRandom().sample(left, min(200, len(left))):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            _GIVEN.add(port)
            return port
    raise ServerFailed(f"no free port between {PORTS.start} and {PORTS.stop}")


def base_environment(home: Path) -> dict[str, str]:
    """Return the whole environment of a server: nothing of ours leaks into it."""
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "HOME": str(home), "LANG": "C.UTF-8", "TMPDIR": str(home)}
