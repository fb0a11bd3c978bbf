"""The mark that both brokers keep as a witness outside the database."""

import asyncio

from hayabin.broker import Broker, Trouble, connect
from hayabin.broker.topology import MARK_QUEUE
from tests.contract.belt import drain
from tests.support.waiting import eventually


async def test_mark_is_recalled_as_it_was_remembered_last(broker: Broker) -> None:
    """The newest mark replaces those before it, and looking at it does not take it away."""
    await broker.remember(b"first")
    await broker.remember(b"\x00second\xff")
    for _ in range(30):  # more than the deliveries that RabbitMQ 4 allows where nothing is said
        assert await broker.recall() == b"\x00second\xff"
    await eventually(lambda: broker.depth([MARK_QUEUE]), lambda depth: depth[MARK_QUEUE] == 1)


async def test_mark_is_seen_by_all_who_look_at_once(broker: Broker, broker_url: str) -> None:
    """Several processes may look at the same moment, and each sees it."""
    await broker.remember(b"seen")
    async with connect(broker_url, name="second") as second, connect(broker_url, name="third") as third:
        looks = [one.recall() for one in (broker, second, third) for _ in range(4)]
        assert await asyncio.gather(*looks) == [b"seen"] * len(looks)


async def test_mark_replaced_while_it_is_looked_at_is_the_new_one(broker: Broker, broker_url: str) -> None:
    """A mark that comes while the old one is in somebody's hand wins as soon as that is given back; one is left."""
    await broker.remember(b"old")
    async with connect(broker_url, name="second") as second:
        for turn in range(10):
            new = b"new %d" % turn
            await asyncio.gather(second.recall(), broker.remember(new), second.recall())
            await eventually(broker.recall, lambda seen, new=new: seen == new)  # type: ignore[misc]
    await eventually(lambda: broker.depth([MARK_QUEUE]), lambda depth: depth[MARK_QUEUE] == 1)


async def test_mark_is_gone_when_its_queue_was_emptied(broker: Broker) -> None:
    """Who empties the belt takes the mark away, and that is how it is found out."""
    await broker.remember(b"witness")
    assert await broker.recall() == b"witness"
    await drain(broker, MARK_QUEUE)
    assert await broker.recall() is None


async def test_problem_of_a_belt_that_works_is_none(broker: Broker) -> None:
    """The word for no problem is the empty one."""
    assert await broker.problem() is Trouble.NONE
    assert not Trouble.NONE.value
    assert await broker.healthy()
