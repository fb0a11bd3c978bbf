"""A destination that is slower than what comes for it: when it counts as that, and how much of its mail stays in hand.

Promises: what a slow destination takes within ``KEEP_S`` is taken over from its batches, as far as the process has
room, so that no batch waits for it; the rest is named, to be put off. Nothing that was claimed is.
It cannot fail.
"""

from dataclasses import dataclass

from services.dispatcher.batch import Job, TakenOver
from services.dispatcher.fair_queue import FairQueue
from services.dispatcher.tempo import Tempo

PATIENCE_S = 1.0
"""What waits longer than this shows that the destination is slower than what comes."""
FAST_PER_S = 400.0
"""What takes so much holds up nobody for long, as the belt holds little more (``feeder``). Mails wait for it because
this process or this machine is slow, and giving them back would make it slower."""
FAST_SPAN_S = 3.0
HOLD_S = 3.0
"""A mail that there is no room to take over waits so long with its batch."""
KEEP_S = 10.0
"""So much of what a slow destination takes is kept in hand."""
KEEP_LESS_S = 2.0
"""The same while the process has taken over half of what it may."""
KEEP_AT_LEAST = 8


@dataclass(slots=True, eq=False)
class Saturation:
    """Of one destination: what waits for it and how fast it is; ``now`` while it is saturated."""

    waiting: FairQueue
    tempo: Tempo
    taken_over: TakenOver
    max_wait_s: float
    now: bool = False

    def excess(self) -> list[Job]:
        """Take out the bulk mails for which there is no room."""
        return self.waiting.take_last_of_bulk(max(0, self.waiting.bulk - self._most()))

    def _most(self) -> int:
        """Tell how many bulk mails are kept in hand."""
        keep_s = KEEP_S if self.taken_over.mails * 2 < self.taken_over.most else KEEP_LESS_S
        return max(KEEP_AT_LEAST, int(self.tempo.per_s(KEEP_S) * keep_s))

    def look(self, now_s: float) -> list[Job]:
        """Look whether it is saturated; gives what is to be put off, taken out of what waits."""
        oldest_s = self.waiting.oldest_s()
        waited_s = 0.0 if oldest_s is None else now_s - oldest_s
        fast = self.tempo.per_s(FAST_SPAN_S) >= FAST_PER_S
        if fast or waited_s < PATIENCE_S / 2:
            self.now = False
        if fast or waited_s < PATIENCE_S:
            return []
        self.now = True
        put_off = self.excess()
        for job in (*self.waiting.take_urgent(), *self.waiting.take_bulk()):
            longest_s = self.max_wait_s if job.detach(self.taken_over) else HOLD_S
            if now_s - job.arrived_s < longest_s:
                self.waiting.put(job)
            else:
                put_off.append(job)
        return put_off
