"""How much is taken from the belt, and when what waits for a destination makes it a slow one."""

import asyncio
import contextlib
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest
from opentelemetry.context import Context

from hayabin.contracts.codec import encode
from hayabin.contracts.dispatch_pb2 import Mail, MailBatch
from hayabin.database.clock import DatabaseClock
from services.dispatcher.batch import Job, TakenOver, take_in_hand
from services.dispatcher.carrier import _group_of
from services.dispatcher.destination import Destination
from services.dispatcher.fair_queue import FairQueue
from services.dispatcher.intake import AHEAD_S, LEAST, LEAST_PER_S, SPAN_S, Intake
from services.dispatcher.resolver import Resolver
from services.dispatcher.saturation import FAST_PER_S, FAST_SPAN_S, Saturation
from services.dispatcher.tempo import Tempo
from services.dispatcher.worker import TICK_S, Worker
from tests.engine.test_waiting_mail import Belt


async def waiting(intake: Intake, *sizes: int) -> list[asyncio.Task[None]]:
    """Let batches of these sizes ask for room, one after the other."""
    tasks = []
    for size in sizes:
        tasks.append(asyncio.create_task(intake.enter(size)))
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


def done(tasks: list[asyncio.Task[None]]) -> list[bool]:
    """Which of them were let in."""
    return [task.done() for task in tasks]


async def test_intake_lets_in_until_enough_waits_and_the_next_in_order() -> None:
    """A batch is let in while fewer wait than may; each mail that leaves makes room, in the order of arrival."""
    intake = Intake()
    tasks = await waiting(intake, LEAST - 1, 50, 50, 50)
    assert done(tasks) == [True, True, False, False]
    for _ in range(50):
        intake.left(begun=False)
    await asyncio.sleep(0.01)
    assert done(tasks) == [True, True, True, False]
    for _ in range(50):
        intake.left(begun=False)
    await asyncio.sleep(0.01)
    assert done(tasks) == [True, True, True, True]
    assert intake.mails == LEAST - 1 + 50 * 3 - 100


async def test_intake_grows_with_what_is_sent_not_with_what_is_put_off() -> None:
    """Three thousand attempts in a second are room for half as many mails; as many postponements are none."""
    intake = Intake()
    intake.mails = 6000 + LEAST - 1
    for _ in range(3000):
        intake.left(begun=False)
    (task,) = await waiting(intake, 1)
    assert done([task]) == [False]
    for _ in range(3000):
        intake.left(begun=True)
    await asyncio.sleep(0.01)
    assert done([task]) == [True]
    many = await waiting(intake, *[50] * 40)
    assert sum(done(many)) == (3000 * AHEAD_S - LEAST) // 50
    intake.end()
    await asyncio.gather(*many)


async def test_intake_who_gives_up_holds_nobody_up_and_the_end_lets_all_in() -> None:
    """A consumer that is cancelled while it waits leaves its place to the next."""
    intake = Intake()
    _, first, second, third = await waiting(intake, LEAST, 10, 20, 30)
    first.cancel()
    await asyncio.sleep(0)
    intake.left(begun=True)
    await asyncio.sleep(0.01)
    assert first.cancelled()
    assert done([second, third]) == [True, False]
    intake.end()
    await asyncio.wait_for(third, 1)
    assert intake.mails == LEAST - 1 + 20 + 30


async def test_intake_takes_no_more_than_is_sent_where_all_that_is_served_is_slow() -> None:
    """What leaves without an attempt makes room for as much, unless there are only slow ones to give it to."""
    intake = Intake()

    async def give_back(batches: int) -> int:
        entered = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                for _ in range(batches):
                    await intake.enter(50)
                    entered += 50
                    for _ in range(50):
                        intake.left(begun=False)
        return entered

    assert await give_back(40) == 2000, "others may be behind these"
    intake.all_slow = True
    assert await give_back(40) == 0, "so much was taken already"
    for _ in range(2000):
        intake.left(begun=True)
    intake.mails = 0
    assert 100 <= await give_back(40) <= LEAST_PER_S + 50
    intake.all_slow = False
    assert await give_back(40) == 2000


async def test_intake_counts_a_batch_until_each_mail_is_claimed_settled_or_taken_over() -> None:
    """What was claimed or taken over waits in nobody's way."""
    intake = Intake()
    batch = MailBatch(lane="other-0", mails=[Mail(message_id=n, recipient="a@b.example") for n in range(4)])
    await intake.enter(4)
    jobs = take_in_hand(Belt(), batch, Context(), 0.0, intake)
    jobs[0].claim()
    assert intake.mails == 3
    jobs[0].settle()
    assert intake.mails == 3, "a claimed mail counts once"
    assert intake._begun.per_s(time.monotonic(), SPAN_S) == 1, "the gate let one through"
    assert jobs[1].detach(TakenOver(10))
    jobs[2].settle()
    jobs[3].give_back()
    assert intake.mails == 0
    assert intake._begun.per_s(time.monotonic(), SPAN_S) == 1, "the others were not begun"


