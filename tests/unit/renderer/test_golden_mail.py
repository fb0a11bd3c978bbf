"""One mail, byte for byte: whoever changes what goes out sees it here.

``tests/corpus/mime/newsletter.eml`` was made by this very code and checked by eye; ``HAYABIN_UPDATE_CORPUS=1`` makes it
anew.
"""

import hashlib
import os
import re
from datetime import datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import cast
from zoneinfo import ZoneInfo

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from services.renderer.dkim import DkimSigner
from services.renderer.mime import MailParts, MailWriter, Sender

GOLDEN = Path(__file__).parents[2] / "corpus" / "mime" / "newsletter.eml"
KEY = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"a key for tests").digest())
SENDER = Sender(
    campaign_id=7,
    tenant_id=3,
    message_class="bulk",
    from_name="早便ショップ 東京本店",
    from_address="news@mail.example.jp",
    reply_to="help@mail.example.jp",
    list_id=12,
    list_name="月刊ニュース",
    domain="mail.example.jp",
)
PARTS = MailParts(
    to_name="山田 花子",
    to_address='"a..b"@docomo.ne.jp',
    subject="山田 花子 様、秋の新作のお知らせです(会員の皆さま限定のご案内)",
    text="山田 花子 様\n\n.で始まる行\n秋の新作: https://t.example.jp/c/TOKEN/0\n",
    html="<p>山田 花子 様</p>\n" + "<p>秋の新作です。</p>\n" * 5,
    message_id="<17.abc@mail.example.jp>",
    unsubscribe_url="https://t.example.jp/u/" + "A" * 50,
    unsubscribe_address="u-" + "a" * 60 + "@bounce.example.jp",
)
DATE = datetime(2026, 11, 24, 18, 30, tzinfo=ZoneInfo("Asia/Tokyo"))
WRITER = MailWriter(SENDER, [DkimSigner("mail.example.jp", "e", KEY)])


def test_mail_is_the_golden_one() -> None:
    """Same input, same bytes: headers, folds, boundary, base64, signature."""
    mail = WRITER.write(PARTS, DATE)
    if os.environ.get("HAYABIN_UPDATE_CORPUS"):
        GOLDEN.write_bytes(mail)
    assert mail == GOLDEN.read_bytes()


def test_golden_mail_reads_back_as_its_parts() -> None:
    """The stored mail says what it should, to a reader that is not ours."""
    message = message_from_bytes(GOLDEN.read_bytes(), policy=policy.default)
    assert str(message["From"]) == "早便ショップ 東京本店 <news@mail.example.jp>"
    (recipient,) = message["To"].addresses
    assert (recipient.display_name, recipient.username, recipient.domain) == ("山田 花子", "a..b", "docomo.ne.jp")
    assert message["Subject"] == PARTS.subject
    assert message["Date"] == "Tue, 24 Nov 2026 09:30:00 +0000"
    assert message["Reply-To"] == "help@mail.example.jp"
    both = f"<{PARTS.unsubscribe_url}>, <mailto:{PARTS.unsubscribe_address}?subject=unsubscribe>"
    assert message["List-Unsubscribe"] == both
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert message["Feedback-ID"] == "7:3:bulk:hayabin"
    assert message.get_content_type() == "multipart/alternative"
    text, html = message.iter_parts()
    # Line ends are CRLF inside base64 too (RFC 2046 §4.1.1).
    assert cast("EmailMessage", text).get_content() == PARTS.text.replace("\n", "\r\n")
    assert cast("EmailMessage", html).get_content() == (PARTS.html or "").replace("\n", "\r\n")
    assert [part.defects for part in message.walk()] == [[], [], []]


def test_body_line_ends_of_any_kind_become_crlf() -> None:
    """Values come with the line ends of any system; inside the encoding all of them are CRLF."""
    mail = WRITER.write(
        MailParts("", "a@x.example", "s", "a\rb\r\nc\nd\r\r\n", None, "<1@x>", "https://t.example/", "u-a@x"), DATE
    )
    payload = message_from_bytes(mail).get_payload(decode=True)
    assert payload == b"a\r\nb\r\nc\r\nd\r\n\r\n"


@pytest.mark.parametrize("size", [0, 1, 56, 57, 58, 114, 57 * 1000, 57 * 1001 + 1])
def test_body_of_any_length_is_cut_into_lines_of_76(size: int) -> None:
    """The cut of base64 lines is right at its seams, for short bodies and long ones."""
    mail = WRITER.write(
        MailParts("", "a@example.com", "s", "x" * size, None, "<1@x>", "https://t.example/", "u-a@x"), DATE
    )
    lines = mail.partition(b"\r\n\r\n")[2].split(b"\r\n")
    assert lines.pop() == b""
    assert all(len(line) == 76 for line in lines[:-1])
    assert 0 < len(lines[-1]) <= 76
    assert message_from_bytes(mail, policy=policy.default).get_content().rstrip() == "x" * size


@given(st.text(st.characters(codec="utf-8"), max_size=300), st.text(st.characters(codec="utf-8"), max_size=300))
def test_body_is_its_own_relaxed_form(text: str, html: str) -> None:
    """The body hash is taken of the body as it stands, so relaxing it must change nothing (RFC 6376 §3.4.4)."""
    body = WRITER.write(MailParts("", "a@example.com", "s", text, html, "<1@x>", "https://t.example/", "u-a@x"), DATE)
    body = body.partition(b"\r\n\r\n")[2]
    relaxed = re.sub(rb"[ \t]+", b" ", body)
    relaxed = re.sub(rb" (?=\r\n)", b"", relaxed)
    assert re.sub(rb"(\r\n)*\Z", b"", relaxed) + b"\r\n" == body
