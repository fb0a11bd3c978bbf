"""What stays of personal data for whoever may not read it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.access import Principal, Scope
from services.api.masking import masked_value, shown, shown_change, without_addresses, without_words

LIMITED = Principal(1, 1, frozenset({Scope.CONTACTS_READ.value}))
FULL = Principal(1, 1, frozenset({Scope.CONTACTS_READ_PERSONAL.value}))
ROW: dict[str, Any] = {
    "id": 1, "email": "taro@example.jp", "recipient": '"ta..ro"@docomo.ne.jp', "address": "taro@example.jp",
    "name": "田中 太郎", "attributes": {"phone": "03-1234", "n": 5, "boss": "hanako@example.jp"},
}  # fmt: skip


def test_row_is_shown_whole_with_the_right_and_masked_without() -> None:
    """Address, name and personal attributes; the rest, and the row that came, stay as they are."""
    assert shown(ROW, FULL, frozenset()) == ROW
    seen = shown(ROW, LIMITED, frozenset({"phone", "n"}))
    assert seen == {
        "id": 1, "email": "t•••@example.jp", "recipient": "t•••@docomo.ne.jp", "address": "t•••@example.jp",
        "name": "田•••", "attributes": {"phone": "0•••", "n": "•••", "boss": "h•••@example.jp"},
    }  # fmt: skip
    assert ROW["name"] == "田中 太郎"
    assert shown({"id": 1}, LIMITED, frozenset()) == {"id": 1}
    assert shown({"email": None, "name": None}, LIMITED, frozenset()) == {"email": None, "name": None}


def test_change_is_masked_by_its_field() -> None:
    """Old and new alike, of members and of personal attributes."""
    change = {"id": 1, "field": "attributes.phone", "old": "03-1234", "new": None}
    assert shown_change(change, LIMITED, frozenset({"phone"})) == {**change, "old": "0•••"}
    assert shown_change(change, LIMITED, frozenset()) == change
    assert shown_change(change, FULL, frozenset({"phone"})) == change
    merged = {"id": 1, "field": "merged", "old": {"id": 3, "email": "taro@x.jp"}, "new": None}
    assert "taro" not in str(shown_change(merged, LIMITED, frozenset()))


@pytest.mark.parametrize(
    "text",
    [
        "C: RCPT TO:<taro@example.jp>",
        "S: 550 5.1.1 <taro@example.jp>: unknown",
        'C: RCPT TO:<"ta..ro"@docomo.ne.jp> ORCPT=rfc822;taro@example.jp',
        "https://shop.example.jp/?email=taro%40example.jp&x=1",
        "https://shop.example.jp/?q=taro@example.jp",
        "S: 550 user taro unknown (TARO)",
        "550 no mailbox [taro@example.jp]",
        "田中太郎様",
        "https://shop.example.jp/%E7%94%B0%E4%B8%AD/",
    ],
)
def test_free_text_of_others_loses_the_person_in_it(text: str) -> None:
    """Transcripts, replies and links, however the address or the name is written."""
    seen = without_words(text, ["taro@example.jp", "taro", "ta..ro", "田中太郎", "田中", ""])
    for word in ("taro", "ta..ro", "田中", "%e7%94%b0"):
        assert word not in seen.lower()
    assert "example" in seen or "@" not in text


def test_free_text_keeps_what_is_nobodys() -> None:
    """Codes, hosts and words that only contain such letters."""
    text = ["S: 250-mx.example.jp tarosoft ready", {"code": 250, "at": None}]
    assert without_words(text, ["taro"]) == text
    assert without_addresses("250 2.1.0 OK @ 5") == "250 2.1.0 OK @ 5"


@given(
    st.recursive(st.none() | st.booleans() | st.integers(10) | st.text("abcdefgh", min_size=2), st.lists, max_leaves=5)
)
def test_masked_value_has_the_form_and_nothing_of_the_value(value: Any) -> None:
    """Of texts one character at most, of numbers and booleans nothing."""
    seen = masked_value(value)
    if isinstance(value, str):
        assert seen == value[0] + "•••"
    elif isinstance(value, list):
        assert len(seen) == len(value)
    else:
        assert seen in (None, "•••")


@given(st.text(max_size=300))
def test_any_text_can_be_masked(text: str) -> None:
    """Whatever servers say."""
    assert isinstance(without_words(text, [text[:20], text[5:9]]), str)
