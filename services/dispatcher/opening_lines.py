"""The opening of a conversation as lines of text, for the transcript.

Promises: at most ``MOST_LINES`` lines of at most ``LONGEST_LINE`` characters, without control characters, whatever the
server sends. It cannot fail.
"""

import re
from collections.abc import Callable
from typing import Final

LONGEST_LINE: Final = 500
MOST_LINES: Final = 60

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")
_LEFT_OUT: Final = "-- (more was left out)"


class OpeningLines:
    """What was said, so far."""

    def __init__(self, heard: Callable[[str], None] = lambda _: None) -> None:
        """Begin empty; ``heard`` is told each line at once, also those beyond ``MOST_LINES``."""
        self._lines: list[str] = []
        self._heard = heard

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines."""
        return tuple(self._lines)

    def client(self, command: str) -> None:
        """Add what we said."""
        self._add(f"C: {command}")

    def server(self, code: int, text: str) -> None:
        """Add a reply; its lines are separated by LF."""
        *before, last = text.split("\n", MOST_LINES)[:MOST_LINES]
        for line in before:
            self._add(f"S: {code}-{line}")
        self._add(f"S: {code} {last}")

    def note(self, text: str) -> None:
        """Add what happened besides."""
        self._add(f"-- {text}")

    def _add(self, line: str) -> None:
        clean = _CONTROL.sub("?", line[:LONGEST_LINE])
        self._heard(clean)
        if len(self._lines) == MOST_LINES:
            self._lines[-1] = _LEFT_OUT
        else:
            self._lines.append(clean)
