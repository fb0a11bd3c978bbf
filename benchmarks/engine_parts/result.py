"""A goal, what was measured for it, and whether it is met."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of the table; ``measured`` and ``goal`` are for people."""

    part: str
    what: str
    measured: str
    goal: str
    met: bool


def table(goals: list[Goal]) -> str:
    """Give the goals as lines of text."""
    rows = [("part", "what", "measured", "goal", "met")]
    rows += [(g.part, g.what, g.measured, g.goal, "yes" if g.met else "NO") for g in goals]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
