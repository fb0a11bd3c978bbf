"""Where the time of a process goes, by py-spy: its sampled stacks, and the functions with the most own time.

Shape: py-spy's ``raw`` format, one stack a line, the innermost function last, then how often it was seen.
Fails: SystemExit where py-spy says why it cannot.
"""

import contextlib
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SAMPLES_PER_S = 200
SHOWN = 25


@contextlib.contextmanager
def profiled(pid: int, file: Path) -> Iterator[None]:
    """Sample a process for the length of a ``with`` block into a file."""
    command = ["record", "--pid", str(pid), "--format", "raw", "--rate", str(SAMPLES_PER_S), "--output", str(file)]
    spy = subprocess.Popen(
        [str(Path(sys.executable).parent / "py-spy"), *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        yield
    finally:
        spy.send_signal(signal.SIGINT)
        said, _ = spy.communicate()
        if not file.exists():
            raise SystemExit(f"py-spy: {said.decode(errors='replace')}")


def own_time(stacks: str) -> list[dict[str, Any]]:
    """Give the functions that were seen innermost most often, with their share in percent."""
    seen: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        seen[stack.rpartition(";")[2]] += int(count)
    total = seen.total()
    return [{"function": name, "percent": round(100 * n / total, 1)} for name, n in seen.most_common(SHOWN)]
