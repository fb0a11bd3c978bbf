"""Typed attributes of contacts: what a value must be, and how text becomes one.

Promises: ``typed`` gives the one stored form of a value, whatever it came as, or refuses it with one ``ValueProblem``;
what it gave, it gives again. Number: a JSON number. Boolean: ``true``, ``false``. Date: ``2026-11-24``. Datetime:
``2026-11-24T00:00:00Z``, always UTC and whole seconds, so that texts compare as moments do. List: an array of different
texts. Text is read the same way everywhere: full-width digits and signs count, commas only part thousands, days come
as year, month, day; nothing is guessed from a language or a machine's settings.
Fails: ``ValueInvalid``; its detail does not repeat the value, which may be personal.
"""

import math
import re
import unicodedata
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, tzinfo
from enum import StrEnum
from typing import Any, Final, assert_never

MAX_CHARS: Final = 10_000
MAX_ITEMS: Final = 1000
TEXT_MAX_CHARS: Final = 20_000
"""Longer texts are refused before anything looks at them."""
_WHOLE_MAX: Final = 2**63 - 1

_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,400})(?:\.[0-9]{1,400})?(?:[eE][+-]?[0-9]{1,3})?")
_WHOLE = re.compile(r"[+-]?[0-9]+")
_DATE = re.compile(r"([0-9]{4})(?:-([0-9]{2})-([0-9]{2})|/([0-9]{1,2})/([0-9]{1,2})|年([0-9]{1,2})月([0-9]{1,2})日)")
_TIME = re.compile(
    r"[T ]?([0-9]{1,2})(?::([0-9]{2})(?::([0-9]{2})(?:\.[0-9]{1,9})?)?|時([0-9]{1,2})分(?:([0-9]{1,2})秒)?)"
    r" ?(Z|[+-][0-9]{2}:[0-9]{2})?",
    re.IGNORECASE,
)
_SEPARATOR = re.compile("[;；、]")
_TRUE = frozenset({"true", "yes", "1", "はい"})
_FALSE = frozenset({"false", "no", "0", "いいえ"})


class AttributeType(StrEnum):
    """What kind of value an attribute has; the values are stored, and part of the API."""

    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    DATETIME = "datetime"
    LIST = "list"


class ValueProblem(StrEnum):
    """Why a value does not fit its definition; the value is the stable reason in row errors and problems."""

    NOT_A_STRING = "not_a_string"
    NOT_A_NUMBER = "not_a_number"
    """Also ``1,5``: which of one and a half and fifteen it is, differs between countries."""
    NOT_A_BOOLEAN = "not_a_boolean"
    NOT_A_DATE = "not_a_date"
    """Also ``24/11/2026`` and ``11/24/2026``, which nobody can tell apart in general."""
    NOT_A_DATETIME = "not_a_datetime"
    OFFSET_MISSING = "offset_missing"
    """A moment without its distance from UTC, where nobody said which time zone is meant."""
    NOT_A_LIST = "not_a_list"
    TOO_LONG = "too_long"
    TOO_MANY_ITEMS = "too_many_items"
    BELOW_MINIMUM = "below_minimum"
    ABOVE_MAXIMUM = "above_maximum"
    OUT_OF_RANGE = "out_of_range"
    """Beyond 64 bits, or a day that no calendar has."""
    NOT_ALLOWED = "not_allowed"
    """None of the values that the definition lists."""
    CHARACTER = "character"
    """NUL or half a character (a lone surrogate)."""


class ValueInvalid(ValueError):
    """A value that does not fit; carries ``reason`` (ValueProblem) and ``detail`` (for people)."""

    def __init__(self, reason: ValueProblem, detail: str) -> None:
        """Keep the reason and a detail that does not repeat the value."""
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """What a tenant says of one attribute."""

    name: str
    type: AttributeType
    personal: bool = False
    """Masked for whoever may not read personal data."""
    max_chars: int = 1000
    """Of a string, and of each item of a list."""
    max_items: int = 100
    minimum: Any = None
    """Of numbers, dates and datetimes, in the stored form; None: no limit."""
    maximum: Any = None
    allowed: tuple[str, ...] = field(default=())
    """Of strings and of items; empty: any."""
    label_ja: str = ""
    label_en: str = ""


def typed(definition: Definition, value: Any, *, zone: tzinfo | None = None) -> Any:
    """The stored form of a value, or of the text that stands for one.

    ``zone``: where a moment without an offset was meant; without it such a moment is refused.

    Raises:
        ValueInvalid: it does not fit the definition.
    """
    if isinstance(value, str):
        _require_storable(value)
    match definition.type:
        case AttributeType.STRING:
            return _string(definition, value)
        case AttributeType.NUMBER:
            return _within(definition, _number(value))
        case AttributeType.BOOLEAN:
            return _boolean(value)
        case AttributeType.DATE:
            return _within(definition, _date(value).isoformat())
        case AttributeType.DATETIME:
            return _within(definition, _moment(value, zone))
        case AttributeType.LIST:
            return _list(definition, value)
        case _ as never:
            assert_never(never)


