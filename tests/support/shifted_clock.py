"""A wall clock of its own for single processes, through libfaketime (Debian's package ``faketime``).

Promises: a process started with ``environment`` (or ``python_environment``) beside its own sees the time of day shifted
by so many seconds, and so do its children; ``shift`` lets the clock jump under running processes, which look once a
second; timers and timeouts, which are monotonic, do not move; the times of files are the true ones.
Fails: ``ServerMissing`` when the library is not installed. A program other than Python that sleeps until a moment of the
monotonic clock (``clock_nanosleep`` with ``TIMER_ABSTIME``) gets EINVAL: libfaketime 0.9.10 cannot do that. And inside
a signal handler that interrupted a wait the clock is the true one, so PostgreSQL's own timeouts (statement, lock,
deadlock) come in time only where its clock is behind the true one, and only while one of them runs: let it start behind
and jump forward, or shift everybody else.
"""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import instances
from tests.support.instances import ServerMissing

# A process looks at the file at most once a second, and libfaketime counts whole ones: by then a jump has arrived.
ARRIVES_WITHIN_S = 2.5
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108
LEFT_BEHIND = "*faketime_s*_[0-9]*"  # faketime_shm_PID and sem.faketime_sem_PID
# Python's sleep is the one that libfaketime refuses; another way to sleep is put in its place before anything else runs.
SITE = """import select, time


def sleep(seconds: float, /) -> None:
    select.select([], [], [], seconds)


time.sleep = sleep
"""


class ShiftedClock:
    """A clock that the processes with its environment look at."""

    def __init__(self, folder: Path, libraries: Path) -> None:
        """Keep the clock in ``folder``."""
        self._folder = folder
        self._libraries = libraries
        (folder / "sitecustomize.py").write_text(SITE, encoding="ascii")
        self.shift_s = 0.0

    @property
    def environment(self) -> dict[str, str]:
        """What a process of one thread, such as each of PostgreSQL's, needs in its environment beside its own.

        PostgreSQL asks for the time in signal handlers, where libfaketime's look into a file is not safe: once a second
        it is rare enough, at every call it would not be.
        """
        return {
            "LD_PRELOAD": str(self._libraries / "libfaketime.so.1"),
            "FAKETIME_TIMESTAMP_FILE": str(self._spec),
            "FAKETIME_CACHE_DURATION": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # its name in later versions
            "NO_FAKE_STAT": "1",  # or every start would compile Python's modules again
        }

    @property
    def python_environment(self) -> dict[str, str]:
        """What a Python process needs; its ``PYTHONPATH`` must stay part of the process's own, if it has one."""
        threads = str(self._libraries / "libfaketimeMT.so.1")
        return {**self.environment, "LD_PRELOAD": threads, "PYTHONPATH": str(self._folder)}

    @property
    def _spec(self) -> Path:
        return self._folder / "shift"

    def shift(self, seconds: float) -> None:
        """Set the clock to so many seconds after (below 0: before) the true time."""
        written = self._spec.with_suffix(".new")
        written.write_text(f"{seconds:+.3f}\n", encoding="ascii")
        instances.own(written)
        written.replace(self._spec)  # at once: nobody reads half of it
        self.shift_s = seconds


@contextmanager
def shifted_clock(seconds: float = 0.0) -> Iterator[ShiftedClock]:
    """A clock shifted by so many seconds, for the length of the block."""
    libraries = find_libraries()
    folder = instances.new_folder("hayabin-clock-")
    try:
        clock = ShiftedClock(folder, libraries)
        clock.shift(seconds)
        yield clock
    finally:
        instances.remove_folder(folder)
        remove_what_killed_ones_left()


def find_libraries() -> Path:
    """Find the folder of libfaketime, for one thread and for many.

    Raises: ``ServerMissing``.
    """
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        raise ServerMissing("libfaketime is not installed: `make test` installs it from Debian (package faketime)")
    return found[0].parent


def remove_what_killed_ones_left() -> None:
    """Remove the shared memory of processes under libfaketime that had no time to do it."""
    for left in SHARED_MEMORY.glob(LEFT_BEHIND):
        process_id = left.name.rpartition("_")[2]
        if not Path(f"/proc/{process_id}").exists():
            with contextlib.suppress(FileNotFoundError, PermissionError):  # somebody else's, or just removed
                left.unlink()
