"""What RabbitMQ does to us in bad times, with a broker of its own that is killed, wiped, frozen and filled up."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Iterator

import aio_pika
import pytest

from hayabin.broker import (
    Broker,
    Delivery,
    PublishFailed,
    Trouble,
    connect,
    rabbitmq,
    rabbitmq_link,
)
from hayabin.broker.topology import EVENTS, PARKED_QUEUE, Queue, pool_queues, shared_queues
from tests.contract.belt import QUEUE, Collector, drain, outgoing, publish_until_confirmed
from tests.support.fault_proxy import fault_proxy_before
from tests.support.rabbitmq import RabbitInstance, private_rabbitmq
from tests.support.waiting import eventually

OTHER = Queue("events.contract-other", EVENTS, "contract-other")


@pytest.fixture(scope="module")
def node() -> Iterator[RabbitInstance]:
    """A broker that may be harmed."""
    with private_rabbitmq() as instance:
        yield instance


@pytest.fixture
async def broker(node: RabbitInstance) -> AsyncIterator[Broker]:
    """A connection to it, with one empty queue."""
    async with connect(node.url, name="faults") as broker:
        await broker.declare([QUEUE])
        await drain(broker, QUEUE.name)
        yield broker


class Acknowledging(Collector):
    """A consumer that keeps its deliveries, acknowledged."""

    async def __call__(self, delivery: Delivery) -> None:
        """Keep it."""
        await super().__call__(delivery)
        await delivery.ack()

    async def gets(self, body: bytes) -> None:
        """Wait for a message."""
        await eventually(self._bodies, lambda bodies: body in bodies, every_s=0.05)

    async def _bodies(self) -> set[bytes]:
        return {delivery.body for delivery in self.deliveries}


async def fails_in_time(asked: Awaitable[object], within_s: float) -> None:
    """The call ends with an error that says that the belt is away, and soon enough."""
    begun_s = time.monotonic()
    with pytest.raises((OSError, PublishFailed)):
        await asked
    assert time.monotonic() - begun_s < within_s


@pytest.mark.slow
async def test_broker_killed_three_times_comes_back_each_time(node: RabbitInstance, broker: Broker) -> None:
    """Kill -9: publishing fails meanwhile, in time, and works afterwards; both subscriptions consume again."""
    await broker.declare([OTHER])
    one, other = Acknowledging(), Acknowledging()
    await broker.consume(QUEUE.name, one, prefetch=5)
    await broker.consume(OTHER.name, other, prefetch=5)
    # RabbitMQ 3.10 finds a quorum queue without a leader if it is killed before it wrote down that the queue is there
    await asyncio.to_thread(node.control, "eval", "[dets:sync(Table) || Table <- dets:all()].")
    for turn in (b"1", b"2", b"3"):
        node.kill()
        await eventually(broker.problem, lambda problem: problem == Trouble.AWAY, timeout_s=10)
        assert not await broker.healthy()
        await asyncio.gather(
            fails_in_time(broker.publish(outgoing(b"while away")), within_s=10),
            fails_in_time(broker.depth([QUEUE.name]), within_s=10),
        )
        await asyncio.to_thread(node.start)
        await publish_until_confirmed(broker, outgoing(turn))
        await publish_until_confirmed(broker, outgoing(turn, queue=OTHER))
        await one.gets(turn)
        await other.gets(turn)
        assert await broker.problem() == Trouble.NONE
        assert await broker.healthy()


async def test_wiped_broker_gets_its_queues_and_consumers_back(node: RabbitInstance, broker: Broker) -> None:
    """The node comes back empty: all that was declared is there again, also what nobody consumes, and the mark is not."""
    await broker.declare(pool_queues("wiped"))
    await broker.remember(b"before")
    consumer = Acknowledging()
    await broker.consume(QUEUE.name, consumer, prefetch=5)
    await asyncio.to_thread(node.wipe)
    await publish_until_confirmed(broker, outgoing(b"after"))
    await consumer.gets(b"after")
    await eventually(broker.healthy, bool)
    there = set((await asyncio.to_thread(node.control, "list_queues", "name", "--silent")).split())
    declared = {queue.name for queue in [QUEUE, *shared_queues(), *pool_queues("wiped")]}
    assert declared <= there
    assert await broker.recall() is None


async def test_deleted_queue_is_made_again_under_its_consumer(node: RabbitInstance, broker: Broker) -> None:
    """The broker cancels the consumer of a queue that somebody deletes; it comes back with the queue."""
    consumer = Acknowledging()
    await broker.consume(QUEUE.name, consumer, prefetch=5)
    await asyncio.to_thread(node.control, "delete_queue", QUEUE.name)
    await publish_until_confirmed(broker, outgoing(b"after the deletion"))
    await consumer.gets(b"after the deletion")


async def test_deleted_queue_without_consumer_is_made_again_by_the_publisher(
    node: RabbitInstance, broker: Broker
) -> None:
    """The publish that finds no queue fails, and the next one finds it."""
    await asyncio.to_thread(node.control, "delete_queue", QUEUE.name)
    with pytest.raises(PublishFailed) as failure:
        await broker.publish(outgoing(b"first"))
    assert failure.value.reason == "unroutable"
    await broker.publish(outgoing(b"second"))
    assert [delivery.body for delivery in await drain(broker, QUEUE.name)] == [b"second"]


async def test_stalled_connection_is_noticed_and_nothing_waits_for_ever(node: RabbitInstance) -> None:
    """Bytes stop without a close: heartbeats find out, every call ends, and all goes on when they flow again."""
    many = [f"events.nothing-{number}" for number in range(200)]
    async with (
        fault_proxy_before(node.url) as (url, proxy),
        connect(f"{url}?heartbeat=1", name="stalled") as broker,
    ):
        await broker.declare([QUEUE])
        await drain(broker, QUEUE.name)
        holding, consumer = Collector(), Acknowledging()
        subscription = await broker.consume(QUEUE.name, holding, prefetch=1)
        await broker.publish(outgoing(b"in hand"))
        (held,) = await holding.wait_for(1)
        proxy.stall()
        await asyncio.gather(
            fails_in_time(broker.publish(outgoing(b"lost")), within_s=25),
            fails_in_time(broker.depth(many), within_s=25),
            fails_in_time(broker.declare([OTHER]), within_s=25),
            fails_in_time(broker.consume(QUEUE.name, consumer, prefetch=1), within_s=25),
            fails_in_time(broker.recall(), within_s=25),
        )
        assert await broker.problem() == Trouble.AWAY
        async with asyncio.timeout(5):
            await held.ack()
        async with asyncio.timeout(10):
            await subscription.cancel()
        proxy.heal()
        await publish_until_confirmed(broker, outgoing(b"flows again"))
        await broker.consume(QUEUE.name, consumer, prefetch=5)
        await consumer.gets(b"flows again")
        await consumer.gets(b"in hand")


async def test_memory_alarm_is_told_and_consumers_go_on(
    node: RabbitInstance, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an alarm publishing fails, in time and by name, while acknowledgements and depth pass; then all goes on."""
    monkeypatch.setattr(rabbitmq, "CONFIRM_TIMEOUT_S", 2.0)
    await broker.publish(outgoing(*(b"%d" % number for number in range(20))))
    await asyncio.to_thread(node.control, "set_vm_memory_high_watermark", "absolute", "1MB")
    await fails_in_time(broker.publish(outgoing(b"alarmed")), within_s=5)
    assert await broker.problem() == Trouble.BLOCKED
    assert await broker.healthy()
    with pytest.raises(PublishFailed, match="blocked"):
        await broker.publish(outgoing(b"alarmed again"))
    consumer = Acknowledging()
    await broker.consume(QUEUE.name, consumer, prefetch=1)
    await consumer.wait_for(20)
    await eventually(lambda: broker.depth([QUEUE.name]), lambda depth: depth[QUEUE.name] == 0)
    await asyncio.to_thread(node.control, "set_vm_memory_high_watermark", "0.4")
    await eventually(broker.problem, lambda problem: problem == Trouble.NONE)
    await publish_until_confirmed(broker, outgoing(b"afterwards"))
    await consumer.gets(b"afterwards")


