"""The mails that wait for one destination, in the order in which they go.

Promises: what came back after its claim goes first, then transactional mail, then the campaigns in turn; where one has
twice as many mails as any other, it has one of ``ROUND`` places, and the rest have the others in turn. So a small
campaign is through in about the time that it takes alone, however much of a large one waits, and the large one goes on.
It cannot fail; its owner bounds what is put in.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from heapq import nlargest
from typing import Final

from services.dispatcher.batch import Job

ROUND: Final = 4
"""Of so many places the campaign with the most mails has one."""


class FairQueue:
    """See the module."""

    __slots__ = ("_back", "_bulk", "_bulk_size", "_place", "_urgent")

    def __init__(self) -> None:
        """Begin empty."""
        self._back: deque[Job] = deque()
        self._urgent: deque[Job] = deque()
        self._bulk: OrderedDict[int, deque[Job]] = OrderedDict()  # by campaign, whose turn it is first
        self._bulk_size = 0
        self._place = 0  # of the round

    def __len__(self) -> int:
        return len(self._back) + len(self._urgent) + self._bulk_size

    def __iter__(self) -> Iterator[Job]:
        yield from self._back
        yield from self._urgent
        for jobs in self._bulk.values():
            yield from jobs

    @property
    def bulk(self) -> int:
        """How many of them are bulk mail that was not claimed yet."""
        return self._bulk_size

    @property
    def claimed(self) -> int:
        """How many were claimed already."""
        return len(self._back)

    @property
    def pressing(self) -> int:
        """How many were claimed already or are transactional."""
        return len(self._back) + len(self._urgent)

    def put(self, job: Job) -> None:
        """Add a mail at the end of its class or campaign."""
        if job.batch.transactional:
            self._urgent.append(job)
            return
        self._bulk.setdefault(job.batch.campaign_id, deque()).append(job)
        self._bulk_size += 1

    def put_back(self, jobs: Iterable[Job]) -> None:
        """Return mails that were taken, in their order: claimed ones before everything, others to the front."""
        for job in reversed(list(jobs)):
            if job.claimed:
                self._back.appendleft(job)
            elif job.batch.transactional:
                self._urgent.appendleft(job)
            else:
                self._bulk.setdefault(job.batch.campaign_id, deque()).appendleft(job)
                self._bulk_size += 1

    def take(self, most: int) -> list[Job]:
        """Take the next mails."""
        taken: list[Job] = []
        while len(taken) < most:
            if self._back:
                taken.append(self._back.popleft())
            elif self._urgent:
                taken.append(self._urgent.popleft())
            elif self._bulk:
                taken.append(self._next_of_bulk())
            else:
                break
        return taken

    def _next_of_bulk(self) -> Job:
        campaign_id = next(iter(self._bulk))
        if len(self._bulk) > 1:
            most, next_most = nlargest(2, self._bulk, key=lambda key: len(self._bulk[key]))
            if len(self._bulk[most]) >= 2 * len(self._bulk[next_most]):
                self._place = (self._place + 1) % ROUND
                campaign_id = next(key for key in self._bulk if key != most) if self._place else most
        jobs = self._bulk[campaign_id]
        job = jobs.popleft()
        self._bulk_size -= 1
        if jobs:
            self._bulk.move_to_end(campaign_id)
        else:
            del self._bulk[campaign_id]
        return job

    def take_bulk(self) -> list[Job]:
        """Take all bulk mail that was not claimed."""
        taken = [job for jobs in self._bulk.values() for job in jobs]
        self._bulk.clear()
        self._bulk_size = 0
        return taken

    def take_urgent(self) -> list[Job]:
        """Take all transactional mail that was not claimed."""
        taken = list(self._urgent)
        self._urgent.clear()
        return taken

    def take_claimed(self) -> list[Job]:
        """Take what was claimed and came back."""
        taken = list(self._back)
        self._back.clear()
        return taken

    def take_last_of_bulk(self, most: int) -> list[Job]:
        """Take bulk mails from the ends, of the longest campaigns first, and give them in their order."""
        taken: list[Job] = []
        while len(taken) < most and self._bulk:
            campaign_id = max(self._bulk, key=lambda key: len(self._bulk[key]))
            jobs = self._bulk[campaign_id]
            others = max((len(rest) for key, rest in self._bulk.items() if key != campaign_id), default=0)
            for _ in range(max(1, min(most - len(taken), len(jobs) - others))):
                taken.append(jobs.pop())
                self._bulk_size -= 1
            if not jobs:
                del self._bulk[campaign_id]
        taken.reverse()
        return taken

    def oldest_s(self) -> float | None:
        """Give when the mail arrived that waits longest, unclaimed; None if there is none."""
        heads = [jobs[0].arrived_s for jobs in self._bulk.values()]
        if self._urgent:
            heads.append(self._urgent[0].arrived_s)
        return min(heads, default=None)
