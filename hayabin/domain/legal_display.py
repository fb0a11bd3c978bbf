"""What a bulk mail has to show by law, looked for in the text that a recipient reads.

Promises: linear in the length of the text; the words of both languages are looked for in every mail, because a mail may
be in one and its footer in the other. What is found is what a person would take for it; nobody checks that an address
exists.
Fails: never; an empty text shows nothing.
Source: 特定電子メールの送信の適正化等に関する法律 (Act No. 26 of 2002) Art. 4 and the 施行規則 for it;
15 U.S.C. § 7704(a)(3) and (5).
"""

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

NEAR_CHARS: Final = 300
"""How far from its link or address the statement that one can opt out may stand."""
UNSUBSCRIBE_MARK: Final = "\ue000"
"""Stands in a text where the unsubscribe link is; a character that no text of ours has."""
LINK_MARK: Final = "\ue001"
"""Stands in a text where any other link is."""


class DisplayItem(StrEnum):
    """What has to be shown."""

    SENDER_NAME = "sender_name"
    """氏名又は名称 of who is responsible for the mail."""
    OPT_OUT_PLACE = "opt_out_place"
    """The address or URL that takes the wish for no more mail."""
    OPT_OUT_STATEMENT = "opt_out_statement"
    """That one may say so, beside that place."""
    POSTAL_ADDRESS = "postal_address"
    """住所."""
    CONTACT = "contact"
    """Where complaints and questions are taken: an address, a URL or a telephone number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """What the mail is held against; empty where the company has not said it."""

    name: str
    postal_address: str
    contact: str


_OPT_OUT: Final = re.compile(
    r"(?:配信|受信|購読|送信|登録|案内|メール|メルマガ)[^。\n]{0,12}?(?:停止|解除|中止|拒否|不要|希望(?:され|し)(?:ない|ません))"
    r"|退会|オプトアウト"
    r"|unsubscrib|opt[ -]?(?:ing[ -])?out|stop receiving|(?:not|longer) (?:want|wish|like) to (?:receive|get)"
    r"|(?:manage|change|update) (?:your )?(?:e-?mail )?(?:preferences|subscriptions?)|remove (?:me|yourself) from",
    re.IGNORECASE,
)
_MAILBOX_OR_URL: Final = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+|https?://\S")
_TELEPHONE: Final = re.compile(
    r"(?<![\d-])(?:\+\d{1,3}[ -]?)?\(?0?\d{1,4}\)?[ -]\d{1,4}[ -]\d{3,4}(?!\d)|(?<!\d)0\d{9,10}(?!\d)"
)
_CONTACT_WORD: Final = re.compile(
    r"問い?合わ?せ|連絡先|苦情|ご意見|サポート|窓口|カスタマー|TEL|電話"
    r"|contact|inquir|enquir|support|help ?desk|complaint|question|phone",
    re.IGNORECASE,
)
_PREFECTURES: Final = (
    "北海道|青森県|岩手県|宮城県|秋田県|山形県|福島県|茨城県|栃木県|群馬県|埼玉県|千葉県|東京都|神奈川県|新潟県|富山県|石川県|福井県|山梨県|長野県|"
    "岐阜県|静岡県|愛知県|三重県|滋賀県|京都府|大阪府|兵庫県|奈良県|和歌山県|鳥取県|島根県|岡山県|広島県|山口県|徳島県|香川県|愛媛県|高知県|福岡県|"
    "佐賀県|長崎県|熊本県|大分県|宮崎県|鹿児島県|沖縄県"
)
_POSTAL: Final = (
    re.compile(r"〒 ?\d{3}-?\d{4}\s{0,5}[^\s\d]"),
    re.compile(rf"(?:{_PREFECTURES})[^\n。]{{0,20}}?[市区町村郡][^\n。]{{1,40}}?[\d一二三四五六七八九十]"),
    re.compile(r"\d{1,5}(?:-\d{1,5}){0,3},? [A-Za-z][A-Za-z0-9 .,'-]{2,80}?,? (?:[A-Z]{2} )?\d{3}-?\d{2,4}\b"),
    re.compile(
        r"\b\d{1,6} [A-Za-z0-9 .'-]{1,60}? ?"
        r"(?:street|st|avenue|ave|road|rd|boulevard|blvd|lane|ln|drive|dr|way|square|sq)\b",
        re.IGNORECASE,
    ),
    re.compile(r"\b(?:p\.? ?o\.? box|私書箱) ?\d", re.IGNORECASE),
)
_SPACES: Final = re.compile(r"[ \t\r\f\v\u200b\u3000]+")


def readable(text: str) -> str:
    """The text in one width and with single spaces, as it is searched."""
    return _SPACES.sub(" ", unicodedata.normalize("NFKC", text))


def missing(text: str, sender: Sender) -> frozenset[DisplayItem]:
    """What the text does not show; it has ``UNSUBSCRIBE_MARK`` and ``LINK_MARK`` where links are."""
    seen = readable(text)
    shown = {
        DisplayItem.SENDER_NAME: _has(seen, sender.name),
        DisplayItem.POSTAL_ADDRESS: _has(seen, sender.postal_address) or any(p.search(seen) for p in _POSTAL),
        DisplayItem.CONTACT: _has(seen, sender.contact) or _contact(seen),
    }
    places, statements = _opt_out_places(seen), [found.span() for found in _OPT_OUT.finditer(seen)]
    shown[DisplayItem.OPT_OUT_STATEMENT] = bool(statements)
    shown[DisplayItem.OPT_OUT_PLACE] = UNSUBSCRIBE_MARK in seen or _any_near(statements, places)
    return frozenset(item for item in DisplayItem if not shown[item])


def statement_is_near(text: str) -> bool:
    """Whether the statement that one can opt out stands beside the place where one can."""
    seen = readable(text)
    marks = [found.span() for found in re.finditer(UNSUBSCRIBE_MARK, seen)]
    return _any_near([found.span() for found in _OPT_OUT.finditer(seen)], marks or _opt_out_places(seen))


def _has(seen: str, wanted: str) -> bool:
    """Whether a text says something, however it is broken into lines."""
    squeezed = re.sub(r"\s+", "", readable(wanted)).casefold()
    return bool(squeezed) and squeezed in re.sub(r"\s+", "", seen).casefold()


def _opt_out_places(seen: str) -> list[tuple[int, int]]:
    marks = re.finditer(f"[{UNSUBSCRIBE_MARK}{LINK_MARK}]", seen)
    return [found.span() for found in (*marks, *_MAILBOX_OR_URL.finditer(seen))]


def _contact(seen: str) -> bool:
    """A telephone number, or an address or link that is called a contact."""
    words = [found.span() for found in _CONTACT_WORD.finditer(seen)]
    places = [found.span() for found in (*_MAILBOX_OR_URL.finditer(seen), *_TELEPHONE.finditer(seen))]
    places += [found.span() for found in re.finditer(LINK_MARK, seen)]
    return _any_near(words, places, within=60)


def _any_near(some: list[tuple[int, int]], others: list[tuple[int, int]], within: int = NEAR_CHARS) -> bool:
    """Whether any of both stand within so many characters of each other."""
    pairs = sorted([(start, end, 0) for start, end in some] + [(start, end, 1) for start, end in others])
    last_end: list[int | None] = [None, None]
    for start, end, kind in pairs:
        other = last_end[1 - kind]
        if other is not None and start - other <= within:
            return True
        mine = last_end[kind]
        last_end[kind] = end if mine is None else max(mine, end)
    return False
