"""Mail that waits: whose turn it is, what holds a batch, when what was put off comes again."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import Context

from hayabin.contracts.dispatch_pb2 import Mail, MailBatch
from services.dispatcher.batch import Job, TakenOver, take_in_hand
from services.dispatcher.fair_queue import FairQueue
from services.dispatcher.gate import is_mailbox
from services.dispatcher.horizon import Horizon


@dataclass
class Belt:
    """A delivery that nobody settles."""

    queue: str = "dispatch.main.other-0"
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    redelivered: bool = False

    async def ack(self) -> None:
        """Nothing."""

    async def requeue(self) -> None:
        """Nothing."""

    async def park(self, reason: str, detail: str = "") -> None:
        """Nothing."""


def batch(campaign_id: int, count: int, *, lane: str = "gmail", arrived_s: float = 0.0) -> list[Job]:
    """The jobs of one batch."""
    message = MailBatch(
        campaign_id=campaign_id,
        lane=lane,
        mails=[Mail(message_id=campaign_id * 10_000 + n, recipient=f"u{n}@gmail.com") for n in range(count)],
    )
    return take_in_hand(Belt(), message, Context(), arrived_s)


def test_fair_queue_small_campaign_is_through_in_its_share() -> None:
    """Nine mails behind ten thousand: they have three of four places, and the large one has the fourth."""
    queue = FairQueue()
    for job in (*batch(1, 10_000), *batch(2, 9)):
        queue.put(job)
    assert [job.batch.campaign_id for job in queue.take(16)] == [2, 2, 2, 1, 2, 2, 2, 1, 2, 2, 2, 1, 1, 1, 1, 1]


def test_fair_queue_equal_campaigns_have_equal_shares() -> None:
    """Three campaigns of a hundred each: whenever one looks, their shares are alike."""
    queue = FairQueue()
    for job in (*batch(1, 100), *batch(2, 100), *batch(3, 100)):
        queue.put(job)
    taken = Counter[int]()
    for _ in range(100):
        taken.update(job.batch.campaign_id for job in queue.take(3))
        assert max(taken.values()) - min(taken.values()) <= 3
    assert taken == {1: 100, 2: 100, 3: 100}


def test_fair_queue_transactional_mail_overtakes_and_claimed_mail_goes_before_all() -> None:
    """First what was claimed and came back, then transactional mail, then bulk."""
    queue = FairQueue()
    bulk, urgent = batch(1, 3), batch(2, 2, lane="transactional-0")
    for job in (*bulk, *urgent):
        queue.put(job)
    back = queue.take(1)
    assert back == [urgent[0]]
    claimed = batch(3, 1)
    claimed[0].claim()
    queue.put_back([*back, *claimed])
    assert [job.batch.campaign_id for job in queue.take(10)] == [3, 2, 2, 1, 1, 1]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.integers(1, 4), st.integers(0, 5)),
            st.tuples(st.just("take"), st.integers(0, 8), st.booleans()),
            st.tuples(st.just("last"), st.integers(0, 8), st.booleans()),
            st.tuples(st.just("all"), st.sampled_from(["bulk", "urgent", "claimed"]), st.booleans()),
        ),
        max_size=40,
    )
)
def test_fair_queue_any_use_keeps_every_mail_once_and_in_order(steps: list[tuple[str, int | str, int]]) -> None:
    """What goes in comes out once; within a campaign in order; sizes agree at every moment."""
    queue, inside, serial = FairQueue(), set[int](), 0
    for step, one, other in steps:
        if step == "put":
            campaign = int(one)
            jobs = batch(campaign, int(other), lane="transactional-0" if campaign == 4 else "gmail", arrived_s=serial)
            for job in jobs:
                serial += 1
                job.message_id = serial
                queue.put(job)
                inside.add(serial)
            continue
        if step == "take":
            taken = queue.take(int(one))
        elif step == "last":
            taken = queue.take_last_of_bulk(int(one))
        else:
            taken = {"bulk": queue.take_bulk, "urgent": queue.take_urgent, "claimed": queue.take_claimed}[str(one)]()
        for campaign in range(1, 5):
            ids = [job.message_id for job in taken if job.batch.campaign_id == campaign and not job.claimed]
            assert ids == sorted(ids)
        if other and step != "last":  # what is taken from the ends is never put back
            queue.put_back(taken)
        else:
            gone = {job.message_id for job in taken}
            assert len(gone) == len(taken)
            assert gone <= inside
            inside -= gone
        assert {job.message_id for job in queue} == inside
        assert len(queue) == len(inside)
        assert queue.bulk + queue.pressing == len(inside)
    assert {job.message_id for job in queue.take(10_000)} == inside


def test_batch_is_let_go_when_each_mail_is_settled_claimed_or_taken_over() -> None:
    """A batch needs no mail that the ledger has as claimed, or that this process took over; the bound holds."""
    jobs = batch(1, 4)
    in_hand, taken_over = jobs[0].batch, TakenOver(1)
    jobs[0].settle()
    jobs[1].claim()
    assert jobs[2].detach(taken_over)
    assert not jobs[3].detach(taken_over), "no room for a second one"
    assert not in_hand.all_settled.is_set()
    jobs[3].settle()
    assert in_hand.all_settled.is_set()
    assert not in_hand.given_back
    jobs[2].claim()
    assert taken_over.mails == 0
    for job in jobs:
        job.settle()
    assert in_hand.open_mails == 0


def test_batch_with_a_mail_given_back_returns_to_the_belt() -> None:
    """One unclaimed mail at the end of the process is reason to return the batch; a taken-over one is not."""
    jobs = batch(1, 2)
    jobs[0].detach(TakenOver(10))
    jobs[0].give_back()
    assert not jobs[0].batch.given_back
    jobs[1].give_back()
    assert jobs[1].batch.given_back
    assert jobs[1].batch.all_settled.is_set()


def test_jobs_hold_nothing_of_their_batch_message() -> None:
    """Each mail's content is its own: a stalled one does not keep fifty in memory."""
    message = MailBatch(mails=[Mail(message_id=1, content=b"one"), Mail(message_id=2, content=b"two")])
    jobs = take_in_hand(Belt(), message, Context(), 0.0)
    del message
    assert [job.content for job in jobs] == [b"one", b"two"]
    assert all(type(job.content) is bytes for job in jobs)


