"""Both brokers keep the promises of ``hayabin.broker.interface``; each test runs against each of them."""

import asyncio
import itertools
import subprocess
import sys
import time

import pytest

from hayabin.broker import Broker, Delivery, Outgoing, PublishFailed, connect
from hayabin.broker.consumer import LONGEST_PAUSE_S, TEMPORARY_PAUSE_S, handle
from hayabin.broker.topology import DELIVERY_LIMIT, EVENTS, PARKED_QUEUE, events_queue
from hayabin.domain.errors import PermanentFailure, PoisonMessage, TemporaryFailure
from tests.contract.belt import QUEUE, Collector, drain, outgoing, publish_until_confirmed
from tests.support.fault_proxy import fault_proxy_before


async def test_publish_confirmed_message_is_delivered_with_body_and_headers(broker: Broker) -> None:
    """What was published arrives byte for byte, in order, with its headers."""
    await broker.publish(outgoing(b"\x00one", b"two" * 100_000, traceparent="00-ab-cd-01"))
    taken = await drain(broker, QUEUE.name)
    assert [delivery.body for delivery in taken] == [b"\x00one", b"two" * 100_000]
    assert taken[0].headers["traceparent"] == "00-ab-cd-01"
    assert not taken[0].redelivered


async def test_publish_without_a_queue_raises(broker: Broker) -> None:
    """A message that no queue takes is a failure of the publisher, not a silent loss."""
    with pytest.raises(PublishFailed):
        await broker.publish([Outgoing(EVENTS, "nobody-listens", b"lost?")])


async def test_consume_prefetch_bounds_unsettled_deliveries(broker: Broker) -> None:
    """No more than ``prefetch`` messages are in the consumer's hands until it settles some."""
    await broker.publish(outgoing(*(b"%d" % i for i in range(20))))
    collector = Collector()
    subscription = await broker.consume(QUEUE.name, collector, prefetch=3)
    await collector.wait_for(3)
    await asyncio.sleep(0.5)
    assert len(collector.deliveries) == 3
    assert (await broker.depth([QUEUE.name]))[QUEUE.name] == 17
    await collector.deliveries[0].ack()
    await collector.wait_for(4)
    await asyncio.sleep(0.3)
    assert len(collector.deliveries) == 4
    await subscription.cancel()
    for delivery in collector.deliveries[1:]:
        await delivery.ack()
    assert len(await drain(broker, QUEUE.name)) == 16


async def test_ack_removes_and_requeue_delivers_again(broker: Broker) -> None:
    """An acknowledged message is gone; a requeued one comes again and says so."""
    await broker.publish(outgoing(b"keep", b"again"))
    collector = Collector()
    subscription = await broker.consume(QUEUE.name, collector, prefetch=10)
    first, second = (await collector.wait_for(2))[:2]
    await first.ack()
    await second.requeue()
    third = (await collector.wait_for(3))[2]
    assert third.body == b"again"
    assert third.redelivered
    await third.ack()
    await subscription.cancel()
    assert await drain(broker, QUEUE.name) == []


async def test_cancelled_subscription_gets_no_new_deliveries(broker: Broker) -> None:
    """After cancel nothing new arrives, and what is in hand may still be settled."""
    await broker.publish(outgoing(b"in hand"))
    collector = Collector()
    subscription = await broker.consume(QUEUE.name, collector, prefetch=10)
    await collector.wait_for(1)
    await subscription.cancel()
    await broker.publish(outgoing(b"later"))
    await asyncio.sleep(0.5)
    assert len(collector.deliveries) == 1
    await collector.deliveries[0].ack()
    assert [delivery.body for delivery in await drain(broker, QUEUE.name)] == [b"later"]


