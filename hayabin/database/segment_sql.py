"""Rules of a segment → an SQL condition on a row of ``contacts``.

Promises: nothing of a tenant's stands in the SQL: values, names of attributes, ids and times are parameters, all else
is text of this module. The condition names the tenant wherever a table has it. What is missing meets no comparison; a
negation (``not``, ``not_equals`` …) is true exactly where the rule is not.
Fails: ``KeyError`` for a segment that is not among ``nested``; whoever loads them has looked (``segments``).

Shape: dates of attributes are compared as text in their canonical form (``YYYY-MM-DD``, ``YYYY-MM-DDTHH:MM:SSZ``), in
the order of bytes; JSON values as JSON, so that a number is equal to a number alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from typing import Any, Final, assert_never

from hayabin.domain.segment import (
    Activity,
    All,
    AnyOf,
    Attribute,
    Comparison,
    Did,
    Field,
    Meets,
    Not,
    OnList,
    Op,
    Rule,
    ValueType,
)
from hayabin.domain.segment_values import canonical

RECEIVED_STATES: Final = "('accepted', 'complained', 'unknown')"
"""States of a message that a contact received, or may have."""
TODAY_IN: Final = timezone(timedelta(hours=9), "JST")
"""Where "today" is: days of a date, and anniversaries."""
_FAR = {ValueType.DATE: ("0000-00-00", "9999-99-99"), ValueType.DATETIME: ("0000-00-00T", "9999-99-99T")}
_FORM = {ValueType.DATE: "____-__-__", ValueType.DATETIME: "____-__-__T__:__:__Z"}
_COLUMNS = {
    Field.STAGE: "c.stage", Field.LOCALE: "c.locale", Field.TIME_ZONE: "c.time_zone", Field.FLAGS: "c.flags",
    Field.DOMAIN: "split_part(c.address_key, '@', -1)", Field.CREATED_AT: "c.created_at",
}  # fmt: skip
_TIMES = {Activity.RECEIVED: "last_received_at", Activity.OPENED: "last_opened_at", Activity.CLICKED: "last_clicked_at"}
_CONTRARY = {
    Op.NOT_EQUALS: Op.EQUALS, Op.NOT_IN: Op.IN, Op.IS_NOT_SET: Op.IS_SET, Op.NOT_WITHIN_LAST_DAYS: Op.WITHIN_LAST_DAYS,
    Op.CONTAINS_NONE: Op.CONTAINS_ANY, Op.NEVER: Op.EVER, Op.NOT_IN_CAMPAIGNS: Op.IN_CAMPAIGNS,
}  # fmt: skip
_SIGNS = {
    Op.LESS_THAN: "<", Op.AT_MOST: "<=", Op.MORE_THAN: ">", Op.AT_LEAST: ">=",
    Op.BEFORE: "<", Op.ON_OR_BEFORE: "<=", Op.AFTER: ">", Op.ON_OR_AFTER: ">=",
}  # fmt: skip


@dataclass(slots=True)
class Parameters:
    """The values of a statement, in the order of their numbers."""

    values: list[Any] = field(default_factory=list)

    def add(self, value: Any, cast: str) -> str:
        """``$n`` of a value; ``cast`` is a type, of ours."""
        self.values.append(value)
        return f"${len(self.values)}::{cast}"


@dataclass(frozen=True, slots=True)
class Compiling:
    """What a condition is compiled with; ``now`` is the moment that "the last days" end at."""

    parameters: Parameters
    tenant: str
    now: datetime
    nested: Mapping[int, Rule] = field(default_factory=dict)
    one_by_one: bool = False
    """For a few people of many: each look-up stays one, where the planner might read a whole table into a hash."""

    def exists(self, sql: str) -> str:
        """A condition on ``c``."""
        return f"EXISTS ({sql}{' OFFSET 0' if self.one_by_one else ''})"

    def ago(self, days: int) -> str:
        """The parameter of a moment so many days before."""
        return self.parameters.add(self.now - timedelta(days=days), "timestamptz")


def condition(rule: Rule, to: Compiling) -> str:
    """SQL that is true for the rows ``c`` of ``contacts`` that meet the rule, and false or NULL for the others."""
    match rule:
        case All(rules):
            return "(" + " AND ".join(condition(inner, to) for inner in rules) + ")"
        case AnyOf(rules):
            return "(" + " OR ".join(condition(inner, to) for inner in rules) + ")"
        case Not(inner):
            return _contrary(condition(inner, to))
        case Meets(segment_id):
            return condition(to.nested[segment_id], to)
        case OnList():
            return _on_list(rule, to)
        case Did(activity, op, value) if op in _CONTRARY:
            return _contrary(_did(activity, _CONTRARY[op], value, to))
        case Did(activity, op, value):
            return _did(activity, op, value, to)
        case Comparison(subject, kind, op, value) if op in _CONTRARY:
            return _contrary(_compared(Comparison(subject, kind, _CONTRARY[op], value), to))
        case Comparison():
            return _compared(rule, to)
        case _:
            assert_never(rule)


def _contrary(sql: str) -> str:
    """True where ``sql`` is false or NULL; EXISTS is never NULL, and NOT EXISTS is what the planner joins by."""
    return f"(NOT {sql})" if sql.startswith("EXISTS (") else f"(({sql}) IS NOT TRUE)"


def _on_list(rule: OnList, to: Compiling) -> str:
    add = to.parameters.add
    only = "" if rule.list_id is None else f" AND lm.list_id = {add(rule.list_id, 'bigint')}"
    match rule.op:
        case Op.STATE_IN:
            what = f"lm.state = ANY({add(list(rule.values), 'text[]')})"
        case Op.CONSENT_IN:
            what = f"lm.state = 'subscribed' AND lm.consent = ANY({add(list(rule.values), 'text[]')})"
        case _:
            what = "lm.state = 'subscribed' AND lm.consent <> 'unspecified'"
    return to.exists(f"SELECT 1 FROM list_members lm WHERE lm.contact_id = c.id{only} AND {what}")  # noqa: S608 - see the module


def _did(activity: Activity, op: Op, value: Any, to: Compiling) -> str:
    if op is Op.IN_CAMPAIGNS:
        return _in_campaigns(activity, list(value), to)
    since = "IS NOT NULL" if op is Op.EVER else f">= {to.ago(value)}"
    return to.exists(
        f"SELECT 1 FROM contact_activity ca WHERE ca.tenant_id = {to.tenant} AND ca.contact_id = c.id "  # noqa: S608 - see the module
        f"AND ca.{_TIMES[activity]} {since}"
    )


def _in_campaigns(activity: Activity, campaign_ids: list[int], to: Compiling) -> str:
    match activity:
        case Activity.RECEIVED:
            proof = f"JOIN messages rm ON rm.id = r.message_id AND rm.state IN {RECEIVED_STATES}"
        case Activity.OPENED:
            proof = "JOIN engagements g ON g.message_id = r.message_id AND g.kind = 'open'"
        case Activity.CLICKED:
            proof = "JOIN engagements g ON g.message_id = r.message_id AND g.kind = 'click'"
        case _:
            assert_never(activity)
    return to.exists(
        f"SELECT 1 FROM recipients r {proof} WHERE r.tenant_id = {to.tenant} AND r.contact_id = c.id "  # noqa: S608 - see the module
        f"AND r.campaign_id = ANY({to.parameters.add(campaign_ids, 'bigint[]')})"
    )


def _compared(rule: Comparison, to: Compiling) -> str:
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
        return f"({is_one} AND substr({text}, 6) = ANY({add(_anniversaries(today(to.now)), 'text[]')}))"
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
            return (today(now) + timedelta(days=days)).isoformat()
        return canonical(now + timedelta(days=days))

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


def today(now: datetime) -> date:
    """The day that it is."""
    return now.astimezone(TODAY_IN).date()


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
