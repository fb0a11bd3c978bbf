"""Typed attributes: what text becomes, what is refused and why, and what must hold for any value."""

import json
import math
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hayabin.domain.attribute import AttributeType, Definition, ValueInvalid, ValueProblem, typed

T = AttributeType
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def of(kind: T, **limits: Any) -> Definition:
    """A definition of a type."""
    return Definition(name="x", type=kind, **limits)


@pytest.mark.parametrize(
    ("kind", "given_value", "stored"),
    [
        (T.STRING, "山田 ", "山田 "),
        (T.STRING, "", ""),
        (T.NUMBER, 3, 3),
        (T.NUMBER, 2.0, 2),
        (T.NUMBER, 2.5, 2.5),
        (T.NUMBER, "1,234,567.5", 1234567.5),
        (T.NUMBER, "１，２３４", 1234),
        (T.NUMBER, "－３", -3),
        (T.NUMBER, "−3", -3),
        (T.NUMBER, " +7 ", 7),
        (T.NUMBER, "007", 7),
        (T.NUMBER, "1e3", 1000),
        (T.BOOLEAN, True, True),
        (T.BOOLEAN, "はい", True),
        (T.BOOLEAN, "ＴＲＵＥ", True),
        (T.BOOLEAN, "１", True),
        (T.BOOLEAN, "いいえ", False),
        (T.BOOLEAN, "0", False),
        (T.BOOLEAN, "No", False),
        (T.DATE, "2026-11-24", "2026-11-24"),
        (T.DATE, "2026/1/4", "2026-01-04"),
        (T.DATE, "２０２６年１１月２４日", "2026-11-24"),
        (T.DATE, "2024-02-29", "2024-02-29"),
        (T.DATETIME, "2026-11-24T09:00:00+09:00", "2026-11-24T00:00:00Z"),
        (T.DATETIME, "2026-11-24T00:00:00.987654z", "2026-11-24T00:00:00Z"),
        (T.DATETIME, "2026/11/24 9:05 +09:00", "2026-11-24T00:05:00Z"),
        (T.DATETIME, "2026年11月24日9時5分 Z", "2026-11-24T09:05:00Z"),
        (T.LIST, ["a", " b ", "a", ""], ["a", "b"]),
        (T.LIST, "東京; 大阪、京都；東京", ["東京", "大阪", "京都"]),
        (T.LIST, "", []),
        (T.LIST, "a,b", ["a,b"]),
    ],
)
def test_value_is_stored_in_one_form(kind: T, given_value: Any, stored: Any) -> None:
    """Whatever stands for a value becomes it: full-width characters, Japanese dates, separators."""
    found = typed(of(kind), given_value)
    assert found == stored
    assert type(found) is type(stored)


@pytest.mark.parametrize(
    ("kind", "wrong", "reason"),
    [
        (T.STRING, 3, "not_a_string"),
        (T.STRING, "a" * 1001, "too_long"),
        (T.STRING, "a\x00", "character"),
        (T.STRING, "\ud83d", "character"),
        (T.NUMBER, "1,5", "not_a_number"),
        (T.NUMBER, "1.234,5", "not_a_number"),
        (T.NUMBER, "12,34", "not_a_number"),
        (T.NUMBER, "", "not_a_number"),
        (T.NUMBER, "¥100", "not_a_number"),
        (T.NUMBER, "0x10", "not_a_number"),
        (T.NUMBER, "1_000", "not_a_number"),
        (T.NUMBER, "nan", "not_a_number"),
        (T.NUMBER, "٣", "not_a_number"),
        (T.NUMBER, True, "not_a_number"),
        (T.NUMBER, math.inf, "out_of_range"),
        (T.NUMBER, "1e999", "out_of_range"),
        (T.NUMBER, 2**63, "out_of_range"),
        (T.NUMBER, 1e19, "out_of_range"),
        (T.NUMBER, "9" * 300, "out_of_range"),
        (T.BOOLEAN, 1, "not_a_boolean"),
        (T.BOOLEAN, "on", "not_a_boolean"),
        (T.BOOLEAN, "", "not_a_boolean"),
        (T.DATE, "24/11/2026", "not_a_date"),
        (T.DATE, "11/24/2026", "not_a_date"),
        (T.DATE, "26/11/24", "not_a_date"),
        (T.DATE, "2026-2-3", "not_a_date"),
        (T.DATE, "令和8年11月24日", "not_a_date"),
        (T.DATE, "2026-02-30", "out_of_range"),
        (T.DATE, "0000-01-01", "out_of_range"),
        (T.DATE, 20261124, "not_a_date"),
        (T.DATETIME, "2026-11-24 09:00", "offset_missing"),
        (T.DATETIME, "2026-11-24", "not_a_datetime"),
        (T.DATETIME, "2026-11-24T25:00:00Z", "out_of_range"),
        (T.DATETIME, "2026-11-24T09:00:00+99:00", "out_of_range"),
        (T.DATETIME, "0001-01-01T00:00:00+09:00", "out_of_range"),
        (T.LIST, 3, "not_a_list"),
        (T.LIST, ["a", 1], "not_a_list"),
        (T.LIST, [str(n) for n in range(101)], "too_many_items"),
        (T.LIST, ["a" * 1001], "too_long"),
    ],
)
def test_value_that_does_not_fit_is_refused_by_name(kind: T, wrong: Any, reason: str) -> None:
    """Nothing is guessed; the reason is stable."""
    with pytest.raises(ValueInvalid) as refused:
        typed(of(kind), wrong)
    assert refused.value.reason == reason


