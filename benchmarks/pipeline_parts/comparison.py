"""Rounds compared: medians, and our rate over each peer's.

Promises: a ratio is made within a round, of what ran right after one another, before the median over rounds is taken:
what slows the whole machine for a while slows both sides of it.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

Round = Mapping[str, Mapping[str, Any]]


def order(names: Sequence[str], number: int) -> list[str]:
    """Give the order of a round: each round begins with another one, so that none always follows the same."""
    start = number % len(names)
    return [*names[start:], *names[:start]]


def ratio(rounds: Sequence[Round], above: str, below: str) -> float:
    """Give the median over rounds of the rate of ``above`` over that of ``below``."""
    return statistics.median(float(one[above]["emails_per_s"] / one[below]["emails_per_s"]) for one in rounds)


def medians(rounds: Sequence[Round]) -> dict[str, dict[str, float]]:
    """Give for each one the median over rounds of each of its figures that is a plain number."""
    return {
        who: {
            what: round(statistics.median(one[who][what] for one in rounds), 3)
            for what, value in figures.items()
            if isinstance(value, int | float)
        }
        for who, figures in rounds[0].items()
    }
