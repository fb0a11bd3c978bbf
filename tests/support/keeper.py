"""Runs one server as a child and leaves nothing of it behind, whatever happens to the program that asked for it.

Promises: every process that the server starts, daemons included, is a descendant of the keeper (it is a *subreaper*)
and ends with it. SIGTERM stops the server in an orderly way (its own stop signal, then a time limit, then SIGKILL);
SIGUSR1 kills the whole tree at once, as a power cut would; when the asking program is gone, the keeper ends the tree
and removes the instance's folder. Should the keeper itself be killed, the kernel kills the server (parent-death signal,
set by ``setpriv``). Exits with the server's status when the server ends by itself.

Run as ``python keeper.py FOLDER STOP_SIGNAL STOP_TIMEOUT_S COMMAND...``; standard library only.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
WATCHED = (signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD)
LOOK_EVERY_S = 0.25


def descendants(pid: int) -> list[int]:
    """List every living process below ``pid``, nearest first."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it ended while we looked
                fields = (entry / "stat").read_text(encoding="latin-1").rpartition(")")[2].split()
                if fields[0] != "Z":
                    parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found = list(parents.get(pid, ()))
    for child in found:
        found.extend(parents.get(child, ()))  # grows while we walk it: breadth first
    return found


def kill_tree() -> None:
    """SIGKILL every descendant and collect it, until there is none; what forks meanwhile is found in the next round."""
    with contextlib.suppress(ChildProcessError):  # no child, so no descendant: orphans become our children
        while True:
            for pid in descendants(os.getpid()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
            time.sleep(0.01)


def reap() -> None:
    """Collect children that ended, ours and adopted ones."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def alive(pid: int) -> bool:
    """Say whether the process still runs; an ended child is reaped on the way."""
    reap()
    return pid in descendants(os.getpid())


def stop(pid: int, stop_signal: int, timeout_s: float) -> None:
    """Ask the server to stop, wait for it at most ``timeout_s``, and kill what is left."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, stop_signal)
    deadline = time.monotonic() + timeout_s
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    kill_tree()


def main(arguments: list[str]) -> int:
    """Start the server and look after it."""
    folder, stop_signal, timeout_s, *command = arguments
    asker = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)  # after the start, so that the server does not inherit the mask
    while True:
        caught = signal.sigtimedwait(WATCHED, LOOK_EVERY_S)
        if os.getppid() != asker:
            stop(server.pid, int(stop_signal), timeout_s=5)
            shutil.rmtree(folder, ignore_errors=True)
            return 0
        match caught.si_signo if caught else None:
            case signal.SIGTERM:
                stop(server.pid, int(stop_signal), float(timeout_s))
                return 0
            case signal.SIGUSR1:
                kill_tree()
                return 0
        if server.poll() is not None:
            kill_tree()
            return server.returncode
        reap_adopted(server.pid)


def reap_adopted(server: int) -> None:
    """Collect ended orphans, but leave the server's own status to ``Popen``."""
    for pid in zombies(os.getpid()):
        if pid != server:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def zombies(parent: int) -> list[int]:
    """List the children of ``parent`` that ended and wait to be collected."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii").split()
    ended = []
    for child in children:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{child}/stat").read_text(encoding="latin-1").rpartition(")")[2].split()[0] == "Z":
                ended.append(int(child))
    return ended


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
