"""Both brokers, so that each contract test runs against each of them."""

from collections.abc import AsyncIterator

import pytest

from hayabin.broker import Broker, connect
from hayabin.broker.topology import PARKED_QUEUE
from tests.contract.belt import QUEUE, drain


@pytest.fixture(params=["rabbitmq", "embedded"])
async def broker_url(request: pytest.FixtureRequest) -> str:
    """The URL of a running broker of each kind."""
    return str(request.getfixturevalue("amqp_url" if request.param == "rabbitmq" else "database_url"))


@pytest.fixture
async def broker(broker_url: str) -> AsyncIterator[Broker]:
    """A connected broker with one empty queue of its own."""
    async with connect(broker_url, name="contract") as broker:
        await broker.declare([QUEUE])
        await drain(broker, QUEUE.name)
        await drain(broker, PARKED_QUEUE)
        yield broker
