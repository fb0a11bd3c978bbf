"""Open the belt that a URL names.

Promises: ``amqp://`` and ``amqps://`` are RabbitMQ, ``postgresql://`` is the embedded broker.
Fails: ``ValueError`` for another scheme, the driver's error when the broker cannot be reached in ``timeout_s``.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from hayabin.broker.embedded import open_embedded
from hayabin.broker.interface import Broker
from hayabin.broker.rabbitmq import open_rabbitmq
from hayabin.broker.topology import shared_queues


@asynccontextmanager
async def connect(url: str, *, name: str) -> AsyncIterator[Broker]:
    """The broker at ``url`` with the shared queues declared, closed at the end of the block."""
    async with _open(url, name) as broker:
        await broker.declare(shared_queues())
        yield broker


def _open(url: str, name: str) -> AbstractAsyncContextManager[Broker]:
    scheme = url.split("://", 1)[0]
    match scheme:
        case "amqp" | "amqps":
            return open_rabbitmq(url, name=name)
        case "postgresql" | "postgres":
            return open_embedded(url, name=name)
        case _:
            raise ValueError(f"HAYABIN_BROKER_URL must begin with amqp:// or postgresql://, not {scheme}://")
