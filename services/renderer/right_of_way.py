"""Who goes first among the threads that render: transactional mail, then first chunks, then bulk.

Promises: a thread steps aside, between two mails, while one that goes before it works; it is never held for longer than
``LONGEST_S`` a mail, so a steady stream of others slows it and does not stop it.
It cannot fail.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from hayabin.domain.campaign import RenderBelt

LONGEST_S: Final = 0.02
_ORDER: Final = (RenderBelt.TRANSACTIONAL, RenderBelt.FIRST, RenderBelt.BULK)


class RightOfWay:
    """Shared by the threads of a renderer."""

    def __init__(self) -> None:
        """Begin with nobody at work."""
        self._at_work = [0] * len(_ORDER)
        self._changed = threading.Condition()

    @contextmanager
    def work(self, belt: RenderBelt) -> Iterator[None]:
        """Work on a chunk of a belt."""
        rank = _ORDER.index(belt)
        with self._changed:
            self._at_work[rank] += 1
        try:
            yield
        finally:
            with self._changed:
                self._at_work[rank] -= 1
                self._changed.notify_all()

    def step_aside(self, belt: RenderBelt) -> None:
        """Wait while somebody who goes before is at work, for a little."""
        before = self._at_work[: _ORDER.index(belt)]
        if not any(before):
            return
        rank = len(before)
        with self._changed:
            self._changed.wait_for(lambda: not any(self._at_work[:rank]), LONGEST_S)
