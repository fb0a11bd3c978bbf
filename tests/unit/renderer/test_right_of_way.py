"""Bulk chunks step aside for first chunks and transactional mail, and are not stopped by them."""

import threading
import time

import pytest

from hayabin.domain.campaign import RenderBelt
from services.renderer.right_of_way import LONGEST_S, RightOfWay

BULK, FIRST, TRANSACTIONAL = RenderBelt.BULK, RenderBelt.FIRST, RenderBelt.TRANSACTIONAL


@pytest.mark.parametrize(
    ("at_work", "asks", "waits"),
    [
        (TRANSACTIONAL, BULK, True),
        (FIRST, BULK, True),
        (TRANSACTIONAL, FIRST, True),
        (BULK, FIRST, False),
        (BULK, TRANSACTIONAL, False),
        (FIRST, TRANSACTIONAL, False),
        (BULK, BULK, False),
    ],
)
def test_step_aside_only_for_who_goes_before_and_for_a_little(
    at_work: RenderBelt, asks: RenderBelt, waits: bool
) -> None:
    """The order is transactional, first, bulk; a wait ends by itself."""
    way = RightOfWay()
    with way.work(at_work):
        begun = time.monotonic()
        way.step_aside(asks)
        waited = time.monotonic() - begun
    assert (waited >= LONGEST_S * 0.9) is waits
    assert waited < 1


@pytest.mark.alone
def test_step_aside_ends_as_soon_as_the_others_are_through() -> None:
    """Nobody sleeps on while the way is free."""
    way = RightOfWay()
    at_work, done = threading.Event(), threading.Event()

    def urgent() -> None:
        with way.work(TRANSACTIONAL):
            at_work.set()
            done.wait(5)

    thread = threading.Thread(target=urgent)
    thread.start()
    at_work.wait(5)
    threading.Timer(0.005, done.set).start()
    begun = time.monotonic()
    way.step_aside(BULK)
    assert time.monotonic() - begun < LONGEST_S
    thread.join()
    begun = time.monotonic()
    for _ in range(1000):
        way.step_aside(BULK)
    assert time.monotonic() - begun < 0.5, "a free way costs nothing"
