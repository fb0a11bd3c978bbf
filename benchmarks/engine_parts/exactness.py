"""How exactly limits were kept, from the times at which mails began at the receiving side.

Promises: pure arithmetic. Each function says by how much the worst mail came too early; 0 where every span of time
kept to the limit as it is written in ``services/dispatcher/rates.py``.
Units: seconds.
"""

import math
from collections.abc import Sequence


def early_by_pace(times_s: Sequence[float], rate_per_s: float, burst: int) -> float:
    """Tell by how much the worst mail came before its turn: at most ``burst`` and the rate times the span, in any span.

    The generic cell rate algorithm, as the sender's own: a mail is due one interval after the one before, and may come
    ``burst`` - 1 intervals early.
    """
    interval_s, worst_s = 1 / rate_per_s, 0.0
    due_s = float("-inf")
    for at_s in sorted(times_s):
        due_s = max(due_s, at_s)
        worst_s = max(worst_s, due_s - (burst - 1) * interval_s - at_s)
        due_s += interval_s
    return worst_s


def early_by_window(times_s: Sequence[float], limit: int, span_s: float) -> float:
    """Tell by how much the worst mail came too early for at most ``limit`` mails in any span of ``span_s``."""
    ordered = sorted(times_s)
    return max((0.0, *(span_s - (late - early) for early, late in zip(ordered, ordered[limit:], strict=False))))


def most_in_window(times_s: Sequence[float], span_s: float) -> int:
    """Count the mails of the fullest span."""
    ordered, first, most = sorted(times_s), 0, 0
    for last, at_s in enumerate(ordered):
        while ordered[first] <= at_s - span_s:
            first += 1
        most = max(most, last - first + 1)
    return most


def percentile(values: Sequence[float], percent: float) -> float:
    """Give the smallest value that at least so many percent of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
