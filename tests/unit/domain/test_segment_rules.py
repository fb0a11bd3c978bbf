"""Rules of segments: what is read, and that every error says where it is."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hayabin.domain.segment import (
    MAX_DEPTH,
    MAX_NODES,
    MAX_VALUES,
    All,
    Attribute,
    Comparison,
    Field,
    Meets,
    Not,
    OnList,
    Op,
    ValueType,
)
from hayabin.domain.segment_rules import RuleError, RulesInvalid, parse, walk
from hayabin.domain.segment_values import ACTIVITY_OPS, LIST_OPS, OPS

LEAF = {"field": "stage", "is": "equals", "value": "x"}


def errors_of(tree: object, types: dict[str, str] | None = None) -> dict[str, str]:
    """Messages by pointer."""
    with pytest.raises(RulesInvalid) as refused:
        parse(tree, types or {})
    return {error.pointer: error.message for error in refused.value.errors}


def test_tree_is_read_as_it_stands() -> None:
    """Each kind of rule, with types from the definitions, the rule and the value."""
    tree = {
        "all": [
            {"attribute": "age", "is": "between", "value": [1, 2.5]},
            {"attribute": "plan", "is": "in", "value": ["a"]},
            {"attribute": "born", "is": "within_last_days", "value": 3},
            {"attribute": "tags", "is": "contains_any", "value": ["a"]},
            {"attribute": "seen", "type": "datetime", "is": "after", "value": "2026-11-24T09:00:00.5+09:00"},
            {"not": {"field": "created_at", "is": "within_last_days", "value": 0}},
            {"list": "any", "is": "has_consent"},
            {"segment": 7},
        ]
    }
    assert parse(tree, {"born": "date"}) == All(
        (
            Comparison(Attribute("age"), ValueType.NUMBER, Op.BETWEEN, (1, 2.5)),
            Comparison(Attribute("plan"), ValueType.STRING, Op.IN, ("a",)),
            Comparison(Attribute("born"), ValueType.DATE, Op.WITHIN_LAST_DAYS, 3),
            Comparison(Attribute("tags"), ValueType.LIST, Op.CONTAINS_ANY, ("a",)),
            Comparison(Attribute("seen"), ValueType.DATETIME, Op.AFTER, "2026-11-24T00:00:00Z"),
            Not(Comparison(Field.CREATED_AT, ValueType.DATETIME, Op.WITHIN_LAST_DAYS, 0)),
            OnList(None, Op.HAS_CONSENT, ()),
            Meets(7),
        )
    )


@pytest.mark.parametrize(
    ("tree", "pointer"),
    [
        ([], "#/rules"),
        ({}, "#/rules"),
        ({"all": [], "any": []}, "#/rules"),
        ({"all": []}, "#/rules/all"),
        ({"all": LEAF}, "#/rules/all"),
        ({"any": [LEAF, {"not": {"field": "stag", "is": "equals", "value": "x"}}]}, "#/rules/any/1/not/field"),
        ({**LEAF, "is": "between"}, "#/rules/is"),
        ({**LEAF, "is": ["equals"]}, "#/rules/is"),
        ({**LEAF, "value": 1}, "#/rules/value"),
        ({**LEAF, "value": "\x00"}, "#/rules/value"),
        ({**LEAF, "value": "\ud800"}, "#/rules/value"),
        ({**LEAF, "value": "x" * 1001}, "#/rules/value"),
        ({**LEAF, "a/b~c": 1}, "#/rules/a~1b~0c"),
        ({"field": "stage", "is": "equals"}, "#/rules/value"),
        ({"field": "stage", "is": "is_set", "value": None}, "#/rules/is"),
        ({"field": "stage", "is": "in", "value": ["a", 2]}, "#/rules/value/1"),
        ({"field": "stage", "is": "in", "value": ["a"] * (MAX_VALUES + 1)}, "#/rules/value"),
        ({"attribute": "", "is": "is_set"}, "#/rules/attribute"),
        ({"attribute": "a", "type": "text", "is": "is_set"}, "#/rules/type"),
        ({"attribute": "a", "is": "less_than", "value": True}, "#/rules/is"),
        ({"attribute": "a", "type": "number", "is": "less_than", "value": True}, "#/rules/value"),
        ({"attribute": "a", "type": "number", "is": "less_than", "value": float("nan")}, "#/rules/value"),
        ({"attribute": "a", "type": "number", "is": "less_than", "value": 10**400}, "#/rules/value"),
        ({"attribute": "a", "type": "number", "is": "between", "value": [1]}, "#/rules/value"),
        ({"attribute": "a", "type": "date", "is": "before", "value": "2026-02-30"}, "#/rules/value"),
        ({"attribute": "a", "type": "date", "is": "between", "value": ["2026-02-01", "x"]}, "#/rules/value/1"),
        ({"attribute": "a", "type": "date", "is": "in_next_days", "value": -1}, "#/rules/value"),
        ({"attribute": "a", "type": "datetime", "is": "after", "value": "2026-11-24T09:00:00"}, "#/rules/value"),
        ({"attribute": "a", "type": "datetime", "is": "after", "value": "0001-01-01T00:00:00+09:00"}, "#/rules/value"),
        ({"list": 0, "is": "has_consent"}, "#/rules/list"),
        ({"list": True, "is": "has_consent"}, "#/rules/list"),
        ({"list": 1, "is": "state_in", "value": ["subscribed", "gone"]}, "#/rules/value/1"),
        ({"list": 1, "is": "consent_in", "value": []}, "#/rules/value"),
        ({"activity": "read", "is": "ever"}, "#/rules/activity"),
        ({"activity": "opened", "is": "within_last_days", "value": 3651}, "#/rules/value"),
        ({"activity": "opened", "is": "in_campaigns", "value": [1, "2"]}, "#/rules/value/1"),
        ({"activity": "opened", "is": "in_campaigns", "value": list(range(1, 102))}, "#/rules/value"),
        ({"segment": "7"}, "#/rules/segment"),
        ({"segment": 2**63}, "#/rules/segment"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_pointed_at(tree: object, pointer: str) -> None:
    """One mistake each: its place and nothing else, and a sentence."""
    found = errors_of(tree)
    assert list(found) == [pointer]
    assert found[pointer]


def test_rule_of_a_defined_attribute_must_have_its_type() -> None:
    """The definition decides, whatever the value looks like."""
    tree = {"attribute": "age", "type": "string", "is": "equals", "value": "1"}
    assert errors_of(tree, {"age": "number"}) == {"#/rules/type": "this attribute is defined as number"}
    assert list(errors_of({"attribute": "age", "is": "contains", "value": "1"}, {"age": "number"})) == ["#/rules/is"]


def test_every_mistake_is_found_at_once() -> None:
    """Not only the first."""
    tree = {"all": [{"segment": 0}, LEAF, {"any": [{**LEAF, "value": 1}, {**LEAF, "is": "x"}]}]}
    assert list(errors_of(tree)) == ["#/rules/all/0/segment", "#/rules/all/2/any/0/value", "#/rules/all/2/any/1/is"]


def test_size_and_depth_have_an_end() -> None:
    """As much as is allowed is read, one more is refused; a tree without end is not walked through."""
    tree: dict[str, Any] = LEAF
    for _ in range(MAX_DEPTH - 1):
        tree = {"not": tree}
    assert len(list(walk(parse(tree, {})))) == MAX_DEPTH
    assert list(errors_of({"not": tree})) == ["#/rules" + "/not" * MAX_DEPTH]
    parse({"all": [LEAF] * (MAX_NODES - 1)}, {})
    assert errors_of({"all": [LEAF] * MAX_NODES}) == {f"#/rules/all/{MAX_NODES - 1}": f"more than {MAX_NODES} rules"}
    endless: dict[str, Any] = {}
    endless["not"] = endless
    assert len(errors_of(endless)) == 1


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
WORDS = st.sampled_from(
    ["all", "any", "not", "attribute", "field", "list", "activity", "segment", "type", "is", "value", "stage", "equals",
     "in", "between", "string", "number", "date", "list", "opened", "ever", "within_last_days", "x"]
)  # fmt: skip
TREES = st.recursive(
    SCALARS | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=3), inner, max_size=4),
    max_leaves=30,
)


@given(TREES)
def test_anything_at_all_is_rules_or_errors_with_pointers(tree: object) -> None:
    """No other failure; each pointer is one, and can be sent as JSON."""
    errors: list[RuleError] = []
    try:
        parse(tree, {"x": "date"})
    except RulesInvalid as refused:
        errors = refused.errors or [RuleError("no error", "at all")]
    for error in errors:
        assert error.pointer.startswith("#/rules")
        json.dumps(error.pointer).encode()


def test_page_of_rules_names_every_comparison_of_every_type() -> None:
    """What may be said and what is documented are the same."""
    page = (Path(__file__).parents[3] / "docs" / "segments.md").read_text(encoding="utf-8")
    rows = {}
    for row in page.split("## Comparisons")[1].splitlines():
        first, bar, rest = row.removeprefix("| ").partition(" | ")
        if bar:
            rows[first] = set(re.findall(r"`(\w+)`", rest))
    for kind, ops in OPS.items():
        assert rows[kind] == {op.value for op in ops}, kind
    assert rows["`list`"] == {op.value for op in LIST_OPS}
    assert rows["`activity`"] == {op.value for op in ACTIVITY_OPS}