class Spreading(Worker):
    """A worker that settles what it would spread, and keeps it."""

    def _spread(self, jobs: list[Job]) -> None:
        spread.extend(jobs)
        for job in jobs:
            job.settle()


spread: list[Job] = []


def worker() -> Spreading:
    """A worker without a world."""
    spread.clear()
    around: Any = SimpleNamespace(lanes=SimpleNamespace(tick=lambda: None), taken_over=TakenOver(10))
    return Spreading(around, cast("Resolver", None), DatabaseClock())


async def test_worker_lets_bulk_wait_at_the_door_and_transactional_mail_in() -> None:
    """A batch of bulk is not spread while enough waits; transactional mail has a door of its own."""
    busy = worker()
    busy.intake.mails = LEAST
    body = MailBatch(lane="other-0", lease_expires_ms=2**52, mails=[Mail(message_id=1, recipient="a@b.example")])
    bulk = asyncio.create_task(busy.handle(Belt(body=encode(body))))
    await asyncio.sleep(0.05)
    assert not spread
    body.lane = "transactional-0"
    await asyncio.wait_for(busy.handle(Belt(body=encode(body))), 1)
    assert len(spread) == 1
    busy.intake.left(begun=True)
    await asyncio.wait_for(bulk, 1)
    assert len(spread) == 2


@pytest.mark.parametrize(("slow_per_s", "fast_per_s", "all_slow"), [(50, 0, True), (50, 4, True), (50, 50, False)])
async def test_worker_tells_the_intake_when_all_that_is_served_is_slow(
    slow_per_s: int, fast_per_s: int, all_slow: bool
) -> None:
    """A destination that is not slow and takes a tenth is reason enough to go on looking for its mails."""
    one = worker()
    for name, per_s, slow in (("slow", slow_per_s, True), ("fast", fast_per_s, False)):
        tempo = SimpleNamespace(per_s=lambda _span_s, per_s=per_s: per_s)
        state = {"tempo": tempo, "saturation": SimpleNamespace(now=slow), "idle": False, "tick": lambda _now_s: None}
        one.destinations[name] = cast("Destination", SimpleNamespace(**state))
    ticking = asyncio.create_task(one.tick_for_ever())
    await asyncio.sleep(TICK_S * 1.5)
    ticking.cancel()
    assert one.intake.all_slow is all_slow


def saturation(per_s: float, waits_s: float) -> tuple[Saturation, list[Job]]:
    """That of a destination which has taken mails at this speed, with five that have waited for so long."""
    tempo = Tempo()
    tempo._meter.add(int(per_s * FAST_SPAN_S), time.monotonic())
    tempo._meter._started_s -= 60
    batch = MailBatch(lane="other-0", mails=[Mail(message_id=n, recipient="a@b.example") for n in range(5)])
    jobs = take_in_hand(Belt(), batch, Context(), time.monotonic() - waits_s)
    waiting = FairQueue()
    for job in jobs:
        waiting.put(job)
    return Saturation(waiting, tempo, TakenOver(1000), 60.0), jobs


def test_destination_that_takes_hundreds_a_second_is_not_slow() -> None:
    """Where mails wait for it, that is our own slowness: they keep their batch, and nothing is given back."""
    slow, taken_over = saturation(FAST_PER_S - 1, 2.0)
    assert slow.look(time.monotonic()) == []
    assert slow.now
    assert all(job.detached for job in taken_over)
    fast, kept = saturation(FAST_PER_S + 1, 2.0)
    assert fast.look(time.monotonic()) == []
    assert not fast.now
    assert not any(job.detached for job in kept)
    assert len(fast.waiting) == len(kept)


@pytest.mark.parametrize(
    ("transaction_s", "mails"),
    [(0.001, 16), (0.02, 12), (0.1, 4), (0.2, 4), (0.3, 3), (0.6, 1), (1.0, 1), (30.0, 1)],
)
def test_group_takes_a_quarter_of_a_second_or_saves_round_trips_within_a_second(
    transaction_s: float, mails: int
) -> None:
    """Many to a near server, a few to a far one, one to a slow one: a pause is quick everywhere."""
    assert _group_of(transaction_s) == mails
