"""A connection to RabbitMQ that comes back.

Promises: whoever gets a connection gets one that was prepared (what was declared is declared again); a connection that
closes, or from which nothing was heard for three heartbeats, is replaced, with pauses between the attempts. Every wait
is bounded.
Fails: ``ConnectionError`` or ``TimeoutError`` from everything here, where the driver would raise errors of its own.

The driver's "robust" connection is not used: it restores a consumer by a passive declaration before the queue is there
again, and does not see a consumer that the broker cancelled.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import CONNECTION_EXCEPTIONS
from yarl import URL

from hayabin.telemetry.logging import get_logger

T = TypeVar("T")
CONNECT_TIMEOUT_S = 15.0
ANSWER_TIMEOUT_S = 15.0
AWAY_WAIT_S = 5.0
"""How long a call waits for a connection that is away."""
HEARTBEAT_S = 10
_CLOSE_TIMEOUT_S = 5.0
_FIRST_PAUSE_S = 0.5
_MAX_PAUSE_S = 5.0


async def answered(asked: Awaitable[T], timeout_s: float) -> T:
    """What the broker answers.

    Raises: TimeoutError; ConnectionError for whatever else the driver raises, a cancellation of its own included.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await asked
    except asyncio.CancelledError as error:
        if being_cancelled():
            raise
        raise ConnectionError("the connection was closed meanwhile") from error
    except (OSError, *CONNECTION_EXCEPTIONS) as error:
        if being_cancelled():  # the driver made an error of its own of it
            raise asyncio.CancelledError from error
        if isinstance(error, OSError):
            raise
        raise ConnectionError(repr(error)) from error


def being_cancelled() -> bool:
    """Whether the current task is, and not only something that it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def pauses() -> Callable[[], float]:
    """The pauses between attempts, longer each time."""
    pause_s = _FIRST_PAUSE_S / 2

    def longer() -> float:
        nonlocal pause_s
        pause_s = min(pause_s * 2, _MAX_PAUSE_S)
        return pause_s

    return longer


@dataclass(eq=False, slots=True)
class Standing:
    """A connection while it stands; ``lost`` is set when it does not any more."""

    connection: AbstractConnection
    lost: asyncio.Event = field(default_factory=asyncio.Event)

    async def unblocked(self, timeout_s: float) -> bool:
        """Whether the broker takes publishes on this connection, now or within the time."""
        transport = self.connection.transport
        if transport is None:
            return False
        try:
            async with asyncio.timeout(timeout_s):
                await transport.ready()
        except TimeoutError:
            return False
        return True

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[AbstractChannel]:
        """A channel for a few questions; what it holds unsettled goes back at its end."""
        channel = self.connection.channel(publisher_confirms=False)
        await channel.initialize()
        try:
            yield channel
        finally:
            await leave(channel)


async def leave(closing: AbstractChannel | AbstractConnection) -> None:
    """Close a channel or connection; one that does not answer is left to its heartbeats."""
    with contextlib.suppress(OSError):  # gone is gone
        await answered(closing.close(), _CLOSE_TIMEOUT_S)


class Link:
    """Keeps a connection; ``prepare`` is awaited on each new one before anybody gets it."""

    def __init__(self, url: str, name: str, prepare: Callable[[Standing], Awaitable[None]]) -> None:
        """Remember where; ``open`` connects."""
        given = URL(url)
        self._url = given if "heartbeat" in given.query else given.update_query(heartbeat=HEARTBEAT_S)
        self._name = name
        self._prepare = prepare
        self._standing: Standing | None = None
        self._up = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None

    @property
    def up(self) -> bool:
        """Whether the connection stands."""
        return self._up.is_set()

    async def open(self) -> None:
        """Connect once, and keep it from then on.

        Raises: OSError.
        """
        standing = await answered(self._connect(), CONNECT_TIMEOUT_S)
        self._keeping = asyncio.create_task(self._keep(standing))

    async def standing(self) -> Standing:
        """The connection, waited for.

        Raises: ConnectionError after ``AWAY_WAIT_S``.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(AWAY_WAIT_S):
                await self._up.wait()
        if not self._up.is_set() or self._standing is None:
            raise ConnectionError("the belt is away")
        return self._standing

    async def close(self) -> None:
        """End it."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        self._up.clear()
        if self._standing is not None:
            self._standing.lost.set()
            await leave(self._standing.connection)

    async def _connect(self) -> Standing:
        connection = await aio_pika.connect(self._url, client_properties={"connection_name": self._name})
        standing = Standing(connection)
        connection.close_callbacks.add(lambda *_: standing.lost.set())
        try:
            await self._prepare(standing)
        except BaseException:
            await leave(connection)
            raise
        self._standing = standing
        self._up.set()
        return standing

    async def _keep(self, standing: Standing) -> None:
        while True:
            await standing.lost.wait()
            self._up.clear()
            get_logger().warning("belt_lost", connection=self._name)
            await leave(standing.connection)
            standing = await self._connect_again()
            get_logger().info("belt_back", connection=self._name)

    async def _connect_again(self) -> Standing:
        pause_s = pauses()
        while True:
            try:
                return await answered(self._connect(), CONNECT_TIMEOUT_S)
            except Exception as error:  # noqa: BLE001 - logged; there is nobody else to bring the belt back
                get_logger().warning("belt_away", connection=self._name, error=repr(error))
            await asyncio.sleep(pause_s())
