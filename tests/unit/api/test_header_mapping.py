"""Which column is what."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.imports.contact_rows import FileRefused
from services.api.imports.header_mapping import (
    Automatic,
    KnownAttribute,
    Target,
    check_mapping,
    edit_distance,
    said,
    suggest,
)

KNOWN = [KnownAttribute("company", ("会社名", "Company")), KnownAttribute("joined_on", ("入会日", "Joined"))]


@pytest.mark.parametrize(
    ("column", "target", "least"),
    [
        ("E-Mail", "email", 1.0),
        ("ＥＭＡＩＬ", "email", 1.0),
        ("メールアドレス ", "email", 1.0),
        ("ﾒｰﾙｱﾄﾞﾚｽ", "email", 1.0),
        ("e_mail address", "email", 1.0),
        ("emial", "email", 0.0),  # two edits of five letters: no slip that anybody should rely on
        ("メールアドレズ", "email", 0.8),
        ("お 名 前", "name", 1.0),
        ("商談の段階", "stage", 1.0),
        ("Time-Zone", "time_zone", 1.0),
        ("同意日", "consented_at", 1.0),
        ("会社名", "attribute:company", 1.0),
        ("Ｊｏｉｎｅｄ ｏｎ", "attribute:joined_on", 1.0),
        ("joind_on", "attribute:joined_on", 0.8),
        ("favourite colour", "attribute:favourite colour", 0.0),
    ],
)
def test_suggestion_survives_width_case_signs_and_slips(column: str, target: str, least: float) -> None:
    """Names are compared by what people mean; a slip of the pen lowers the score."""
    (found,) = suggest([column], KNOWN)
    assert found.score >= least
    assert (found.target == target) is (least > 0 or target.startswith("attribute:"))


def test_suggestions_give_each_target_once() -> None:
    """The better column gets the target; the other one becomes an attribute of its own name."""
    found = {one.column: one.target for one in suggest(["メールアドレズ", "email", "氏名", "名前"], KNOWN)}
    assert found == {"メールアドレズ": "attribute:メールアドレズ", "email": "email", "氏名": "name",
                     "名前": "attribute:名前"}  # fmt: skip


def test_automatic_mapping_takes_what_is_certain_alone() -> None:
    """Without a mapping nothing is guessed: slips stay attributes; labels of definitions are their names."""
    names = ["email", "emaill", "会社名", "お名前", "stage"]
    assert Automatic(KNOWN).targets(names) == ["email", "attribute:emaill", "attribute:company", "name", "stage"]
    assert Automatic(KNOWN).targets(["会社名", "company"]) == ["attribute:会社名", "attribute:company"]
    assert Automatic([KnownAttribute("stage")]).targets(["email", "stage"]) == ["email", "attribute:stage"]


@pytest.mark.parametrize(
    ("mapping", "word"),
    [
        ({"a": "email", "b": "phone"}, "phone"),
        ({"a": "email", "b": "email"}, "Two columns"),
        ({"a": "name"}, "`email`"),
        ({"a": "email", "b": "attribute:"}, "no target"),
        ({"a": "email", "b": "attribute:_hb_x"}, "no target"),
    ],
)
def test_wrong_mapping_says_what_is_wrong(mapping: dict[str, str], word: str) -> None:
    """Unknown and repeated targets, and a mapping without addresses."""
    assert word in (check_mapping(mapping) or "")


def test_mapping_skips_what_it_does_not_name() -> None:
    """What is said is all that is taken; a column that is not there is told."""
    assert said(["a", "b", "c"], {"a": "email", "c": "skip"}) == ["email", "skip", "skip"]
    with pytest.raises(FileRefused, match="`z`"):
        said(["a"], {"z": "email"})


@given(st.lists(st.text(max_size=30), max_size=20, unique=True))
def test_suggestions_for_any_header_are_a_usable_mapping(names: list[str]) -> None:
    """Whatever the names are, each column has one suggestion and no target is given twice."""
    found = suggest(names, KNOWN)
    assert [one.column for one in found] == names
    targets = [one.target for one in found if one.target != Target.SKIP]
    assert len(set(targets)) == len(targets)
    assert all(0 <= one.score <= 1 for one in found)


@given(st.text(alphabet="abc", max_size=6), st.text(alphabet="abc", max_size=6), st.text(alphabet="abc", max_size=6))
def test_edit_distance_is_a_distance(one: str, two: str, three: str) -> None:
    """Nothing between equals, the same both ways, and no detour is shorter."""
    assert (edit_distance(one, two, 6) == 0) is (one == two)
    assert edit_distance(one, two, 6) == edit_distance(two, one, 6)
    assert edit_distance(one, three, 6) <= edit_distance(one, two, 6) + edit_distance(two, three, 6)
    assert edit_distance(one, two, 2) == min(edit_distance(one, two, 6), 3)


def test_suggestions_for_names_that_are_nearly_alike_take_no_time() -> None:
    """A hundred long names held against the words of a hundred attributes: 30,000 pairs, in well under a second."""
    names = [f"{n}{'a' * 15}{n}{'a' * 15}{n}" for n in range(100)]
    words = [f"x{n}{'a' * 14}x{n}{'a' * 14}x{n}" for n in range(100)]
    known = [KnownAttribute(word, (f"{word}p", f"{word}q")) for word in words]
    begun = time.thread_time()
    suggest(names, known)
    assert time.thread_time() - begun < 2
