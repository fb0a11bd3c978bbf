"""The way of an event to the belt: confirmed before the answer, bounded and counted while the belt is away."""

import asyncio
import base64
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from hayabin.broker import connect
from hayabin.broker.topology import EVENTS_ENGAGEMENT, events_queue
from hayabin.contracts.codec import decode
from hayabin.contracts.event_pb2 import ENGAGEMENT_KIND_OPEN, EngagementEvent, Event, EventBatch
from services.tracker.handoff import EventBelt, HandOffLimits
from tests.integration.tracker.conftest import (
    RING,
    SECRET,
    STATIC,
    Ledger,
    metric,
    running_tracker,
    server_proxy,
)
from tests.integration.tracker.test_projection import taken
from tests.support.instances import free_port
from tests.support.system import System, running_system
from tests.support.waiting import eventually

QUEUE = events_queue(EVENTS_ENGAGEMENT)
LOST, TAKEN, WAITING = (f"hayabin_tracker_events_{name}" for name in ("lost_total", "total", "waiting"))


def an_open(number: int) -> Event:
    """An event that can be told from others."""
    return Event(
        event_id=number.to_bytes(16, "big"),
        occurred_ms=1,
        engagement=EngagementEvent(message_id=number, kind=ENGAGEMENT_KIND_OPEN),
    )


async def test_events_go_in_batches_and_are_on_the_belt_when_hand_over_returns(empty_belt: str) -> None:
    """Five hundred events at once: every one confirmed, none missing or twice, in at most a few messages."""
    async with connect(empty_belt, name="test") as broker:
        belt = EventBelt(broker, HandOffLimits(answer_within_s=10))
        running = asyncio.create_task(belt.run())
        assert all(await asyncio.gather(*(belt.hand_over(an_open(n), "open") for n in range(500))))
        running.cancel()
        depth = (await broker.depth([QUEUE]))[QUEUE]
        assert 3 <= depth <= 6
        batches = [decode(EventBatch, delivery.body) for delivery in await taken(broker, QUEUE, depth)]
        assert max(len(batch.events) for batch in batches) <= 200
        assert sorted(event.engagement.message_id for batch in batches for event in batch.events) == list(range(500))


@pytest.mark.alone
async def test_belt_away_click_redirects_in_time_and_the_loss_is_counted(
    book: Ledger, database_url: str, empty_belt: str
) -> None:
    """The person gets where they want; the event is tried for its time, then counted as lost; later ones go again."""
    token = RING.issue_tracking(book.ids[0])
    async with (
        server_proxy(empty_belt) as (through, proxy),
        running_tracker(database_url, through, tracker_answer_within_s=0.3, tracker_keep_s=1) as tracker,
    ):
        lost = metric(LOST, kind="click"), metric(LOST, kind="open")
        proxy.take_away()
        begun = time.monotonic()
        click, pixel = await asyncio.gather(tracker.client.get(f"/c/{token}/0"), tracker.client.get(f"/o/{token}"))
        assert time.monotonic() - begun < 1
        assert (click.status_code, click.headers["location"], pixel.status_code) == (302, STATIC, 200)
        assert metric(WAITING) == 2

        async def losses() -> tuple[float, float]:
            return metric(LOST, kind="click") - lost[0], metric(LOST, kind="open") - lost[1]

        await eventually(losses, lambda found: found == (1, 1), timeout_s=15)
        assert metric(WAITING) == 0
        proxy.away = False

        async def clicked_again() -> dict[str, int]:
            await tracker.client.get(f"/c/{token}/0")
            return await book.counters()

        counters = await eventually(clicked_again, lambda c: c.get("clicks", 0) > 0, timeout_s=20, every_s=0.5)
        assert "opens" not in counters


async def test_belt_back_in_time_loses_nothing(book: Ledger, database_url: str, empty_belt: str) -> None:
    """A short fault of the belt: answers do not wait for it, and every event arrives once when it is back."""
    async with (
        server_proxy(empty_belt) as (through, proxy),
        running_tracker(database_url, through, tracker_answer_within_s=0.1) as tracker,
    ):
        lost = metric(LOST, kind="open")
        proxy.take_away()
        paths = [f"/o/{RING.issue_tracking(i)}" for i in book.ids]
        assert {(await tracker.client.get(path)).status_code for path in paths} == {200}
        proxy.away = False
        counters = await eventually(book.counters, lambda c: c.get("opens", 0) >= 4, timeout_s=20)
        assert (counters["opens"], counters["opened"], metric(LOST, kind="open")) == (4, 4, lost)


