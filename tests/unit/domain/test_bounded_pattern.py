"""A pattern that somebody wrote is quick on any text, or is refused."""

import re
import time
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hayabin.domain.bounded_pattern import MAX_STEPS, TEXT_MAX_CHARS, bounded_pattern, steps


@pytest.mark.parametrize(
    ("pattern", "ways"),
    [
        ("abc", 1),
        ("a?", 2),
        ("a?b?c?", 8),
        ("a|b|c", 3),
        ("(?:a|b)(?:c|d)", 4),
        ("(?:ab|c)?", 3),
        ("a*", 512),
        ("a+?", 512),
        ("a{3}", 1),
        ("a{2,5}", 4),
        ("a{,5}", 6),
        ("a{5,}", 512),
        ("a{,}", 512),
        ("a{}?", 2),
        ("a{x}", 1),
        (r"\*\?\|", 1),
        (r"[*|)?](x)", 1),
        (r"[]*]+", 512),
        (r"[^]\]]", 1),
    ],
)
def test_steps_counts_ways(pattern: str, ways: int) -> None:
    """Parts in a row multiply, alternatives add up, and every place of the text is a start."""
    assert steps(pattern) == ways * TEXT_MAX_CHARS


def test_steps_anchor_one_start_only() -> None:
    """A pattern with ``^`` in front starts in one place, unless an alternative lacks it."""
    assert steps("^a.*b") == 512
    assert steps("^a.*b|c") == 513 * 512


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(a+)+b", "no repeated groups"),
        ("(?:a|a)*b", "no repeated groups"),
        ("(?:a){2,3}", "no repeated groups"),
        (r"(a)\1", "no back-references"),
        ("(?=a)", "only (?:"),
        ("(?i)a", "only (?:"),
        ("(?P<x>a)", "only (?:"),
        ("a.*b.*c", "too long"),
        ("a?" * 30 + "a" * 30, "too long"),
        ("(?:a|a)" * 20, "too long"),
        ("(", "no regular expression"),
        ("[a", "no regular expression"),
        ("a{99999999999}", "no regular expression"),
        ("x" * 201, "more than 200"),
    ],
)
def test_bounded_pattern_dangerous_refused(pattern: str, message: str) -> None:
    """What can take for ever is refused in words for its writer."""
    with pytest.raises(ValueError, match=re.escape(message)):
        bounded_pattern(pattern)


ANY_PATTERN = st.text(alphabet="aab.*+?{},029()|[]^$\\:-w ", max_size=40)


@settings(max_examples=300, deadline=None)
@given(ANY_PATTERN, st.sampled_from(["a" * 512, "ab" * 256, "a b" * 170, "9" * 512, "a" * 511 + "!"]))
def test_bounded_pattern_any_text_quick_or_refused(pattern: str, text: str) -> None:
    """Whatever is written: a refusal, or a search that ends at once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "possible nested set"
        try:
            compiled = bounded_pattern(pattern)
        except ValueError:
            return
    assert steps(pattern) <= MAX_STEPS
    begun = time.thread_time()
    compiled.search(text)
    assert time.thread_time() - begun < 1.0