def test_refusal_of_a_value_does_not_repeat_it() -> None:
    """A refusal may be logged and kept in a list of errors: reason and form, not what somebody's data is."""
    for kind in T:
        with pytest.raises(ValueInvalid) as refused:
            typed(of(kind, max_chars=5, allowed=("a",)), "hanako-suzuki")
        assert "hanako" not in str(refused.value)


def test_value_limits_are_those_of_the_definition() -> None:
    """Characters, items, allowed values, smallest and largest, each with its own reason."""
    for definition, value, reason in (
        (of(T.STRING, max_chars=2), "abc", ValueProblem.TOO_LONG),
        (of(T.STRING, allowed=("a", "b")), "c", ValueProblem.NOT_ALLOWED),
        (of(T.LIST, allowed=("a", "b")), "a;c", ValueProblem.NOT_ALLOWED),
        (of(T.LIST, max_items=1), "a;b", ValueProblem.TOO_MANY_ITEMS),
        (of(T.NUMBER, minimum=0), "-1", ValueProblem.BELOW_MINIMUM),
        (of(T.NUMBER, maximum=10.5), 11, ValueProblem.ABOVE_MAXIMUM),
        (of(T.DATE, minimum="2000-01-01"), "1999/12/31", ValueProblem.BELOW_MINIMUM),
        (of(T.DATETIME, maximum="2026-01-01T00:00:00Z"), "2026-01-01T09:00:01+09:00", ValueProblem.ABOVE_MAXIMUM),
    ):
        with pytest.raises(ValueInvalid) as refused:
            typed(definition, value)
        assert refused.value.reason == reason
    assert typed(of(T.NUMBER, minimum=0, maximum=10), "10") == 10


def test_moment_without_offset_is_read_in_the_zone_that_the_caller_names() -> None:
    """An import says which; in a zone with summer time the same clock is another moment."""
    assert typed(of(T.DATETIME), "2026/11/24 9:00", zone=ZoneInfo("Asia/Tokyo")) == "2026-11-24T00:00:00Z"
    assert typed(of(T.DATETIME), "2026-07-01 09:00:30", zone=ZoneInfo("Europe/London")) == "2026-07-01T08:00:30Z"
    assert typed(of(T.DATETIME), "2026-07-01 09:00Z", zone=ZoneInfo("Asia/Tokyo")) == "2026-07-01T09:00:00Z"


@given(st.sampled_from(list(T)), JSON)
def test_any_value_is_stored_in_a_form_that_stays_or_refused(kind: T, value: Any) -> None:
    """Nothing but ValueInvalid is ever raised; what is stored is JSON, and is given back unchanged."""
    try:
        stored = typed(of(kind), value)
    except ValueInvalid:
        return
    assert typed(of(kind), stored) == stored
    assert typed(of(kind), json.loads(json.dumps(stored, allow_nan=False))) == stored


@given(st.sampled_from(list(T)), st.text(max_size=60))
def test_any_text_is_stored_in_a_form_that_stays_or_refused(kind: T, text: str) -> None:
    """The same for what a file may hold."""
    try:
        stored = typed(of(kind), text)
    except ValueInvalid:
        return
    assert typed(of(kind), stored) == stored


@given(
    st.dates(),
    st.sampled_from(["{0}", "{0.year:04}/{0.month}/{0.day}", "{0.year:04}年{0.month}月{0.day}日"]),
)
def test_every_date_is_read_in_each_of_its_forms(day: date, form: str) -> None:
    """From the first day of the calendar to the last."""
    assert typed(of(T.DATE), form.format(day)) == day.isoformat()


@given(st.datetimes(timezones=st.just(UTC)), st.datetimes(timezones=st.just(UTC)))
def test_stored_moments_compare_as_moments_do(one: datetime, other: datetime) -> None:
    """Texts of one length: what the database sorts, is sorted in time."""
    one, other = one.replace(microsecond=0), other.replace(microsecond=0)
    first, second = typed(of(T.DATETIME), one.isoformat()), typed(of(T.DATETIME), other.isoformat())
    assert (first < second) == (one < other)
    assert datetime.fromisoformat(first) == one


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_every_whole_number_is_read_with_and_without_commas(number: int) -> None:
    """Not one digit is lost to floating point."""
    assert typed(of(T.NUMBER), str(number)) == typed(of(T.NUMBER), f"{number:,}") == number


def test_long_texts_are_refused_before_they_are_read() -> None:
    """A million characters cost nothing, whatever the type."""
    for kind in T:
        with pytest.raises(ValueInvalid, match="too_long"):
            typed(of(kind), "1" * 1_000_000)
