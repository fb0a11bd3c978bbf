"""Giving mails back to the ledger unattempted, each with the reason and the time at which it may come again.

Promises: no attempt is counted; the reason names the lane (``suspended:gmail``), so that what lifts it can make them
due; mails put off together come back one by one, at the rate at which the lanes take them.
It cannot fail; the outcome writer does the writing.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from hayabin.telemetry.metrics import LANE_POSTPONED
from services.dispatcher.batch import Job
from services.dispatcher.horizon import Horizon
from services.dispatcher.lane import Closed, Lane, LaneState
from services.dispatcher.outcomes import OutcomeWriter, Postponement
from services.dispatcher.rates import NS

SOON_S: Final = 1.0
SHORT_AHEAD_S: Final = 10.0
LONGEST_AHEAD_S: Final = 900.0
_SLOWEST_PER_S: Final = 0.2
_MOST_CAMPAIGNS: Final = 100
_GROWTH: Final = 2
"""A lane whose connections still grow will take so many times more than it does now."""

BUSY: Final = Closed(LaneState.OPEN, "busy", None)
"""Why mails are put off for which an open lane has no room."""
_WORDS: Final = {LaneState.OPEN: "busy", LaneState.SLOWED: "busy"}


@dataclass(slots=True, eq=False)
class Postponing:
    """For one destination; ``open_elsewhere`` tells whether another dispatcher of the pool may take its mails now."""

    writer: OutcomeWriter
    open_elsewhere: Callable[[], bool]
    _horizons: dict[int, Horizon] = field(default_factory=dict)  # by campaign: none waits behind all of another's

    def postpone(self, jobs: Sequence[Job], why: Closed, key: str, lanes: Sequence[Lane], rate_per_s: float) -> None:
        """Give mails for the lane ``key`` back."""
        if not jobs:
            return
        word = _WORDS.get(why.state, why.state.value)
        earliest_s, ahead_s = self._when(why, lanes)
        growing = why.state is LaneState.OPEN and ahead_s == SHORT_AHEAD_S
        rate_per_s = max(_SLOWEST_PER_S, rate_per_s * (_GROWTH if growing else 1))
        LANE_POSTPONED.labels(word).inc(len(jobs))
        if len(self._horizons) >= _MOST_CAMPAIGNS:  # those that are past say nothing any more
            self._horizons = {key: one for key, one in self._horizons.items() if one.at_s > time.time()}
        for job in jobs:
            horizon = self._horizons.setdefault(job.batch.campaign_id, Horizon())
            until = datetime.fromtimestamp(horizon.next(earliest_s, rate_per_s, ahead_s), UTC)
            self.writer.put(Postponement(job.message_id, job.attempt, until, f"{word}:{key}", job.settle))

    def _when(self, why: Closed, lanes: Sequence[Lane]) -> tuple[float, float]:
        """Give the earliest time at which mails may come again, and how far beyond it they may be spread."""
        now_s = time.time()
        if why.state is LaneState.OPEN:
            return now_s + SOON_S, _ahead_s(lanes)
        if self.open_elsewhere():
            return now_s + SOON_S, SHORT_AHEAD_S
        if why.ready_at is None:
            return now_s + LONGEST_AHEAD_S, LONGEST_AHEAD_S
        return max(why.ready_at.timestamp(), now_s + SOON_S), LONGEST_AHEAD_S


def _ahead_s(lanes: Sequence[Lane]) -> float:
    """As far ahead as the lanes have been steady: one that still grows will take more than it does now."""
    changed_ns = max((lane.steady_ns for lane in lanes), default=0)
    return min(LONGEST_AHEAD_S, max(SHORT_AHEAD_S, (time.monotonic_ns() - changed_ns) / NS))


def let_go(jobs: Sequence[Job], writer: OutcomeWriter) -> None:
    """Let go of mails that are not claimed, as the process stops: with their batch, or to the ledger, due now."""
    now = datetime.now(UTC)
    for job in jobs:
        if job.detached:  # its batch is acknowledged
            writer.put(Postponement(job.message_id, job.attempt, now, "stopping", job.settle))
        else:
            job.give_back()
