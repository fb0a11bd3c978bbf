"""Messages that were set aside are looked at, tried again and thrown away, at both brokers."""

import asyncio
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hayabin.broker import Broker, Delivery, Parked, connect
from hayabin.broker.parking import original_headers, parking_headers, read_parked
from hayabin.broker.topology import EVENTS, PARKED_QUEUE, Queue, way_to
from tests.contract.belt import QUEUE, Collector, drain, outgoing
from tests.support.waiting import eventually

STRANGE = Queue("strange", EVENTS, "strange")


async def park(broker: Broker, *bodies: bytes, queue: Queue = QUEUE) -> list[Parked]:
    """Park such messages from the queue, and return what is parked then."""
    collector = Collector()
    await broker.publish(outgoing(*bodies, queue=queue, traceparent="t"))
    subscription = await broker.consume(queue.name, collector, prefetch=len(bodies))
    for delivery in await collector.wait_for(len(bodies)):
        await delivery.park("undecodable", f"says {delivery.body.decode()}")
    await subscription.cancel()
    return await broker.parked(100)


async def test_parked_message_shows_reason_queue_and_body_and_stays(broker: Broker) -> None:
    """Looking gives the same each time, and takes nothing away."""
    seen = await park(broker, b"one", b"two")
    for _ in range(25):
        assert await broker.parked(100) == seen
    one, two = seen
    assert (one.queue, one.reason, one.detail) == (QUEUE.name, "undecodable", "says one")
    assert (one.body, one.size_bytes, dict(one.headers)) == (b"one", 3, {"traceparent": "t"})
    assert one.parked_at is not None
    assert one.id != two.id
    assert await broker.parked(1) == [one]
    assert (await broker.depth([PARKED_QUEUE]))[PARKED_QUEUE] == 2


async def test_retried_message_is_delivered_again_as_it_first_was(broker: Broker) -> None:
    """It leaves the parked queue for its own, with the headers it came with; the others stay parked."""
    one, two, three = await park(broker, b"one", b"two", b"three")
    assert await broker.retry_parked([two.id, "no such id"]) == 1
    (again,) = await drain(broker, QUEUE.name)
    assert (again.body, dict(again.headers)) == (b"two", {"traceparent": "t"})
    assert await broker.parked(100) == [one, three]
    assert await broker.retry_parked([two.id]) == 0


async def test_retried_message_wakes_a_waiting_consumer(broker: Broker) -> None:
    """A consumer that is there gets it without being asked; parked again, it has a new id."""
    (first,) = await park(broker, b"again")
    collector = Collector()
    subscription = await broker.consume(QUEUE.name, collector, prefetch=1)
    assert await broker.retry_parked([first.id]) == 1
    await (await collector.wait_for(1))[0].park("still_undecodable")
    await subscription.cancel()
    (second,) = await broker.parked(100)
    assert (second.reason, second.detail, second.body) == ("still_undecodable", "", b"again")
    assert second.id != first.id


async def test_dropped_message_is_gone_and_the_others_stay(broker: Broker) -> None:
    """Nothing but what was named is thrown away."""
    one, two, three = await park(broker, b"one", b"two", b"three")
    assert await broker.drop_parked([one.id, three.id]) == 2
    assert await broker.parked(100) == [two]
    assert await broker.drop_parked([one.id]) == 0
    assert await drain(broker, QUEUE.name) == []


async def test_message_that_the_broker_gave_up_shows_where_it_came_from(broker: Broker) -> None:
    """After too many deliveries the broker itself parks it: its queue, reason and id are known, and it can be retried."""

    async def give_back(delivery: Delivery) -> None:
        await delivery.requeue()

    await broker.publish(outgoing(b"never", traceparent="t"))
    subscription = await broker.consume(QUEUE.name, give_back, prefetch=1)
    (given_up,) = await eventually(lambda: broker.parked(10), bool)
    await subscription.cancel()
    assert (given_up.queue, given_up.reason, given_up.body) == (QUEUE.name, "delivery_limit", b"never")
    assert given_up.parked_at is not None
    assert await broker.parked(10) == [given_up]
    assert await broker.retry_parked([given_up.id]) == 1
    (again,) = await drain(broker, QUEUE.name)
    assert dict(again.headers) == {"traceparent": "t"}


async def test_message_of_an_unknown_queue_stays_parked_and_holds_up_no_other(broker: Broker) -> None:
    """What cannot go back is left where it is; what can, goes."""
    await broker.declare([STRANGE])
    (strange,) = await park(broker, b"strange", queue=STRANGE)
    both = await park(broker, b"known")
    assert await broker.retry_parked([parked.id for parked in both]) == 1
    assert await broker.parked(100) == [strange]


