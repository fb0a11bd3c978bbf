"""What a row of a file becomes: a contact or an error; and the rules for its values, whatever the file's format.

Promises: the limits are those of the API's own forms; each error names line, column and a stable reason.
Fails: ``ValueInvalid`` for a single value, ``FileRefused`` for a file that cannot be imported as a whole.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from reprlib import Repr
from typing import Any, Final, NamedTuple

from hayabin.domain import time_zones
from hayabin.domain.attribute import AttributeType, Definition, ValueInvalid, ValueProblem, typed
from hayabin.domain.consent import CLOCKS_DIFFER, has_been

MAX_COLUMNS: Final = 100
MAX_VALUE_CHARS: Final = 10_000
MAX_ATTRIBUTES_CHARS: Final = 20_000
MAX_STAGE_CHARS: Final = 100
NAME_CHARS: Final = 200
LOCALE_CHARS: Final = 35
SHOWN_CHARS: Final = 200
_EARLIEST_DAY: Final = timedelta(hours=14)
"""How far the day has begun ahead of UTC somewhere: who consented today writes that day, without a zone."""
_DAY: Final = Definition(name="", type=AttributeType.DATE)
_MOMENT: Final = Definition(name="", type=AttributeType.DATETIME)


class FileRefused(Exception):
    """The file as a whole cannot be imported; the message says what to do."""


class RowRefused(Exception):
    """A value that makes its row an error; carries the column, a stable reason, and the value."""

    def __init__(self, column: str, reason: str, value: str) -> None:
        """Keep them."""
        super().__init__(reason)
        self.column = column
        self.reason = reason
        self.value = value

    def at(self, line: int) -> "RowError":
        """The error of the row that begins on a line."""
        column, value = self.column[:SHOWN_CHARS], self.value[:SHOWN_CHARS]
        return RowError(line, column.replace("\x00", ""), self.reason, value.replace("\x00", ""))


class Contact(NamedTuple):
    """A row that can be imported; a tuple, because there are millions."""

    line: int
    address: str
    wire: str
    key: str
    name: str
    locale: str
    """Empty where the file does not say; so are stage and time zone."""
    attributes: dict[str, Any]
    stage: str = ""
    time_zone: str = ""
    consented_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RowError:
    """A row that cannot, and why."""

    line: int
    column: str
    reason: str
    value: str


_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SHORT: Final = Repr()
_SHORT.maxlevel = 3


def name_of(text: str) -> str:
    """A person's name as it is kept: one line, without control characters, cut where it is too long."""
    name = " ".join(text.split())[:NAME_CHARS]
    return name if name.isprintable() else _CONTROLS.sub("", name)


def shown_value(value: Any) -> str:
    """A value of a file as an error shows it: of what is nested the outside, as it may be deeper than can be told."""
    return value if isinstance(value, str) else _SHORT.repr(value)


def stage_of(column: str, value: str, stages: frozenset[str]) -> str:
    """A stage as it is kept; empty stays empty.

    Raises:
        RowRefused: it is too long, or the tenant has stages and this is none of them.
    """
    if len(value) > MAX_STAGE_CHARS:
        raise RowRefused(column, "value_too_long", value)
    if value and stages and value not in stages:
        raise RowRefused(column, "unknown_stage", value)
    return value


def time_zone_of(column: str, value: str) -> str:
    """A time zone of the IANA database; empty stays empty.

    Raises:
        RowRefused: there is none of that name.
    """
    if value and value not in time_zones.names():
        raise RowRefused(column, "unknown_time_zone", value)
    return value


def moment_of(column: str, value: str) -> datetime | None:
    """When somebody consented: a date or a time of day with it, without a zone in UTC; never ahead of now.

    Raises:
        RowRefused: it is none.
    """
    if not value:
        return None
    try:
        moment, ahead = _moment(value)
    except ValueInvalid as error:
        raise RowRefused(column, error.reason.value, value) from error
    try:
        return has_been(moment, datetime.now(UTC), ahead)
    except ValueError as error:
        raise RowRefused(column, "date_in_the_future", value) from error


@lru_cache(maxsize=16_384)
def _moment(value: str) -> tuple[datetime, timedelta]:
    """What a text says, and how far that may be ahead of now."""
    try:
        return datetime.combine(date.fromisoformat(typed(_DAY, value)), time(), UTC), _EARLIEST_DAY
    except ValueInvalid as error:
        if error.reason is not ValueProblem.NOT_A_DATE:
            raise
        return datetime.fromisoformat(typed(_MOMENT, value, zone=UTC)), CLOCKS_DIFFER
