"""JSON → rules of a segment (``hayabin.domain.segment``).

Promises: what comes out compiles; every error has a pointer into the tree, and as many errors as there are (up to
``MAX_ERRORS``) are found at once. Size, depth and the length of each value are bounded, and looked at first.
Fails: ``RulesInvalid``.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hayabin.domain.segment import (
    MAX_CHARS,
    MAX_DEPTH,
    MAX_NODES,
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
from hayabin.domain.segment_values import (
    ACTIVITY_OPS,
    LIST_OPS,
    OPS,
    WITHOUT_VALUE,
    ValueRefused,
    activity_value,
    list_values,
    row_id,
    text,
    value_of,
)

MAX_ERRORS = 50
_SUBJECTS = ("all", "any", "not", "attribute", "field", "list", "activity", "segment")
_FIELD_TYPES = {Field.CREATED_AT: ValueType.DATETIME, Field.FLAGS: ValueType.LIST}
_MEMBERS = {
    "all": {"all"}, "any": {"any"}, "not": {"not"}, "segment": {"segment"},
    "attribute": {"attribute", "type", "is", "value"}, "field": {"field", "is", "value"},
    "list": {"list", "is", "value"}, "activity": {"activity", "is", "value"},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class RuleError:
    """What is wrong, and where: ``pointer`` is a JSON pointer as a URI fragment."""

    pointer: str
    message: str


class RulesInvalid(Exception):
    """The tree is no segment; ``errors`` say why."""

    def __init__(self, errors: list[RuleError]) -> None:
        """Keep the errors."""
        super().__init__(f"{len(errors)} errors")
        self.errors = errors


@dataclass(slots=True)
class _Reading:
    types: Mapping[str, str]
    errors: list[RuleError] = field(default_factory=list)
    nodes: int = 0

    def wrong(self, pointer: str, message: str) -> None:
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(RuleError(pointer, message))


@dataclass(slots=True)
class _Place:
    """Where a leaf stands, and whether something of it was wrong."""

    reading: _Reading
    pointer: str
    failed: bool = False

    def read(self, name: str, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except ValueRefused as refused:
            self.reading.wrong(f"{self.pointer}/{name}{refused.place}", str(refused))
            self.failed = True
            return None


def parse(tree: object, types: Mapping[str, str], pointer: str = "#/rules") -> Rule:
    """The rules that ``tree`` is; ``types`` are those of the tenant's attributes, by name.

    Raises:
        RulesInvalid: see the module.
    """
    reading = _Reading(types)
    rule = _rule(reading, tree, pointer, 1)
    if reading.errors or rule is None:
        raise RulesInvalid(reading.errors)
    return rule


def walk(rule: Rule) -> Iterator[Rule]:
    """The rule and all rules in it."""
    yield rule
    match rule:
        case All(rules) | AnyOf(rules):
            for inner in rules:
                yield from walk(inner)
        case Not(inner):
            yield from walk(inner)
        case _:
            pass


def _rule(reading: _Reading, tree: object, pointer: str, depth: int) -> Rule | None:
    reading.nodes += 1
    if reading.nodes > MAX_NODES:
        if reading.nodes == MAX_NODES + 1:
            reading.wrong(pointer, f"more than {MAX_NODES} rules")
        return None
    if not isinstance(tree, dict):
        reading.wrong(pointer, "a rule is an object")
        return None
    subjects = [name for name in _SUBJECTS if name in tree]
    if len(subjects) != 1:
        reading.wrong(pointer, "a rule has exactly one of " + ", ".join(_SUBJECTS))
        return None
    subject = subjects[0]
    for name in tree:
        if name not in _MEMBERS[subject]:
            reading.wrong(f"{pointer}/{_escaped(str(name))}", "not a member of this rule")
    match subject:
        case "all" | "any":
            return _several(reading, tree[subject], f"{pointer}/{subject}", depth)
        case "not":
            inner = _deeper(reading, tree["not"], f"{pointer}/not", depth)
            return None if inner is None else Not(inner)
        case _:
            return _leaf(reading, subject, tree, pointer)


def _deeper(reading: _Reading, tree: object, pointer: str, depth: int) -> Rule | None:
    if depth >= MAX_DEPTH:
        reading.wrong(pointer, f"deeper than {MAX_DEPTH} levels")
        return None
    return _rule(reading, tree, pointer, depth + 1)


def _several(reading: _Reading, trees: object, pointer: str, depth: int) -> Rule | None:
    if not isinstance(trees, list) or not trees:
        reading.wrong(pointer, "one rule or more, in an array")
        return None
    found = [_deeper(reading, tree, f"{pointer}/{n}", depth) for n, tree in enumerate(trees[: MAX_NODES + 1])]
    rules = tuple(rule for rule in found if rule is not None)
    return All(rules) if pointer.endswith("/all") else AnyOf(rules)


def _leaf(reading: _Reading, subject: str, tree: Mapping[str, Any], pointer: str) -> Rule | None:
    """A rule without others in it; None where something of it is wrong."""
    place = _Place(reading, pointer)
    rule: Rule | None
    match subject:
        case "segment":
            rule = _made(place, Meets, place.read("segment", lambda: row_id(tree["segment"])))
        case "list":
            rule = _on_list(place, tree)
        case "activity":
            kind = place.read("activity", lambda: Activity(_one_of(Activity, tree["activity"])))
            op = place.read("is", lambda: _op(tree, ACTIVITY_OPS))
            value = place.read("value", lambda: activity_value(op, tree)) if op else None
            rule = _made(place, Did, kind, op, value)
        case _:
            rule = _comparison(place, tree)
    return rule


def _on_list(place: _Place, tree: Mapping[str, Any]) -> Rule | None:
    list_id = None if tree["list"] == "any" else place.read("list", lambda: row_id(tree["list"]))
    op = place.read("is", lambda: _op(tree, LIST_OPS))
    values = place.read("value", lambda: list_values(op, tree)) if op else None
    return _made(place, OnList, list_id, op, values)


def _comparison(place: _Place, tree: Mapping[str, Any]) -> Rule | None:
    if "field" in tree:
        subject = place.read("field", lambda: Field(_one_of(Field, tree["field"])))
        kind = _FIELD_TYPES.get(subject, ValueType.STRING)
    else:
        name = place.read("attribute", lambda: text(tree["attribute"], at_least=1, at_most=100))
        subject = Attribute(name)
        kind = place.read("type", lambda: _type_of(place.reading.types.get(name), tree))
    op: Any = None if place.failed else place.read("is", lambda: _op(tree, OPS[kind]))
    value = None if place.failed else place.read("value", lambda: value_of(kind, op, tree))
    return _made(place, Comparison, subject, kind, op, value)


def _made(place: _Place, kind: Callable[..., Rule], *parts: object) -> Rule | None:
    return None if place.failed else kind(*parts)


def _type_of(defined: str | None, tree: Mapping[str, Any]) -> ValueType:
    """What the tenant says, or the rule, or the value itself."""
    if defined is not None:
        if tree.get("type", defined) != defined:
            raise ValueRefused(f"this attribute is defined as {defined}")
        return ValueType(defined)
    if "type" in tree:
        return ValueType(_one_of(ValueType, tree["type"]))
    if tree.get("is") in (Op.CONTAINS_ANY, Op.CONTAINS_ALL, Op.CONTAINS_NONE):
        return ValueType.LIST
    value = tree.get("value")
    match value[0] if isinstance(value, list) and value else value:
        case bool():
            return ValueType.BOOLEAN
        case int() | float():
            return ValueType.NUMBER
        case _:
            return ValueType.STRING


def _op(tree: Mapping[str, Any], allowed: frozenset[Op]) -> Op:
    op = Op(_one_of(sorted(allowed), tree.get("is")))
    if op in WITHOUT_VALUE and "value" in tree:
        raise ValueRefused(f"{op} has no value")
    return op


def _one_of(allowed: Iterable[str], found: object) -> str:
    names = [str(one) for one in allowed]
    if not isinstance(found, str) or found not in names:
        raise ValueRefused("one of " + ", ".join(sorted(names)))
    return found


def _escaped(name: str) -> str:
    shown = name[:MAX_CHARS].replace("~", "~0").replace("/", "~1")
    return shown.encode(errors="replace").decode()
