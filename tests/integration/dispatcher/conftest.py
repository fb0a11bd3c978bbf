"""What touches transports runs on both event loops: the dispatcher uses uvloop, the standard one is the reference."""

import asyncio
from collections.abc import Callable, Iterator, Mapping

import pytest
import uvloop

from services.dispatcher.pipelining import BROKEN_OFFERS

BOTH_LOOPS = frozenset(
    {"test_smtp_session.py", "test_smtp_replies.py", "test_smtp_content.py", "test_connect.py", "test_resolver.py"}
)


@pytest.hookimpl
def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Give the loops of a test by name."""
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if item.path.name in BOTH_LOOPS:
        loops["uvloop"] = uvloop.new_event_loop
    return loops


@pytest.fixture(autouse=True)
def no_memory() -> Iterator[None]:
    """No test knows of another's servers."""
    BROKEN_OFFERS.until_s.clear()
    yield
    BROKEN_OFFERS.until_s.clear()
