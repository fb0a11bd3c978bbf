"""Regular expressions that people write and strangers' text is searched with: only those that are sure to be quick.

Promises: a pattern that ``bounded_pattern`` gives takes at most about ``MAX_STEPS`` steps on ``TEXT_MAX_CHARS``
characters, whatever they are (some hundredths of a second at the very worst). Python's ``re`` tries one way through a
pattern after the other, so it is the number of ways that is bounded: ``a?a?a?`` has eight of them, ``.*.*`` has the
square of the text's length.
Fails with ``ValueError``, in words for the one who wrote the pattern.
"""

import re
from typing import Final

TEXT_MAX_CHARS: Final = 512
PATTERN_MAX_CHARS: Final = 200
MAX_STEPS: Final = 2**20

_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_QUANTIFIER = re.compile(r"(?:([*+?])|\{(\d*)(,?)(\d*)\})[?+]?")


def bounded_pattern(source: str) -> re.Pattern[str]:
    """Compile a pattern that disregards case.

    Raises: ValueError if it is none, or may take too long.
    """
    if len(source) > PATTERN_MAX_CHARS:
        raise ValueError(f"more than {PATTERN_MAX_CHARS} characters")
    try:
        compiled = re.compile(source, re.IGNORECASE)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"no regular expression: {error}") from error
    if steps(source) > MAX_STEPS:
        raise ValueError("it may take too long: fewer of * + ? {n,m} and of alternatives, or ^ in front")
    return compiled


def steps(source: str) -> int:
    """Give a bound for the ways that a search has through a text of ``TEXT_MAX_CHARS``; of a pattern that compiles.

    Raises: ValueError for what is not counted: a repeated group, a back-reference, a look around.
    """
    reader = _Ways(source)
    ways, branches = reader.alternatives()
    starts = 1 if source.startswith("^") and branches == 1 else TEXT_MAX_CHARS
    return starts * ways


class _Ways:
    """Counts ways through a pattern: those of parts in a row multiply, those of alternatives add up."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0

    def alternatives(self) -> tuple[int, int]:
        """Read up to a closing bracket or the end; give the ways, and how many alternatives there are."""
        ways, branches = self._row(), 1
        while self._next() == "|":
            self._at += 1
            ways += self._row()
            branches += 1
        return ways, branches

    def _row(self) -> int:
        ways = 1
        while self._next() not in ("", "|", ")"):
            is_group = self._next() == "("
            inside = self._group() if is_group else self._one_character()
            # Danger: without the ceiling a pattern of 200 characters makes a number of 200 digits.
            ways = min(ways * self._repeated(inside, is_group=is_group), MAX_STEPS + 1)
        return ways

    def _group(self) -> int:
        self._at += 1
        if self._source.startswith("?", self._at):
            if not self._source.startswith("?:", self._at):
                raise ValueError("of groups that begin with (? there is only (?:")
            self._at += 2
        ways, _ = self.alternatives()
        self._at += 1
        return ways

    def _one_character(self) -> int:
        found = _CLASS.match(self._source, self._at)
        if found is not None:
            self._at = found.end()
        elif self._next() == "\\":
            if self._source[self._at + 1] in "123456789":
                raise ValueError("no back-references")
            self._at += 2
        else:
            self._at += 1
        return 1

    def _repeated(self, inside: int, *, is_group: bool) -> int:
        found = _QUANTIFIER.match(self._source, self._at)
        if found is None or found[0] in ("{}", "{}?", "{}+"):
            return inside
        self._at = found.end()
        if found[1] == "?":
            return inside + 1
        if is_group:
            raise ValueError("no repeated groups other than with ?")
        if found[1] is not None or (found[3] and not found[4]):
            return TEXT_MAX_CHARS
        least = int(found[2] or 0)
        most = int(found[4]) if found[3] else least
        return min(most - least + 1, TEXT_MAX_CHARS)

    def _next(self) -> str:
        return self._source[self._at : self._at + 1]
