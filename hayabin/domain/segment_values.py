"""Values of a segment's rules: which comparison each type has, and what it may be compared with.

Promises: what comes out is what the database compares with: dates and datetimes in their canonical text, numbers
finite, text without NUL and half characters.
Fails: ``ValueRefused``, with the place within the value where that is a list.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Any

from hayabin.domain.consent import ConsentBasis, SubscriptionState
from hayabin.domain.segment import MAX_CAMPAIGNS, MAX_CHARS, MAX_DAYS, MAX_VALUES, Op, Value, ValueType

_SURROGATE = re.compile("[\ud800-\udfff]")
_SET = {Op.IS_SET, Op.IS_NOT_SET}
_TIMES = {
    Op.EQUALS, Op.NOT_EQUALS, Op.BEFORE, Op.ON_OR_BEFORE, Op.AFTER, Op.ON_OR_AFTER, Op.BETWEEN, Op.WITHIN_LAST_DAYS,
    Op.NOT_WITHIN_LAST_DAYS, Op.IN_NEXT_DAYS, *_SET,
}  # fmt: skip

OPS: Mapping[ValueType, frozenset[Op]] = {
    ValueType.STRING: frozenset(
        {Op.EQUALS, Op.NOT_EQUALS, Op.IN, Op.NOT_IN, Op.CONTAINS, Op.STARTS_WITH, *_SET}
    ),
    ValueType.NUMBER: frozenset({
        Op.EQUALS, Op.NOT_EQUALS, Op.IN, Op.NOT_IN, Op.LESS_THAN, Op.AT_MOST, Op.MORE_THAN, Op.AT_LEAST, Op.BETWEEN,
        *_SET,
    }),
    ValueType.BOOLEAN: frozenset({Op.EQUALS, Op.NOT_EQUALS, *_SET}),
    ValueType.DATE: frozenset({*_TIMES, Op.ANNIVERSARY_TODAY}),
    ValueType.DATETIME: frozenset(_TIMES),
    ValueType.LIST: frozenset({Op.CONTAINS_ANY, Op.CONTAINS_ALL, Op.CONTAINS_NONE, *_SET}),
}  # fmt: skip
LIST_OPS = frozenset({Op.STATE_IN, Op.CONSENT_IN, Op.HAS_CONSENT})
ACTIVITY_OPS = frozenset({
    Op.WITHIN_LAST_DAYS, Op.NOT_WITHIN_LAST_DAYS, Op.EVER, Op.NEVER, Op.IN_CAMPAIGNS, Op.NOT_IN_CAMPAIGNS,
})  # fmt: skip
WITHOUT_VALUE = frozenset({*_SET, Op.ANNIVERSARY_TODAY, Op.HAS_CONSENT, Op.EVER, Op.NEVER})
_SEVERAL = frozenset({Op.IN, Op.NOT_IN, Op.CONTAINS_ANY, Op.CONTAINS_ALL, Op.CONTAINS_NONE})
_DAYS = frozenset({Op.WITHIN_LAST_DAYS, Op.NOT_WITHIN_LAST_DAYS, Op.IN_NEXT_DAYS})


class ValueRefused(Exception):
    """A value cannot be compared with; ``place`` is the rest of its pointer."""

    def __init__(self, message: str, place: str = "") -> None:
        """Say why, and where within the value."""
        super().__init__(message)
        self.place = place


def value_of(kind: ValueType, op: Op, tree: Mapping[str, Any]) -> Value:
    """What an attribute or field of a type is compared with.

    Raises:
        ValueRefused: see the module.
    """
    if op in WITHOUT_VALUE:
        return None
    found = _required(tree)
    if op in _DAYS:
        return days(found)
    if op is Op.BETWEEN:
        ends = _several(found, 2)
        if len(ends) != 2:
            raise ValueRefused("two values: from and to")
        return tuple(_each(kind, end, f"/{n}") for n, end in enumerate(ends))
    if op in _SEVERAL:
        return tuple(_each(kind, one, f"/{n}") for n, one in enumerate(_several(found, MAX_VALUES)))
    single: Value = _each(kind, found, "")
    return single


def list_values(op: Op, tree: Mapping[str, Any]) -> tuple[str, ...]:
    """States of a subscription, or what its consent is based on."""
    if op in WITHOUT_VALUE:
        return ()
    allowed = {str(one) for one in (SubscriptionState if op is Op.STATE_IN else ConsentBasis)}
    values = _several(_required(tree), len(allowed))
    for n, one in enumerate(values):
        if not isinstance(one, str) or one not in allowed:
            raise ValueRefused("one of " + ", ".join(sorted(allowed)), f"/{n}")
    return tuple(values)


def activity_value(op: Op, tree: Mapping[str, Any]) -> int | tuple[int, ...] | None:
    """A number of days, ids of campaigns, or nothing."""
    if op in WITHOUT_VALUE:
        return None
    found = _required(tree)
    if op in _DAYS:
        return days(found)
    return tuple(_placed(row_id, one, f"/{n}") for n, one in enumerate(_several(found, MAX_CAMPAIGNS)))


def days(found: object) -> int:
    """A number of days."""
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= MAX_DAYS:
        raise ValueRefused(f"a whole number of days, up to {MAX_DAYS}")
    return found


def row_id(found: object) -> int:
    """An id."""
    if isinstance(found, bool) or not isinstance(found, int) or not 1 <= found < 2**63:
        raise ValueRefused("an id: a whole number from 1")
    return found


def text(found: object, *, at_least: int = 0, at_most: int = MAX_CHARS) -> str:
    """A text that the database can take."""
    if not isinstance(found, str) or not at_least <= len(found) <= at_most:
        raise ValueRefused(f"a text of {at_least} to {at_most} characters")
    if "\x00" in found or _SURROGATE.search(found):
        raise ValueRefused("must not have NUL or half characters (lone surrogates)")
    return found


def _required(tree: Mapping[str, Any]) -> object:
    if tree.get("value") is None:
        raise ValueRefused("is missing")
    return tree["value"]


def _several(found: object, at_most: int) -> list[Any]:
    if not isinstance(found, list) or not 1 <= len(found) <= at_most:
        raise ValueRefused(f"an array of 1 to {at_most} values")
    return found


def _placed(read: Any, one: object, place: str) -> Any:
    try:
        return read(one)
    except ValueRefused as refused:
        raise ValueRefused(str(refused), place) from refused


def _each(kind: ValueType, one: object, place: str) -> Any:
    return _placed(_READERS[kind], one, place)


def _number(found: object) -> float:
    if isinstance(found, bool) or not isinstance(found, int | float) or not -(2**63) < found < 2**63:  # nor NaN
        raise ValueRefused("a number within 64 bits")
    return found


def _boolean(found: object) -> bool:
    if not isinstance(found, bool):
        raise ValueRefused("true or false")
    return found


def _date(found: object) -> str:
    if isinstance(found, str) and len(found) == len("YYYY-MM-DD"):
        with suppress(ValueError):
            return date.fromisoformat(found).isoformat()
    raise ValueRefused("a date as YYYY-MM-DD")


def _datetime(found: object) -> str:
    if isinstance(found, str) and len(found) <= len("YYYY-MM-DDTHH:MM:SS.ffffff+00:00:00"):
        with suppress(ValueError, OverflowError):
            moment = datetime.fromisoformat(found)
            if moment.tzinfo is not None:
                return canonical(moment)
    raise ValueRefused("a time with its zone, as 2026-11-24T09:00:00+09:00")


def canonical(moment: datetime) -> str:
    """A moment as attributes are stored: UTC, in whole seconds."""
    return moment.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


_READERS = {
    ValueType.STRING: text, ValueType.NUMBER: _number, ValueType.BOOLEAN: _boolean, ValueType.DATE: _date,
    ValueType.DATETIME: _datetime, ValueType.LIST: text,
}  # fmt: skip