def test_horizon_printed_whole() -> None:
    """Ten mails for a lane that takes two a second, from 100 on: one each half second."""
    horizon = Horizon()
    times = [horizon.next(100.0, 2.0, 60.0) for _ in range(10)]
    assert times == [100.0, 100.5, 101.0, 101.5, 102.0, 102.5, 103.0, 103.5, 104.0, 104.5]


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0.2, 50), st.floats(1, 900)), min_size=1, max_size=100))
def test_horizon_any_use_never_early_and_never_too_late(asked: list[tuple[float, float, float]]) -> None:
    """Nobody comes before the earliest time that is possible, nor more than the span after it."""
    horizon, now = Horizon(), 1000.0
    for pause, rate, longest in asked:
        now += pause
        assert now <= horizon.next(now, rate, longest) <= now + longest


@pytest.mark.parametrize(
    ("recipient", "key", "same"),
    [
        ("Taro@example.jp", "taro@example.jp", True),
        ('"a..b"@docomo.ne.jp', "a..b@docomo.ne.jp", True),
        ('"Abc."@ezweb.ne.jp', "abc.@ezweb.ne.jp", True),
        ("日本@example.jp", "日本@example.jp", True),
        ("taro@example.jp", "jiro@example.jp", False),
        ("taro@example.jp", "taro@example.com", False),
        ("a@evil.example(b@example.com)", "b@example.com", False),
        ("", "taro@example.jp", False),
    ],
)
def test_mailbox_on_the_wire_is_compared_with_the_suppression_key(recipient: str, key: str, same: bool) -> None:
    """RCPT says the mailbox that suppressions were looked up for, in whatever form; anything else is no match."""
    assert is_mailbox(recipient, key) is same


async def test_all_settled_wakes_who_waits() -> None:
    """The worker's wait for a batch ends with its last mail."""
    jobs = batch(1, 2)
    waiting = asyncio.create_task(jobs[0].batch.all_settled.wait())
    jobs[0].settle()
    await asyncio.sleep(0)
    assert not waiting.done()
    jobs[1].settle()
    await asyncio.wait_for(waiting, 1)
    assert jobs[0].batch.launched_at < datetime.now(UTC)
