"""A segment: a tree of rules that a contact meets or does not.

Shape: ``{"all": [rule, …]}``, ``{"any": [rule, …]}``, ``{"not": rule}``; a leaf names its subject, then ``is`` and, but
for a few, ``value``: ``{"attribute": "plan", "is": "equals", "value": "gold"}``. Subjects: ``attribute`` (with ``type``
where neither the tenant's definitions nor the value say it), ``field``, ``list``, ``activity``, ``segment``.

Promises: a tree has two values: what is missing or of another type meets no comparison, and ``not_…`` is exactly its
contrary. ``parse`` in ``segment_rules`` makes these; they are compiled by ``hayabin.database.segment_sql``.
Fails: never, this module only names things.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

MAX_NODES = 200
MAX_DEPTH = 8
MAX_VALUES = 1000
MAX_NESTED = 5
"""Levels of segments within segments."""
MAX_NODES_IN_ALL = 1000
"""Nodes of a tree with those of all segments that it names, each as often as it is named."""
MAX_CAMPAIGNS = 100
MAX_DAYS = 3650
MAX_CHARS = 1000


class ValueType(StrEnum):
    """Types of attributes and fields."""

    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    DATETIME = "datetime"
    LIST = "list"


class Field(StrEnum):
    """What every contact has."""

    STAGE = "stage"
    LOCALE = "locale"
    TIME_ZONE = "time_zone"
    DOMAIN = "domain"
    """Of the address, after the @."""
    CREATED_AT = "created_at"
    FLAGS = "flags"


class Op(StrEnum):
    """What ``is`` may say; the values are part of the API."""

    EQUALS = "equals"
    NOT_EQUALS = "not_equals"
    IN = "in"
    NOT_IN = "not_in"
    CONTAINS = "contains"
    STARTS_WITH = "starts_with"
    IS_SET = "is_set"
    IS_NOT_SET = "is_not_set"
    LESS_THAN = "less_than"
    AT_MOST = "at_most"
    MORE_THAN = "more_than"
    AT_LEAST = "at_least"
    BETWEEN = "between"
    """Both ends included."""
    BEFORE = "before"
    ON_OR_BEFORE = "on_or_before"
    AFTER = "after"
    ON_OR_AFTER = "on_or_after"
    WITHIN_LAST_DAYS = "within_last_days"
    NOT_WITHIN_LAST_DAYS = "not_within_last_days"
    IN_NEXT_DAYS = "in_next_days"
    ANNIVERSARY_TODAY = "anniversary_today"
    """Month and day are today's; of 29 February in other years the day before 1 March."""
    CONTAINS_ANY = "contains_any"
    CONTAINS_ALL = "contains_all"
    CONTAINS_NONE = "contains_none"
    STATE_IN = "state_in"
    CONSENT_IN = "consent_in"
    HAS_CONSENT = "has_consent"
    """Subscribed with evidence of any kind."""
    EVER = "ever"
    NEVER = "never"
    IN_CAMPAIGNS = "in_campaigns"
    NOT_IN_CAMPAIGNS = "not_in_campaigns"


class Activity(StrEnum):
    """What a contact did, or had done to it."""

    RECEIVED = "received"
    """A mail was accepted by the contact's server, or may have been (``unknown``)."""
    OPENED = "opened"
    CLICKED = "clicked"


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute of the tenant's own."""

    name: str


Value = str | bool | int | float | tuple[str, ...] | tuple[int, ...] | tuple[float, ...] | None
"""Dates are ``YYYY-MM-DD``, datetimes ``YYYY-MM-DDTHH:MM:SSZ``; two ends of a range and all lists are tuples."""


@dataclass(frozen=True, slots=True)
class All:
    """Each of them."""

    rules: tuple["Rule", ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of them."""

    rules: tuple["Rule", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Not this."""

    rule: "Rule"


@dataclass(frozen=True, slots=True)
class Comparison:
    """An attribute or field, compared."""

    subject: Attribute | Field
    type: ValueType
    op: Op
    value: Value


@dataclass(frozen=True, slots=True)
class OnList:
    """How a contact stands with a list, or with any (None)."""

    list_id: int | None
    op: Op
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Did:
    """What a contact did: when (days), or in which campaigns."""

    activity: Activity
    op: Op
    value: int | tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Meets:
    """The rules of another segment."""

    segment_id: int


Rule = All | AnyOf | Not | Comparison | OnList | Did | Meets


@dataclass(frozen=True, slots=True)
class Loaded:
    """Rules, with the rules of all segments that they name."""

    rule: Rule
    nested: Mapping[int, Rule]
