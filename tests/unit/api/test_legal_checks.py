"""What a bulk mail has to show by law: found where it is, missed where it is not, in Japanese and English."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hayabin.content.compile import TemplateKind, compile_template
from hayabin.domain.legal_display import LINK_MARK, UNSUBSCRIBE_MARK, DisplayItem, Sender, missing, statement_is_near
from services.api.legal_checks import visible_text

NOBODY = Sender(name="サンプル商事株式会社", postal_address="", contact="")
ALL = frozenset(DisplayItem)

GOOD_JA = """
秋のセールのご案内です。
---
配信停止をご希望の方はこちら: {u}
発行: サンプル商事株式会社
〒100-0001 東京都千代田区千代田1-1
お問い合わせ: 03-1234-5678
"""
GOOD_EN = """
Our autumn sale begins today.
--
Unsubscribe: {u}
Sample Trading Inc., 1600 Amphitheatre Parkway, Mountain View, CA 94043
Questions? help@example.com
"""
SAMPLE = Sender(name="Sample Trading Inc.", postal_address="", contact="")


def of_ja(without: str = "", instead: str = "") -> frozenset[DisplayItem]:
    """What the good Japanese mail lacks when something in it is replaced."""
    assert without in GOOD_JA
    return missing(
        GOOD_JA.replace(without, instead).format(u=UNSUBSCRIBE_MARK) if without else GOOD_JA.format(u=UNSUBSCRIBE_MARK),
        NOBODY,
    )


def test_good_mail_in_japanese_lacks_nothing() -> None:
    """All five items are seen."""
    assert of_ja() == frozenset()
    assert statement_is_near(GOOD_JA.format(u=UNSUBSCRIBE_MARK))


def test_good_mail_in_english_lacks_nothing() -> None:
    """All five items are seen."""
    assert missing(GOOD_EN.format(u=UNSUBSCRIBE_MARK), SAMPLE) == frozenset()


@pytest.mark.parametrize(
    ("without", "instead", "lacks"),
    [
        ("サンプル商事株式会社", "編集部", DisplayItem.SENDER_NAME),
        ("配信停止をご希望の方は", "", DisplayItem.OPT_OUT_STATEMENT),
        ("〒100-0001 東京都千代田区千代田1-1", "東京より", DisplayItem.POSTAL_ADDRESS),
        ("お問い合わせ: 03-1234-5678", "", DisplayItem.CONTACT),
    ],
)
def test_each_item_that_is_taken_out_is_missed(without: str, instead: str, lacks: DisplayItem) -> None:
    """One thing less, one finding more."""
    assert of_ja(without, instead) == {lacks}


def test_mail_without_a_place_to_opt_out_is_told_so() -> None:
    """Neither our link nor an address or URL near the words: the words alone are no place."""
    text = (
        "サンプル商事株式会社 配信停止をご希望の方はお申し出ください。"
        + "あ" * 400
        + "お問い合わせ 03-1234-5678 〒100-0001 東京都"
    )
    assert missing(text, NOBODY) == {DisplayItem.OPT_OUT_PLACE}
    assert missing(text.replace("お申し出", "stop@example.jp へ"), NOBODY) == frozenset()


@pytest.mark.parametrize(
    "words",
    ["配信停止はこちら", "メールの配信を停止する", "今後メールの受信を希望されない方", "購読を解除", "メルマガ登録の解除", "退会手続き",
     "今後のご案内が不要な方", "Unsubscribe", "opt out", "opt-out", "If you no longer wish to receive these emails",
     "Manage your preferences", "You can stop receiving these messages"],
)  # fmt: skip
def test_statements_that_one_can_opt_out_are_understood(words: str) -> None:
    """Phrases from real footers."""
    assert DisplayItem.OPT_OUT_STATEMENT not in missing(f"{words} {UNSUBSCRIBE_MARK}", NOBODY)


@pytest.mark.parametrize(
    "words", ["配信中です", "無料で停止しません", "受信ありがとうございます", "Subscribe now", "オプション"]
)
def test_words_that_promise_nothing_are_no_statement(words: str) -> None:
    """What only looks like it."""
    assert DisplayItem.OPT_OUT_STATEMENT in missing(f"{words} {UNSUBSCRIBE_MARK}", NOBODY)


@pytest.mark.parametrize(
    "address",
    ["〒530-0001 大阪府大阪市北区梅田3-1-3", "〒5300001大阪市北区", "北海道札幌市中央区北1条西2丁目", "東京都港区芝公園四丁目2番8号",
     "1-9-1 Marunouchi, Chiyoda-ku, Tokyo 100-0005", "10 Downing Street, London", "PO Box 123, Springfield"],
)  # fmt: skip
def test_postal_addresses_are_known_without_a_setting(address: str) -> None:
    """Japanese ones by 〒 or prefecture, others by their street."""
    assert DisplayItem.POSTAL_ADDRESS not in missing(address, NOBODY)


@pytest.mark.parametrize("text", ["東京都の天気", "税込 100-0001 円", "大阪府で開催", "2026-11-29 Sale", "50 % off"])
def test_places_and_numbers_are_no_postal_address(text: str) -> None:
    """A prefecture alone, a price, a date."""
    assert DisplayItem.POSTAL_ADDRESS in missing(text, NOBODY)


def test_settings_are_found_however_they_are_written() -> None:
    """Width of characters, spaces and line breaks do not matter."""
    sender = Sender(name="サンプル商事", postal_address="京都市東山区 清水1-294", contact="support-form")
    assert (
        missing(
            f"サンプル\n商事 京都市東山区\n 清水1−294 Support-Form 配信停止 {UNSUBSCRIBE_MARK}".replace("−", "-"),
            sender,
        )
        == frozenset()
    )


def test_statement_far_from_its_link_is_not_near() -> None:
    """Three hundred characters are near, a page is not."""
    assert statement_is_near(f"配信停止{'。' * 200}{UNSUBSCRIBE_MARK}")
    assert not statement_is_near(f"配信停止{'。' * 400}{UNSUBSCRIBE_MARK}{LINK_MARK}")


def test_visible_text_of_html_has_marks_for_links_and_nothing_unseen() -> None:
    """What head, style and comments say is not shown; entities are read; tracked links are links."""
    source = (
        "<html><head><title>東京都港区1</title><style>.a{}</style></head><body><!-- 配信停止 -->&copy; A&amp;B"
        '<p>{{ name }}</p><a href="{{ unsubscribe_url }}">止める</a> <a href="https://x.example/">x</a></body></html>'
    )
    html = compile_template(TemplateKind.HTML, "s", source, None).html
    assert html is not None
    text = visible_text(html)
    assert "© A&B" in text
    assert text.index(UNSUBSCRIBE_MARK) < text.index("止める") < text.index(LINK_MARK)
    assert not any(word in text for word in ("港区", "配信停止", "name", "{"))


@given(st.text(max_size=3000))
def test_any_text_gets_an_answer(text: str) -> None:
    """No text raises, and nothing is both found and missing."""
    assert missing(text, NOBODY) <= ALL
    statement_is_near(text)
    visible_text(text)


def test_long_texts_are_read_in_time() -> None:
    """A megabyte of what the patterns begin with takes no quadratic time."""
    for piece in ("東京都", "〒100-", "配信", "1-1-1 A", "0120-", "a@"):
        missing(piece * (200_000 // len(piece)), NOBODY)
