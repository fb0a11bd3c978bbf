"""What processes of this machine used: CPU, memory, and which are below which.

Units: seconds of CPU (user + system); bytes.
Fails: a process that ended meanwhile counts as nothing.
"""

import contextlib
import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_of_group(pids: list[int]) -> float:
    """CPU seconds of processes and their ended children."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(int(value) for value in fields[11:15])
    return total / TICKS


def descendants(roots: list[int]) -> list[int]:
    """The processes and everything below them."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    queue = list(roots)
    while queue:
        pid = queue.pop()
        if pid in found:
            continue
        found.append(pid)
        queue += parents.get(pid, [])
    return found


def most_memory_bytes(pid: int) -> int:
    """Give the most resident memory that a process had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise ValueError("no VmHWM")


def load_average() -> list[float]:
    """Give the machine's load average over 1, 5 and 15 minutes."""
    return [round(value, 2) for value in os.getloadavg()]