def _require_storable(text: str) -> None:
    if len(text) > TEXT_MAX_CHARS:
        raise ValueInvalid(ValueProblem.TOO_LONG, f"{len(text)} characters")
    if any(character == "\x00" or "\ud800" <= character <= "\udfff" for character in text):
        raise ValueInvalid(ValueProblem.CHARACTER, "NUL or half a character")


def _plain(text: str) -> str:
    """Text as typed with whatever input method: full-width forms and the minus sign become the ASCII ones."""
    return unicodedata.normalize("NFKC", text).replace("\u2212", "-").strip()


def _string(definition: Definition, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueInvalid(ValueProblem.NOT_A_STRING, "give a text")
    if len(value) > definition.max_chars:
        raise ValueInvalid(ValueProblem.TOO_LONG, f"{len(value)} characters, {definition.max_chars} at most")
    if definition.allowed and value not in definition.allowed:
        raise ValueInvalid(ValueProblem.NOT_ALLOWED, "one of " + ", ".join(definition.allowed)[:300])
    return value


def _number(value: Any) -> int | float:
    if isinstance(value, str):
        text = _plain(value)
        if _NUMBER.fullmatch(text) is None:
            raise ValueInvalid(ValueProblem.NOT_A_NUMBER, "such as 1234, 1,234.5 or -3")
        text = text.replace(",", "")
        value = int(text) if _WHOLE.fullmatch(text) else float(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueInvalid(ValueProblem.NOT_A_NUMBER, "give a number")
    if not math.isfinite(value) or abs(value) > _WHOLE_MAX:
        raise ValueInvalid(ValueProblem.OUT_OF_RANGE, "between -2^63 and 2^63")
    # the database writes a float that is whole as a whole number too
    return int(value) if value == int(value) else value


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = _plain(value).lower() if isinstance(value, str) else ""
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ValueInvalid(ValueProblem.NOT_A_BOOLEAN, "true or false, yes or no, はい or いいえ, 1 or 0")


def _date(value: Any) -> date:
    found = _DATE.fullmatch(_plain(value)) if isinstance(value, str) else None
    if found is None:
        raise ValueInvalid(ValueProblem.NOT_A_DATE, "such as 2026-11-24, 2026/11/24 or 2026年11月24日")
    return _day(found)


def _day(found: re.Match[str]) -> date:
    year, month, day = (int(part) for part in found.groups() if part is not None)
    try:
        return date(year, month, day)
    except ValueError:
        raise ValueInvalid(ValueProblem.OUT_OF_RANGE, "there is no such day") from None


def _moment(value: Any, zone: tzinfo | None) -> str:
    """A moment as RFC 3339 in UTC, to the second; parts of one are dropped."""
    text = _plain(value) if isinstance(value, str) else ""
    day = _DATE.match(text)
    time = _TIME.fullmatch(text, day.end()) if day else None
    if day is None or time is None:
        raise ValueInvalid(ValueProblem.NOT_A_DATETIME, "such as 2026-11-24T09:00:00+09:00")
    offset = time[6]
    if offset is None and zone is None:
        raise ValueInvalid(ValueProblem.OFFSET_MISSING, "end it with Z or an offset such as +09:00")
    at = _day(day)
    hour, minute, second = int(time[1]), int(time[2] or time[4]), int(time[3] or time[5] or 0)
    try:
        where = datetime.strptime(offset.upper(), "%z").tzinfo if offset else zone
        moment = datetime(at.year, at.month, at.day, hour, minute, second, tzinfo=where).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueInvalid(ValueProblem.OUT_OF_RANGE, "there is no such moment") from None
    return moment.isoformat().replace("+00:00", "Z")


def _list(definition: Definition, value: Any) -> list[str]:
    items = _SEPARATOR.split(value) if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise ValueInvalid(ValueProblem.NOT_A_LIST, "an array of texts, or texts with ; or 、 between them")
    different: dict[str, None] = {}
    for item in items:
        _require_storable(item)
        if bare := item.strip():
            different[bare] = None
    if len(different) > definition.max_items:
        raise ValueInvalid(ValueProblem.TOO_MANY_ITEMS, f"{len(different)} items, {definition.max_items} at most")
    return [_string(definition, item) for item in different]


def _within(definition: Definition, value: Any) -> Any:
    """The value, if it is between the limits, which have the same form."""
    if definition.minimum is not None and value < definition.minimum:
        raise ValueInvalid(ValueProblem.BELOW_MINIMUM, f"at least {definition.minimum}")
    if definition.maximum is not None and value > definition.maximum:
        raise ValueInvalid(ValueProblem.ABOVE_MAXIMUM, f"at most {definition.maximum}")
    return value
