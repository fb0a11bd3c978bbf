"""What every benchmark writes: what was measured, each goal and whether it is met, on which machine, by which command.

Promises: ``benchmarks/out/NAME.json`` has ``command``, ``seconds``, ``short``, ``machine``, ``load_average``, ``goals``
and ``table`` besides what was measured. A short run is written to ``build/bench/NAME.json`` unless ``--out`` says
where, since its figures mean nothing. A goal that is not met is told, and is not an error: the page that shows it says
why.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.processes import load_average

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "benchmarks" / "out"
SHORT_OUT = ROOT / "build" / "bench"


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of the table; ``measured`` and ``goal`` are for people."""

    part: str
    what: str
    measured: str
    goal: str
    met: bool


@dataclass(slots=True)
class Report:
    """Collects the goals of a run, and writes it down."""

    name: str
    short: bool
    out: Path
    goals: list[Goal] = field(default_factory=list)
    begun_s: float = field(default_factory=time.monotonic)
    load_before: list[float] = field(default_factory=load_average)

    def goal(self, part: str, what: str, measured: str, goal: str, *, met: bool) -> None:
        """Hold what was measured against a goal."""
        self.goals.append(Goal(part, what, measured, goal, met))

    def write(self, measured: Mapping[str, Any]) -> None:
        """Write the file, and print the table of goals."""
        found = {
            "command": " ".join(["python -m", f"benchmarks.{self.name}", *sys.argv[1:]]),
            "short": self.short,
            "seconds": round(time.monotonic() - self.begun_s, 1),
            "machine": machine(),
            "load_average": {"before": self.load_before, "after": load_average()},
            **measured,
            "goals": [asdict(goal) for goal in self.goals],
            "table": table(self.goals).split("\n"),
        }
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.out.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
        sys.stdout.write(f"{table(self.goals)}\n{self.out}\n")


def table(goals: list[Goal]) -> str:
    """Give the goals as lines of text."""
    rows = [("part", "what", "measured", "goal", "met")]
    rows += [(g.part, g.what, g.measured, g.goal, "yes" if g.met else "NO") for g in goals]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def machine() -> dict[str, Any]:
    """Give what the figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cores": os.cpu_count(),
        "processor": models[0] if models else platform.machine(),
        "python": platform.python_version(),
        "kernel": platform.release(),
    }


def parser(name: str, doc: str | None) -> argparse.ArgumentParser:
    """Give the options that every benchmark has; read them with ``begin``."""
    made = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--short", action="store_true", help="small numbers, which show that it runs and mean nothing")
    made.add_argument("--out", type=Path, help=f"file of the results (benchmarks/out/{name}.json; short: build/bench)")
    return made


def begin(name: str, options: argparse.Namespace) -> Report:
    """Begin a run."""
    return Report(name, options.short, options.out or (SHORT_OUT if options.short else OUT) / f"{name}.json")
