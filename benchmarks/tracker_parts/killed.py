"""A tracker that is killed (SIGKILL) under load, and whether it broke its word.

Each request of the load is of its own: no message is opened twice, no link of a message clicked twice. So each answer
that a client got has to be one row of the table of events once the next tracker is through with the belt. An answer
that came later than the tracker waits for its belt (``tracker_answer_within_s``) promises nothing; it is counted apart.
Fails: an answer without its event, an event twice, or more events than answers and connections, is a broken promise and
ends the run.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from benchmarks.http_load import Load, apply
from benchmarks.tracker_parts.mails import Wish
from hayabin.domain.token import TokenRing
from services.tracker.settings import TrackerSettings
from tests.support.instances import free_port
from tests.support.system import Service, System
from tests.support.waiting import eventually

CONNECTIONS = 64
_LONGEST_S = 60.0
_STILL_S = 1.0
ANSWER_WITHIN_S: float = TrackerSettings.model_fields["tracker_answer_within_s"].default
Asked = tuple[int, int | None]
"""Message, and link where it is a click."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the answers and the events come to."""

    promised: int
    late: int
    missing: int
    twice: int
    unanswered_events: int

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        return not self.missing and not self.twice and self.unanswered_events <= CONNECTIONS


def judge(answered: Sequence[tuple[Asked, float]], events: Sequence[Asked], answer_within_s: float) -> Verdict:
    """Hold the answers, each with its latency, against the events."""
    found = Counter(events)
    promised = {asked for asked, latency_s in answered if latency_s < answer_within_s}
    every = {asked for asked, _ in answered}
    return Verdict(
        promised=len(promised),
        late=len(every) - len(promised),
        missing=sum(asked not in found for asked in promised),
        twice=sum(count > 1 for count in found.values()),
        unanswered_events=sum(asked not in every for asked in found),
    )


async def kill_under_load(
    system: System,
    tracker: Service,
    port: int,
    database: asyncpg.Connection,
    load: tuple[TokenRing, Sequence[Wish], int],
) -> dict[str, Any]:
    """Kill the tracker when so many events of the load are in the database, and count what came of the answers.

    Raises:
        SystemExit: a promise was broken.
    """
    ring, wishes, kill_after = load
    begun = int(await database.fetchval("SELECT COALESCE(max(id), 0) FROM events"))
    requests = [wish.request(ring) for wish in wishes]
    applied = Load(port=port, requests=requests, connections=CONNECTIONS, seconds=_LONGEST_S, once=True, tell=True)
    asking = asyncio.create_task(asyncio.to_thread(apply, applied, system.folder))

    async def events() -> list[Asked]:
        rows = await database.fetch("SELECT message_id, link FROM events WHERE id > $1", begun)
        return [(row["message_id"], row["link"]) for row in rows]

    await eventually(events, lambda found: len(found) >= kill_after or asking.done(), every_s=0.02)
    tracker.process.kill()
    tracker.process.wait()
    system.services.remove(tracker)
    found = await asking
    if found["answers"] >= len(wishes) or found["broken"] != CONNECTIONS:
        raise SystemExit(f"the tracker was not killed under load: {found | {'answered': '…'}}")
    await asyncio.to_thread(
        system.start, "tracker", name="tracker-after-kill", http_host="127.0.0.1", http_port=str(free_port())
    )
    answered = [((wishes[i].message_id, wishes[i].link), latency_s) for i, latency_s in found["answered"]]
    await _until_still(events)
    verdict = judge(answered, await events(), ANSWER_WITHIN_S)
    result = {
        "answered": len(answered),
        "promised": verdict.promised,
        "answered_late": verdict.late,
        "missing": verdict.missing,
        "twice": verdict.twice,
        "events_without_answer": verdict.unanswered_events,
        "connections": CONNECTIONS,
    }
    if not verdict.kept:
        raise SystemExit(f"answered events were lost or doubled by kill -9: {result}")
    return result


async def _until_still(events: Any) -> None:
    """Wait until no event has come for a while."""
    count, still_s = -1, 0.0
    while still_s < 3 * _STILL_S:
        await asyncio.sleep(_STILL_S)
        now = len(await events())
        still_s = still_s + _STILL_S if now == count and now else 0.0
        count = now
