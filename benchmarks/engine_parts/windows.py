"""What windows of a run say: rate, CPU, memory; pure arithmetic on looks.

Units: seconds of the monotonic clock, CPU seconds (user + system), bytes.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.engine_parts.exactness import percentile


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen at one moment; CPU and memory by part of the system, ``belt_mails`` by queue."""

    at_s: float
    accepted: int
    cpu_s: Mapping[str, float]
    memory_bytes: Mapping[str, int]
    machine_busy_s: float = 0.0
    belt_mails: Mapping[str, int] | None = None


def part_of(looks: Sequence[Look], begun: int, mails: int, part: tuple[float, float]) -> tuple[Look, Look]:
    """Give the first looks that saw those two parts of ``mails`` accepted, counted from ``begun``.

    Raises: ValueError where it was not seen, or both are the same look.
    """
    found = [next((look for look in looks if look.accepted >= begun + mails * edge), None) for edge in part]
    first, last = found
    if first is None or last is None or first.at_s >= last.at_s:
        raise ValueError(f"{part} of {mails} was not seen in {len(looks)} looks")
    return first, last


def between(first: Look, last: Look) -> dict[str, Any]:
    """Give rate and CPU between two looks; parts that came or went in between are left out of the CPU."""
    mails, span_s = last.accepted - first.accepted, last.at_s - first.at_s
    spent = {name: last.cpu_s[name] - cpu_s for name, cpu_s in first.cpu_s.items() if name in last.cpu_s}
    return {
        "mails": mails,
        "seconds": round(span_s, 2),
        "emails_per_s": round(mails / span_s, 1),
        "cpu_us_per_email": {name: round(cpu_s * 1e6 / mails, 1) for name, cpu_s in spent.items()} if mails else {},
        "cores_busy": round(sum(spent.values()) / span_s, 2),
        "cores_busy_machine": round((last.machine_busy_s - first.machine_busy_s) / span_s, 2),
    }


def memory_windows(
    looks: Sequence[Look], early: tuple[float, float], late: tuple[float, float]
) -> dict[str, dict[str, Any]]:
    """Compare each part's memory in two windows of a run, given as parts of its time; ``ratio`` is late to early.

    Medians of the windows. Parts that were not there at the beginning and the end are left out.
    """
    shown = {}
    for name in looks[0].memory_bytes.keys() & looks[-1].memory_bytes.keys():
        first, last = (
            statistics.median(look.memory_bytes[name] for look in within(looks, window) if name in look.memory_bytes)
            for window in (early, late)
        )
        shown[name] = {
            "early_bytes": round(first),
            "late_bytes": round(last),
            "most_bytes": max(look.memory_bytes.get(name, 0) for look in looks),
            "ratio": round(last / first, 3),
        }
    return shown


def memory_growth(before: Sequence[Look], during: Sequence[Look]) -> dict[str, dict[str, Any]]:
    """Compare each part's memory in the last third of a time with the most until the end of its first third.

    ``ratio`` is late to before: what still grows then has no bound.
    """
    third_s = (during[-1].at_s - during[0].at_s) / 3
    first = [*before, *(look for look in during if look.at_s <= during[0].at_s + third_s)]
    last = [look for look in during if look.at_s >= during[-1].at_s - third_s]
    shown = {}
    for name in first[0].memory_bytes.keys() & last[-1].memory_bytes.keys():
        had, has = (max(look.memory_bytes.get(name, 0) for look in looks) for looks in (first, last))
        shown[name] = {"before_bytes": had, "late_bytes": has, "ratio": round(has / had, 3)}
    return shown


def within(looks: Sequence[Look], window: tuple[float, float]) -> Sequence[Look]:
    """Give the looks of a part of the time; of a short run the one next to its middle, where none is within."""
    begun_s, span_s = looks[0].at_s, looks[-1].at_s - looks[0].at_s
    from_s, to_s = begun_s + window[0] * span_s, begun_s + window[1] * span_s
    found = [look for look in looks if from_s <= look.at_s <= to_s]
    return found or [min(looks, key=lambda look: abs(look.at_s - (from_s + to_s) / 2))]


def thinned(looks: Sequence[Look], count: int) -> list[dict[str, Any]]:
    """Give about ``count`` looks over the whole run, for a plot: seconds since its beginning, accepted, memory."""
    step = max(1, len(looks) // count)
    return [
        {
            "s": round(look.at_s - looks[0].at_s, 1),
            "accepted": look.accepted - looks[0].accepted,
            "memory_bytes": dict(look.memory_bytes),
            **({"belt_mails": sum(look.belt_mails.values())} if look.belt_mails is not None else {}),
        }
        for look in looks[::step]
    ]


def by_second(accepted_in: Mapping[str, Sequence[tuple[int, int]]], begun_s: float, ended_s: float) -> list[int]:
    """Count mails in each whole second between two moments, from a sink's tenths of a second by listener."""
    counts = [0] * max(0, int(ended_s - begun_s))
    for tenths in accepted_in.values():
        for tenth, mails in tenths:
            second = int((tenth / 10 - begun_s) // 1)
            if 0 <= second < len(counts):
                counts[second] += mails
    return counts


def recovered_after_s(counts: Sequence[int], wanted: float, *, span: int = 5) -> int | None:
    """Give how many seconds went by before the first ``span`` seconds whose mean is ``wanted``; None: never.

    Several, so that a burst of what was at hand does not pass for speed.
    """
    for start in range(len(counts) - span + 1):
        if sum(counts[start : start + span]) / span >= wanted:
            return start
    return None


def spread(rates: Sequence[float]) -> float:
    """Give by what part of the highest rate the lowest is below it."""
    return 1 - min(rates) / max(rates)


def summary_ms(times_s: Sequence[float]) -> dict[str, Any]:
    """Give percentiles of times in milliseconds."""
    return {
        "number": len(times_s),
        **{f"p{percent}_ms": round(percentile(times_s, percent) * 1000, 1) for percent in (50, 90, 99)},
        "most_ms": round(max(times_s) * 1000, 1),
    }
