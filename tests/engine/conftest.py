"""The world of the engine's tests: a fixture that makes it from one line of what differs."""

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from services.dispatcher.pipelining import BROKEN_OFFERS
from tests.support.dns_zone import Zone
from tests.support.engine_world import EngineWorld, engine_world
from tests.support.mx_script import Listener

MakeWorld = Callable[..., AbstractAsyncContextManager[EngineWorld]]


@pytest.fixture
def make_world(database_url: str, amqp_url: str, tmp_path: Path) -> MakeWorld:
    """Make a world from its zone, its MX hosts and the dispatcher's settings."""

    def make(zone: Zone, *listeners: Listener, **variables: str) -> AbstractAsyncContextManager[EngineWorld]:
        return engine_world(database_url, amqp_url, tmp_path, zone, listeners, **variables)

    return make


@pytest.fixture(autouse=True)
def no_memory() -> Iterator[None]:
    """No test knows of another's servers."""
    BROKEN_OFFERS.until_s.clear()
    yield
    BROKEN_OFFERS.until_s.clear()
