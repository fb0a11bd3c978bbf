"""The filters that templates may use: a chosen part of minijinja's own, and ours.

Promises: each costs time and memory in proportion to its input, so that fuel bounds a render; ours take plain values
and give the same answer everywhere (no locale, no clock).
Fails: ``ValueError`` where a value is not what the filter is for; the renderer turns it into ``RenderFailed``.
"""

import re
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

BUILT_IN_FILTERS = frozenset(
    "abs batch bool capitalize count d default e escape first float format groupby int join last length lines list "  # noqa: SIM905 - reads as words
    "lower map max min pluralize reject rejectattr replace reverse round safe select selectattr slice sort split "
    "string striptags sum title trim truncate unique upper urlencode wordwrap".split()
)
"""Kept of minijinja's. Not kept: what builds copies of copies without paying fuel (chain, zip, tojson, pprint …), and
what reaches into Python objects (attr)."""

REMOVED_FILTERS = ("attr", "chain", "dictsort", "filesizeformat", "indent", "items", "pprint", "tojson", "zip")

TESTS = frozenset(
    "boolean defined divisibleby endingwith eq equalto even false float ge greaterthan gt in integer iterable le "  # noqa: SIM905 - reads as words
    "lessthan lower lt mapping ne none number odd sameas sequence startingwith string true undefined upper".split()
)

LITERAL_ARGUMENTS = frozenset({"map", "batch", "slice", "groupby", "sum"})
"""Filters that could copy an argument many times: their arguments must be literals."""

_DIRECTIVE = re.compile(r"%(-?[YymdHMSaAbB%])")
_DAYS = {"en": ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"), "ja": ("月", "火", "水", "木", "金", "土", "日")}
_DAYS_LONG = {
    "en": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "ja": ("月曜日", "火曜日", "水曜日", "木曜日", "金曜日", "土曜日", "日曜日"),
}
_MONTHS = {
    "en": tuple("January February March April May June July August September October November December".split()),  # noqa: SIM905 - reads as words
    "ja": tuple(f"{month}月" for month in range(1, 13)),
}
_NUMBER_MAX_CHARS = 40
_DIGITS_MAX = 6
ITEMS_MAX = 500
"""Pairs are made outside the engine, which charges no fuel for them."""


def format_date(value: Any, form: str = "%Y-%m-%d", language: str = "en") -> str:
    """An ISO 8601 date or time in another form: ``{{ due|date("%-m月%-d日(%a)", "ja") }}``.

    Shape: ``form`` has %Y %y %m %d %H %M %S %a %A %b %B %%, and %- before a number for no leading zero; ``language`` is
    ``en`` or ``ja``. A missing value gives ``""``.

    Raises:
        ValueError: ``value`` is no date, or the language is another.

    """
    if value is None or value == "":
        return ""
    if language not in _DAYS:
        raise ValueError(f"dates are written in en or ja, not {language!r}")
    moment = _moment(str(value))
    texts = {
        "Y": f"{moment.year:04d}", "%": "%",
        "a": _DAYS[language][moment.weekday()], "A": _DAYS_LONG[language][moment.weekday()],
        "b": _MONTHS[language][moment.month - 1][:3], "B": _MONTHS[language][moment.month - 1],
    }  # fmt: skip
    numbers = {
        "y": moment.year % 100, "m": moment.month, "d": moment.day,
        "H": moment.hour, "M": moment.minute, "S": moment.second,
    }  # fmt: skip

    def fill(match: re.Match[str]) -> str:
        directive = match.group(1)
        number = numbers.get(directive[-1])
        if number is None:
            return texts[directive[-1]]
        return str(number) if directive.startswith("-") else f"{number:02d}"

    return _DIRECTIVE.sub(fill, form)


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        day = date.fromisoformat(text)
        return datetime(day.year, day.month, day.day)  # noqa: DTZ001 - written as it stands, in no zone


def format_number(value: Any, digits: int = 0) -> str:
    """A number with thousands separated and ``digits`` decimals: ``{{ price|number }}`` gives ``12,800``.

    A missing value gives ``""``.

    Raises:
        ValueError: ``value`` is no number, or ``digits`` is not 0–6.

    """
    if value is None or value == "":
        return ""
    text = str(value)
    if not 0 <= digits <= _DIGITS_MAX or len(text) > _NUMBER_MAX_CHARS:
        raise ValueError(f"numbers have at most {_NUMBER_MAX_CHARS} digits, {_DIGITS_MAX} of them decimals")
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text[:_NUMBER_MAX_CHARS]!r} is not a number") from None
    if not number.is_finite() or abs(number.adjusted()) > _NUMBER_MAX_CHARS:
        raise ValueError(f"{text!r} is out of range")
    return f"{number:,.{digits}f}"


def with_honorific(name: Any, title: str = "様") -> str:
    """A name with its honorific; nobody's name gives the polite ``お客様``."""
    stripped = "" if name is None else str(name).strip()
    return f"{stripped} {title}" if stripped else "お客様"


def items_of(mapping: Any) -> list[tuple[Any, Any]]:
    """Key and value pairs in their order: ``{% for key, value in facts|items %}``; a missing value has none.

    Raises:
        ValueError: ``mapping`` has no keys, or more than ``ITEMS_MAX``.

    """
    if mapping is None:
        return []
    if not isinstance(mapping, dict):
        raise ValueError("items is for values with keys")  # noqa: TRY004 - a template's fault, not a caller's
    if len(mapping) > ITEMS_MAX:
        raise ValueError(f"items is for at most {ITEMS_MAX} keys")
    return list(dict.items(mapping))


def guard_factor(value: Any) -> Any:
    """``value`` if ``*`` may multiply it: a number (repeated lists and texts would cost memory that fuel misses).

    Raises:
        ValueError: it is something else.

    """
    if value is None:
        return 0
    if not isinstance(value, (int, float)):
        raise ValueError("* multiplies numbers only")  # noqa: TRY004 - a template's fault, not a caller's
    return value


def guard_addend(value: Any) -> Any:
    """``value`` if ``+`` may add it: a number or a text.

    Raises:
        ValueError: it is something else.

    """
    if value is None:
        return ""
    if not isinstance(value, (int, float, str)):
        raise ValueError("+ adds numbers or texts only")  # noqa: TRY004 - a template's fault, not a caller's
    return value


class ValueMissing(ValueError):
    """A filter met a value that is not there, where every value must be."""


def strictly(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, raising ``ValueMissing`` where it would have to make do with a missing value."""

    def call(value: Any, *arguments: Any, **options: Any) -> Any:
        if value is None:
            raise ValueMissing
        return function(value, *arguments, **options)

    return call


FACTOR_GUARD = "_hb_factor"
ADDEND_GUARD = "_hb_addend"

OUR_FILTERS: dict[str, Callable[..., Any]] = {
    "date": format_date,
    "number": format_number,
    "honorific": with_honorific,
    "items": items_of,
}
GUARD_FILTERS: dict[str, Callable[..., Any]] = {FACTOR_GUARD: guard_factor, ADDEND_GUARD: guard_addend}
