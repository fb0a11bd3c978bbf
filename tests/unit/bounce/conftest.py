"""Asynchronous tests of this folder run on both event loops: processes use uvloop, and aiosmtpd was made for asyncio's."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loops by the names that test ids show."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