async def test_consumer_that_is_killed_loses_nothing(broker: Broker, broker_url: str) -> None:
    """Kill -9 of a consumer with deliveries in hand: they are delivered to the next one, marked as redelivered."""
    await broker.publish(outgoing(b"a", b"b", b"c"))
    program = (
        "import asyncio\n"
        "from hayabin.broker import connect\n"
        "async def take(delivery): print('taken', flush=True)\n"
        "async def main():\n"
        f"    async with connect({broker_url!r}, name='victim') as broker:\n"
        f"        await broker.consume({QUEUE.name!r}, take, prefetch=10)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    victim = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert victim.stdout is not None
    for _ in range(3):
        assert await asyncio.to_thread(victim.stdout.readline) == "taken\n"
    victim.kill()
    victim.wait()
    victim.stdout.close()
    collector = Collector()
    subscription = await broker.consume(QUEUE.name, collector, prefetch=10)
    again = await collector.wait_for(3, timeout_s=30)
    assert sorted(delivery.body for delivery in again) == [b"a", b"b", b"c"]
    assert all(delivery.redelivered for delivery in again)
    for delivery in again:
        await delivery.ack()
    await subscription.cancel()


async def test_park_keeps_body_reason_and_origin(broker: Broker) -> None:
    """A parked message stands in the parked queue with why and whence, and nowhere else."""
    await broker.publish(outgoing(b"poison", traceparent="t"))
    collector = Collector()
    subscription = await broker.consume(QUEUE.name, collector, prefetch=1)
    await (await collector.wait_for(1))[0].park("undecodable", "byte 3")
    await subscription.cancel()
    (parked,) = await drain(broker, PARKED_QUEUE)
    assert parked.body == b"poison"
    assert parked.headers["hayabin-reason"] == "undecodable"
    assert parked.headers["hayabin-detail"] == "byte 3"
    assert parked.headers["hayabin-queue"] == QUEUE.name
    assert parked.headers["traceparent"] == "t"
    assert await drain(broker, QUEUE.name) == []


async def test_handler_failures_decide_what_happens(broker: Broker) -> None:
    """Temporary → again; permanent → done; poison → parked; a surprise → again, parked at the third time."""
    calls: dict[bytes, int] = {}

    async def handler(delivery: Delivery) -> None:
        calls[delivery.body] = calls.get(delivery.body, 0) + 1
        if delivery.body == b"temporary" and calls[delivery.body] == 1:
            raise TemporaryFailure("try_again")
        if delivery.body == b"permanent":
            raise PermanentFailure("never")
        if delivery.body == b"poison":
            raise PoisonMessage("bad")
        if delivery.body == b"surprise":
            raise KeyError("surprise")

    await broker.publish(outgoing(b"temporary", b"permanent", b"poison", b"surprise", b"fine"))
    subscription = await broker.consume(QUEUE.name, handle(handler), prefetch=10)
    deadline = time.monotonic() + 15
    while calls != {b"temporary": 2, b"permanent": 1, b"poison": 1, b"surprise": 3, b"fine": 1}:
        assert time.monotonic() < deadline, calls
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.2)
    await subscription.cancel()
    reasons = {delivery.body: delivery.headers["hayabin-reason"] for delivery in await drain(broker, PARKED_QUEUE)}
    assert reasons == {b"poison": "bad", b"surprise": "handler_failed"}
    assert await drain(broker, QUEUE.name) == []


async def test_handler_that_fails_for_long_is_tried_at_longer_pauses(amqp_url: str) -> None:
    """An outage of minutes does not use up the delivery limit, after which the broker would park what is fine."""
    async with connect(amqp_url, name="patient") as broker:
        await broker.declare([QUEUE])
        await drain(broker, QUEUE.name)
        at: list[float] = []

        async def handler(_delivery: Delivery) -> None:
            at.append(time.monotonic())
            if len(at) < 4:
                raise TemporaryFailure("database_away")

        await broker.publish(outgoing(b"a report"))
        subscription = await broker.consume(QUEUE.name, handle(handler), prefetch=1)
        deadline = time.monotonic() + 30
        while len(at) < 4 and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.2)
        await subscription.cancel()
    pauses = [later - earlier for earlier, later in itertools.pairwise(at)]
    assert all(pause >= least for pause, least in zip(pauses, (1, 2, 4), strict=True)), pauses
    longest = sum(min(TEMPORARY_PAUSE_S * 2**n, LONGEST_PAUSE_S) for n in range(DELIVERY_LIMIT))
    assert longest > 11 * 60


async def test_depth_of_unknown_queue_is_zero(broker: Broker) -> None:
    """Asking for the depth of what does not exist is no error, and the connection works on."""
    assert await broker.depth(["events.nothing", events_queue("delivery")]) == {
        "events.nothing": 0,
        events_queue("delivery"): 0,
    }
    await broker.publish(outgoing(b"still works"))
    assert len(await drain(broker, QUEUE.name)) == 1


async def test_slow_consumer_holds_the_belt_not_memory(broker: Broker) -> None:
    """Back-pressure: with a slow consumer the rest stays with the broker."""
    await broker.publish(outgoing(*(b"x" * 1000 for _ in range(200))))
    running = 0
    most = 0

    async def slow(delivery: Delivery) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.005)
        running -= 1
        await delivery.ack()

    subscription = await broker.consume(QUEUE.name, slow, prefetch=5)
    deadline = time.monotonic() + 20
    while (await broker.depth([QUEUE.name]))[QUEUE.name]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    await subscription.cancel()
    await asyncio.sleep(0.2)
    assert most <= 5


async def test_publisher_and_consumer_go_on_after_the_connection_was_cut(broker_url: str) -> None:
    """The connections are reset under a running broker; consumption and publishing recover by themselves."""
    collector = Collector()

    async def take(delivery: Delivery) -> None:
        await collector(delivery)
        await delivery.ack()

    async with fault_proxy_before(broker_url) as (url, proxy), connect(url, name="cut") as broker:
        await broker.declare([QUEUE])
        await broker.consume(QUEUE.name, take, prefetch=5)
        await broker.publish(outgoing(b"before"))
        await collector.wait_for(1)
        proxy.cut()
        await asyncio.sleep(0.1)
        await publish_until_confirmed(broker, outgoing(b"after"))
        deadline = time.monotonic() + 30
        while b"after" not in {delivery.body for delivery in collector.deliveries}:
            assert time.monotonic() < deadline, "the consumer did not come back"
            await asyncio.sleep(0.05)