async def test_silent_broker_counts_as_blocked_until_it_confirms(
    node: RabbitInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A confirm that does not come in time, on a connection that seems to stand, is told as ``blocked``."""
    monkeypatch.setattr(rabbitmq, "CONFIRM_TIMEOUT_S", 1.0)
    async with fault_proxy_before(node.url) as (url, proxy), connect(url, name="silent") as broker:
        await broker.declare([QUEUE])
        proxy.stall()
        await fails_in_time(broker.publish(outgoing(b"not confirmed")), within_s=3)
        assert await broker.problem() == Trouble.BLOCKED
        proxy.heal()
        await publish_until_confirmed(broker, outgoing(b"confirmed"))
        assert await broker.problem() == Trouble.NONE


async def test_connect_to_a_silent_server_fails_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes connections and says nothing."""
    monkeypatch.setattr(rabbitmq_link, "CONNECT_TIMEOUT_S", 1.0)
    server = await asyncio.start_server(lambda _reader, _writer: asyncio.sleep(60), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def enter() -> None:
        async with connect(f"amqp://guest:guest@127.0.0.1:{port}/", name="silent"):
            pass

    await fails_in_time(enter(), within_s=5)
    server.close()


async def test_older_parked_queue_without_a_limit_is_taken_as_it_is(node: RabbitInstance) -> None:
    """An installation from before the limit goes on: connecting, parking and looking work."""
    await asyncio.to_thread(node.control, "delete_queue", PARKED_QUEUE)
    async with await aio_pika.connect(node.url) as connection:
        channel = await connection.channel()
        old = await channel.declare_queue(PARKED_QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
        await old.bind("hayabin.dead", PARKED_QUEUE)
    async with connect(node.url, name="upgraded") as broker:
        await broker.declare([QUEUE])
        await drain(broker, QUEUE.name)
        collector = Collector()
        subscription = await broker.consume(QUEUE.name, collector, prefetch=1)
        await broker.publish(outgoing(b"poison"))
        await (await collector.wait_for(1))[0].park("undecodable")
        await subscription.cancel()
        assert [parked.body for parked in await broker.parked(10)] == [b"poison"]
