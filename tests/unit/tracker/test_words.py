"""Languages of the pages and how an address is shown."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hayabin.domain.masking import masked_address
from services.tracker.words import LANGUAGES, WORDS, language_of


def test_words_of_each_language_say_the_same_things() -> None:
    """No page lacks a word in one of its languages."""
    assert set(WORDS) == set(LANGUAGES)
    assert WORDS["ja"].keys() == WORDS["en"].keys()


@pytest.mark.parametrize(
    ("asked", "accepted", "language"),
    [
        ("", "", "ja"),
        ("", "en", "en"),
        ("", "en-GB,en;q=0.9,ja;q=0.8", "en"),
        ("", "ja-JP, en;q=0.9", "ja"),
        ("", "fr, en;q=0.2, ja;q=0.1", "en"),
        ("", "fr, de", "ja"),
        ("", "en;q=0", "ja"),
        ("", "en;q=nonsense, ja;q=0.1", "ja"),
        ("en", "ja", "en"),
        ("xx", "en", "en"),
    ],
)
def test_language_is_the_asked_one_then_the_best_accepted(asked: str, accepted: str, language: str) -> None:
    """The link on the page wins, then the browser's preference, then Japanese."""
    assert language_of(asked, accepted) == language


@settings(deadline=None)
@given(st.text(), st.text())
def test_language_of_anything_is_one_of_ours(asked: str, accepted: str) -> None:
    """No header field breaks a page."""
    assert language_of(asked, accepted) in LANGUAGES


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("taro@example.jp", "t•••@example.jp"),
        ('"a..b"@docomo.ne.jp', "a•••@docomo.ne.jp"),
        ("x@example.jp", "x•••@example.jp"),
    ],
)
def test_address_on_a_page_shows_first_character_and_domain(address: str, shown: str) -> None:
    """Who has the link of a forwarded mail does not learn the address."""
    assert masked_address(address) == shown
