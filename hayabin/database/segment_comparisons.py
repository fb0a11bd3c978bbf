"""Comparisons of a contact's attributes and fields, as SQL conditions on a row ``c`` of ``contacts``.

Promises: what is missing, or is of another type, meets no comparison. Dates of attributes are compared as text in their
canonical form (``YYYY-MM-DD``, ``YYYY-MM-DDTHH:MM:SSZ``), in the order of bytes; JSON values as JSON, so that a number
is equal to a number alone.
Fails: never, for rules that ``segment_rules`` has parsed.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from hayabin.database.segment_compiling import Compiling
from hayabin.domain.segment import Attribute, Comparison, Field, Op, ValueType
from hayabin.domain.segment_values import canonical

_FAR = {ValueType.DATE: ("0000-00-00", "9999-99-99"), ValueType.DATETIME: ("0000-00-00T", "9999-99-99T")}
_FORM = {ValueType.DATE: "____-__-__", ValueType.DATETIME: "____-__-__T__:__:__Z"}
_COLUMNS = {
    Field.STAGE: "c.stage", Field.LOCALE: "c.locale", Field.TIME_ZONE: "c.time_zone", Field.FLAGS: "c.flags",
    Field.DOMAIN: "split_part(c.address_key, '@', -1)", Field.CREATED_AT: "c.created_at",
}  # fmt: skip
_SIGNS = {
    Op.LESS_THAN: "<", Op.AT_MOST: "<=", Op.MORE_THAN: ">", Op.AT_LEAST: ">=",
    Op.BEFORE: "<", Op.ON_OR_BEFORE: "<=", Op.AFTER: ">", Op.ON_OR_AFTER: ">=",
}  # fmt: skip


def compared(rule: Comparison, to: Compiling) -> str:
    """The condition of a comparison that is no negation; ``to.now`` is in the zone whose days are meant."""
    match rule.subject:
        case Attribute(name):
            key = to.parameters.add(name, "text")
            if rule.op is Op.IS_SET:
                return f"(c.attributes ->> {key} <> '')"
            return _OF_ATTRIBUTES[rule.type](rule, f"(c.attributes -> {key})", f"(c.attributes ->> {key})", to)
        case Field.CREATED_AT:
            return _moment(rule, to)
        case Field.FLAGS:
            return _flags(rule, to)
        case _:
            column = _COLUMNS[rule.subject]
            return f"({column} <> '')" if rule.op is Op.IS_SET else _text(rule, column, to)


def _text(rule: Comparison, column: str, to: Compiling) -> str:
    """A text, which is not NULL."""
    add = to.parameters.add
    match rule.op:
        case Op.IN:
            return f"({column} = ANY({add(_listed(rule), 'text[]')}))"
        case Op.CONTAINS:
            return f"(strpos({column}, {add(rule.value, 'text')}) > 0)"
        case Op.STARTS_WITH:
            return f"starts_with({column}, {add(rule.value, 'text')})"
        case _:
            return f"({column} = {add(rule.value, 'text')})"


def _string(rule: Comparison, json: str, text: str, to: Compiling) -> str:
    add = to.parameters.add
    match rule.op:
        case Op.EQUALS:
            return f"({json} = {add(rule.value, 'jsonb')})"
        case Op.IN:
            return f"({json} = ANY({add(_listed(rule), 'jsonb[]')}))"
        case _:
            return f"(jsonb_typeof({json}) = 'string' AND {_text(rule, text, to)})"


def _number(rule: Comparison, json: str, text: str, to: Compiling) -> str:
    add = to.parameters.add
    if rule.op is Op.BETWEEN:  # both ends are numbers, and in the order of JSON values so is what stands between them
        low, high = _listed(rule)
        return f"({json} BETWEEN {add(low, 'jsonb')} AND {add(high, 'jsonb')})"
    if rule.op in _SIGNS:
        return f"(jsonb_typeof({json}) = 'number' AND {json} {_SIGNS[rule.op]} {add(rule.value, 'jsonb')})"
    return _string(rule, json, text, to)


def _list(rule: Comparison, json: str, text: str, to: Compiling) -> str:  # noqa: ARG001 - one shape for all types
    sign = "?&" if rule.op is Op.CONTAINS_ALL else "?|"
    return f"(jsonb_typeof({json}) = 'array' AND {json} {sign} {to.parameters.add(_listed(rule), 'text[]')})"


def _day(rule: Comparison, json: str, text: str, to: Compiling) -> str:
    """Dates and datetimes: canonical texts of one length, compared byte by byte."""
    add = to.parameters.add
    is_one = f"jsonb_typeof({json}) = 'string' AND {text} LIKE '{_FORM[rule.type]}'"
    if rule.op is Op.ANNIVERSARY_TODAY:
        return f"({is_one} AND substr({text}, 6) = ANY({add(_anniversaries(to.now.date()), 'text[]')}))"
    low, high = _range(rule, to.now)
    exclusive = {Op.AFTER: (">", "<="), Op.BEFORE: (">=", "<")}.get(rule.op, (">=", "<="))
    return (
        f'({is_one} AND {text} COLLATE "C" {exclusive[0]} {add(low, "text")} '
        f'AND {text} COLLATE "C" {exclusive[1]} {add(high, "text")})'
    )


def _range(rule: Comparison, now: datetime) -> tuple[str, str]:
    """From and to, as canonical texts."""

    def moved(days: int) -> str:
        if rule.type is ValueType.DATE:
            return (now.date() + timedelta(days=days)).isoformat()
        return canonical(now.astimezone(UTC) + timedelta(days=days))

    first, last = _FAR[rule.type]
    value: Any = rule.value
    match rule.op:
        case Op.EQUALS:
            return value, value
        case Op.BETWEEN:
            return value[0], value[1]
        case Op.WITHIN_LAST_DAYS:
            return moved(-value), moved(0)
        case Op.IN_NEXT_DAYS:
            return moved(0), moved(value)
        case Op.BEFORE | Op.ON_OR_BEFORE:
            return first, value
        case _:
            return value, last


def _moment(rule: Comparison, to: Compiling) -> str:
    """When a contact was created: whole seconds, as everything else that is compared."""
    if rule.op is Op.IS_SET:
        return "true"
    add, far = to.parameters.add, _FAR[ValueType.DATETIME]
    low, high = (None if end in far else datetime.fromisoformat(end) for end in _range(rule, to.now))
    ends = []
    if low is not None:
        first = low + timedelta(seconds=1) if rule.op is Op.AFTER else low
        ends.append(f"c.created_at >= {add(first, 'timestamptz')}")
    if high is not None:
        end = high if rule.op is Op.BEFORE else high + timedelta(seconds=1)
        ends.append(f"c.created_at < {add(end, 'timestamptz')}")
    return f"({' AND '.join(ends)})"


def _flags(rule: Comparison, to: Compiling) -> str:
    if rule.op is Op.IS_SET:
        return "(c.flags <> '{}')"
    sign = "@>" if rule.op is Op.CONTAINS_ALL else "&&"
    return f"(c.flags {sign} {to.parameters.add(_listed(rule), 'text[]')})"


def _listed(rule: Comparison) -> list[Any]:
    if not isinstance(rule.value, tuple):
        raise TypeError(f"{rule.op} without a list")
    return list(rule.value)


def _anniversaries(day: date) -> list[str]:
    """Month and day, as they stand in a date."""
    shown = [day.strftime("%m-%d")]
    if (day + timedelta(days=1)).strftime("%m-%d") == "03-01" and shown == ["02-28"]:
        shown.append("02-29")
    return shown


_OF_ATTRIBUTES: Mapping[ValueType, Callable[[Comparison, str, str, Compiling], str]] = {
    ValueType.STRING: _string, ValueType.NUMBER: _number, ValueType.BOOLEAN: _string, ValueType.DATE: _day,
    ValueType.DATETIME: _day, ValueType.LIST: _list,
}  # fmt: skip