async def test_waiting_events_are_bounded_and_a_stop_counts_what_it_gives_up(empty_belt: str) -> None:
    """Past the bound an event is refused at once; what the belt never took is counted at the end, exactly."""
    async with server_proxy(empty_belt) as (through, proxy), connect(through, name="test") as broker:
        belt = EventBelt(broker, HandOffLimits(answer_within_s=0.2, max_waiting=10))
        running = asyncio.create_task(belt.run())
        proxy.take_away()
        lost = metric(LOST, kind="open")
        answers = await asyncio.gather(*(belt.hand_over(an_open(n), "open") for n in range(25)))
        assert answers == [False] * 25
        assert (metric(LOST, kind="open") - lost, belt.unconfirmed()) == (15, 10)
        await belt.flush(timeout_s=0.3)
        assert (metric(LOST, kind="open") - lost, belt.unconfirmed()) == (25, 0)
        await asyncio.wait_for(running, 5)
        assert await belt.hand_over(an_open(1), "open") is False
        assert metric(LOST, kind="open") - lost == 26


@pytest.fixture
def system(tmp_path: Path, database_url: str, empty_belt: str) -> Iterator[System]:
    """A tracker can be started as a process of its own in it."""
    secret = {"token_secret": SECRET, "http_host": "127.0.0.1"}
    with running_system(tmp_path, database_url, empty_belt, **secret) as system:
        yield system


async def test_killed_after_the_answer_has_lost_nothing(system: System, book: Ledger) -> None:
    """SIGKILL right after the answers: each answered click and open is counted by the next tracker, exactly once."""
    port = free_port()
    service = await asyncio.to_thread(system.start, "tracker", http_port=str(port))
    paths = [f"/c/{RING.issue_tracking(i)}/0" for i in book.ids] + [f"/o/{RING.issue_tracking(i)}" for i in book.ids]
    answered: list[str] = []
    enough = asyncio.Event()

    async def ask(client: httpx.AsyncClient, path: str) -> None:
        while True:
            try:
                await client.get(path)
            except httpx.TransportError:
                return
            answered.append(path)
            if len(answered) >= 200:
                enough.set()

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False) as client:
        asking = [asyncio.create_task(ask(client, path)) for path in paths]
        await enough.wait()
        service.process.send_signal(signal.SIGKILL)
        await asyncio.gather(*asking)
    service.process.wait()
    system.services.remove(service)
    await asyncio.to_thread(system.start, "tracker", http_port=str(free_port()), name="second")
    clicks = sum(path.startswith("/c/") for path in answered)
    opens = len(answered) - clicks

    def nothing_is_missing(counters: dict[str, int]) -> bool:
        """Requests under way at the kill may have been counted too: at most one for each asker."""
        return counters.get("clicks", 0) >= clicks and counters.get("opens", 0) >= opens

    await eventually(book.counters, nothing_is_missing)
    await asyncio.sleep(0.5)
    counters = await book.counters()
    assert counters["clicks"] + counters["opens"] <= len(answered) + len(paths)
    assert (counters["clicked"], counters["opened"]) == (4, 4)


async def test_sigterm_answers_what_is_under_way_and_leaves_everything_projected(system: System, book: Ledger) -> None:
    """Status 0; every answered request is in Postgres or on the belt for the next one, none is lost."""
    port = free_port()
    service = await asyncio.to_thread(system.start, "tracker", http_port=str(port))
    answered = 0
    enough = asyncio.Event()

    async def ask(client: httpx.AsyncClient, message_id: int) -> None:
        nonlocal answered
        while True:
            try:
                status = (await client.get(f"/o/{RING.issue_tracking(message_id)}")).status_code
            except httpx.TransportError:
                return
            answered += status == 200
            if answered >= 100:
                enough.set()

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False) as client:
        asking = [asyncio.create_task(ask(client, message_id)) for message_id in book.ids * 2]
        await enough.wait()
        begun = time.monotonic()
        status = await asyncio.to_thread(system.stop, service)
        await asyncio.gather(*asking)
    assert status == 0, service.tail()
    assert time.monotonic() - begun < 8
    assert "events_lost" not in service.tail(100_000)
    await asyncio.to_thread(system.start, "tracker", http_port=str(free_port()), name="second")
    counters = await eventually(book.counters, lambda c: c.get("opens", 0) >= answered)
    assert counters["opens"] <= answered + len(book.ids) * 2


def test_secret_of_these_tests_is_32_bytes() -> None:
    """The ring of the tests and the setting of the processes are one."""
    assert base64.b64decode(SECRET) == b"s" * 32