async def test_retry_that_is_killed_loses_nothing(broker: Broker, broker_url: str) -> None:
    """Kill -9 in the middle: each message is parked or on its queue, or on both."""
    bodies = [b"%d" % number for number in range(200)]
    seen: list[Parked] = []
    for start in range(0, 200, 50):
        seen = await park(broker, *bodies[start : start + 50])
    assert len(seen) == 100
    program = (
        "import asyncio\n"
        "from hayabin.broker import connect\n"
        "async def main():\n"
        f"    async with connect({broker_url!r}, name='victim') as broker:\n"
        "        ids = [parked.id for parked in await broker.parked(1000)]\n"
        "        print('begins', flush=True)\n"
        "        await broker.retry_parked(ids)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    victim = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert victim.stdout is not None
    assert await asyncio.to_thread(victim.stdout.readline) == b"begins\n"
    await eventually(
        lambda: broker.depth([QUEUE.name]), lambda depth: depth[QUEUE.name] > 0, every_s=0.01, timeout_s=60
    )
    victim.kill()
    await asyncio.to_thread(victim.wait)
    victim.stdout.close()

    async def found() -> set[bytes]:
        """What is parked, and what is on the queue beside it."""
        return {parked.body for parked in await broker.parked(1000)}

    on_queue = {delivery.body for delivery in await drain(broker, QUEUE.name)}
    assert on_queue
    await eventually(found, lambda parked: parked | on_queue == set(bodies), timeout_s=60)


async def test_look_is_bounded_however_much_is_asked_for(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a million messages nor a few large ones fill the memory of who looks."""
    await park(broker, *(b"%d" % number for number in range(8)))
    for module in ("rabbitmq_parked", "embedded_parked"):
        monkeypatch.setattr(f"hayabin.broker.{module}.PARKED_LIMIT", 5)
    assert len(await broker.parked(1_000_000)) == 5
    for module in ("rabbitmq_parked", "embedded_parked"):
        monkeypatch.setattr(f"hayabin.broker.{module}.MAX_HELD_BYTES", 2)
    assert len(await broker.parked(5)) == 3


async def test_two_who_look_at_once_lose_nothing(broker: Broker, broker_url: str) -> None:
    """One may find some in the hands of the other; afterwards all are there."""
    seen = await park(broker, *(b"%d" % number for number in range(20)))
    async with connect(broker_url, name="second") as second:
        await asyncio.gather(second.parked(100), broker.parked(100))
    assert sorted(p.id for p in await broker.parked(100)) == sorted(p.id for p in seen)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(st.dictionaries(texts, texts, max_size=4), texts, texts, texts, st.binary(max_size=50))
def test_parking_headers_are_read_back(
    headers: dict[str, str], queue: str, reason: str, detail: str, body: bytes
) -> None:
    """Whatever a message carries, what we write on it when we park it is what is read, and its own headers come back."""
    written = parking_headers(headers, queue, reason, detail)
    parked = read_parked(written, body)
    assert (parked.queue, parked.reason, parked.detail, parked.body) == (queue, reason, detail, body)
    assert parked.headers == original_headers(headers)
    assert parked == read_parked(written, body)
    again = read_parked(parking_headers(written, queue, reason, detail), body)
    assert again.headers == parked.headers
    assert again.id != parked.id


@given(
    st.dictionaries(
        st.sampled_from(["x-death", "hayabin-parked-at", "hayabin-parked-id", "hayabin-queue"]),
        st.one_of(st.none(), st.integers(), texts, st.lists(st.dictionaries(texts, texts)), st.binary()),
    ),
    st.binary(max_size=10),
)
def test_strange_headers_of_others_are_read_without_failing(headers: dict[str, object], body: bytes) -> None:
    """Anybody who may publish can put anything on a message; it is shown all the same, with the same id each time."""
    assert read_parked(headers, body) == read_parked(headers, body)


@pytest.mark.parametrize(
    ("queue", "way"),
    [
        ("render.bulk", ("hayabin.render", "bulk")),
        ("dispatch.main.gmail.com", ("hayabin.dispatch", "main.gmail.com")),
        ("events.delivery", ("hayabin.events", "delivery")),
        ("parked", None),
        ("installation.mark", None),
        ("render.", None),
        ("", None),
    ],
)
def test_way_to_a_queue_is_known_by_its_name(queue: str, way: tuple[str, str] | None) -> None:
    """The queues of work alone have a way; nothing is sent to the parked queue or the mark."""
    assert way_to(queue) == way
