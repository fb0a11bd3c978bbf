"""Asynchronous tests of this folder run on both event loops: processes use uvloop, and aiosmtpd was made for asyncio's."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
import uvloop

from services.bounce.peer_limits import InboundLimits
from services.bounce.smtp_server import InboundOptions, InboundServer
from tests.unit.bounce.smtp_world import Make, World


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loops by the names that test ids show."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def world() -> AsyncIterator[Make]:
    """A maker of worlds, all stopped at the end."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(limits: InboundLimits | None = None, **options: Any) -> World:
            made = World()
            made.server = InboundServer(
                InboundOptions(
                    host="127.0.0.1",
                    port=0,
                    hostname="bounce.example",
                    domains=frozenset({"bounce.example"}),
                    limits=limits or InboundLimits(),
                    **options,
                ),
                made.on_mail,
                made.refusals.append,
            )
            made.port = await made.server.start()
            stack.push_async_callback(made.server.stop, 0.0)
            return made

        yield make
