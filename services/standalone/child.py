"""One child process: how it is started, when it is ready, how it is stopped.

Promises: a child dies with the process that started it (parent-death signal, set by ``setpriv``), writes to its own log
file, and is killed when it does not stop in time.
Fails: ``ChildFailed`` says which child did not get ready and why, with the end of its log.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from services.standalone.reach import ServerUser

LOG_MAX_BYTES = 5_000_000
LOG_TAIL_LINES = 15
LOOK_EVERY_S = 0.05

Ready = Callable[[], Awaitable[str]]
"""Says why the child is not ready; an empty text when it is."""


class ChildFailed(Exception):
    """A child process did not start, or did not get ready in time."""


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What is started, and how it is stopped.

    Units: seconds. ``wave`` orders the stop: lower waves are stopped, and gone, before higher ones are told.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    log: Path
    ready: Ready
    wave: int
    user: ServerUser
    stop_signal: signal.Signals = signal.SIGTERM
    orphan_signal: signal.Signals = signal.SIGKILL
    start_timeout_s: float = 90.0
    stop_timeout_s: float = 12.0


class Child:
    """A child process that may be started again."""

    def __init__(self, spec: ChildSpec) -> None:
        """Describe it; nothing is started."""
        self.spec = spec
        self.started_at = 0.0
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Its process id, 0 when it does not run."""
        return self._process.pid if self._process is not None and self._process.returncode is None else 0

    async def start(self, group: int) -> None:
        """Start it in the process group ``group``; 0 makes a new group with the child's own id.

        Raises:
            ChildFailed: the command can not be executed.
        """
        if shutil.which("setpriv") is None:
            raise ChildFailed("the command setpriv (package util-linux) is needed to leave no process behind")
        death = ("--pdeathsig", self.spec.orphan_signal.name.removeprefix("SIG"))
        _rotate(self.spec.log)
        with self.spec.log.open("ab") as log:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    "setpriv", *self.spec.user.prefix(), *death, "--", *self.spec.command,
                    cwd=self.spec.folder, env=dict(self.spec.environment), process_group=group,
                    stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                )  # fmt: skip
            except OSError as error:
                raise ChildFailed(f"{self.spec.name} can not be started: {error}") from error
        self.started_at = time.monotonic()

    async def wait_until_ready(self) -> None:
        """Return when the child answers as ready.

        Raises:
            ChildFailed: it ended, or did not get ready in time.
        """
        deadline = time.monotonic() + self.spec.start_timeout_s
        while problem := await self.spec.ready():
            if not self.pid:
                raise ChildFailed(self._failure(f"ended with status {await self.wait()}"))
            if time.monotonic() > deadline:
                raise ChildFailed(self._failure(f"was not ready after {self.spec.start_timeout_s:.0f} s ({problem})"))
            await asyncio.sleep(LOOK_EVERY_S)

    async def wait(self) -> int:
        """Wait for the end; returns the exit status."""
        return await self._process.wait() if self._process is not None else 0

    async def stop(self, hurry: asyncio.Event) -> bool:
        """Stop it in its own way, and kill it when it takes too long or ``hurry`` is set; False where it was killed."""
        if self._process is None or not self.pid:
            return True
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(self.spec.stop_signal)
        ended = asyncio.create_task(self._process.wait())
        hurried = asyncio.create_task(hurry.wait())
        await asyncio.wait({ended, hurried}, timeout=self.spec.stop_timeout_s, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if ended.done():
            return True
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await ended
        return False

    def _failure(self, what: str) -> str:
        tail = "\n".join(f"    {line}" for line in log_tail(self.spec.log))
        return f"{self.spec.name} {what}; {self.spec.log} ends with:\n{tail}"


def log_tail(log: Path, lines: int = LOG_TAIL_LINES) -> list[str]:
    """The last lines of a log, each cut to a readable length."""
    if not log.exists():
        return []
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 64_000), os.SEEK_SET)
        return [line.decode("utf-8", "replace").rstrip()[:1000] for line in deque(file, maxlen=lines)]


def _rotate(log: Path) -> None:
    if log.exists() and log.stat().st_size > LOG_MAX_BYTES:
        log.replace(log.with_suffix(".log.1"))
