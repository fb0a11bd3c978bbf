"""Open the belt that a URL names.

Promises: ``amqp://`` and ``amqps://`` are RabbitMQ, ``postgresql://`` is the embedded broker. Who is patient waits for
a broker that is not there yet (``broker_waits`` in the log).
Fails: ``ValueError`` for another scheme; ``StartRefused`` where the broker refuses who we are; the driver's errors
where it is not there and nobody is patient.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from aio_pika.exceptions import AMQPError, AuthenticationError, ProbableAuthenticationError

from hayabin.broker.embedded import open_embedded
from hayabin.broker.interface import Broker
from hayabin.broker.rabbitmq import open_rabbitmq
from hayabin.broker.topology import shared_queues
from hayabin.database.patience import StartRefused, patiently

_WAITS_FOR = (OSError, TimeoutError, AMQPError)


@asynccontextmanager
async def connect(url: str, *, name: str, patient: bool = False) -> AsyncIterator[Broker]:
    """The broker at ``url`` with the shared queues declared, closed at the end of the block."""

    async def attempt() -> tuple[AsyncExitStack, Broker]:
        stack = AsyncExitStack()
        async with stack:
            try:
                broker = await stack.enter_async_context(_open(url, name))
            except (AuthenticationError, ProbableAuthenticationError) as error:
                raise StartRefused("the broker refuses us: look at HAYABIN_BROKER_URL") from error
            await broker.declare(shared_queues())
            stack = stack.pop_all()
        return stack, broker

    stack, broker = await (patiently(attempt, "broker_waits", _WAITS_FOR) if patient else attempt())
    async with stack:
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
