"""Mails are judged by others: the standard library parses them, dkimpy verifies them."""

import base64
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import cast

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from hayabin.domain.errors import PermanentFailure
from services.renderer.dkim import DkimSigner
from services.renderer.headers import addr_spec, mailbox
from services.renderer.mime import MailParts, MailWriter, Sender

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ED25519 = ed25519.Ed25519PrivateKey.generate()
DATE = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
SENDER = Sender(7, 3, "bulk", "早便ショップ, 東京", "news@mail.example.jp", "", 12, "月刊ニュース", "mail.example.jp")
URL = "https://t.example/u/" + "A" * 50
ADDRESS = "u-" + "a" * 60 + "@bounce.example.jp"


def records() -> dict[bytes, bytes]:
    """The DNS records of both keys."""
    public = RSA.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    raw = ED25519.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return {
        b"r._domainkey.mail.example.jp.": b"v=DKIM1; k=rsa; p=" + base64.b64encode(public),
        b"e._domainkey.mail.example.jp.": b"v=DKIM1; k=ed25519; p=" + base64.b64encode(raw),
    }


RECORDS = records()
WRITER = MailWriter(SENDER, [DkimSigner("mail.example.jp", "r", RSA), DkimSigner("mail.example.jp", "e", ED25519)])


def verified(mail: bytes) -> list[bool]:
    """What dkimpy says of each signature."""

    def lookup(name: bytes | str, timeout: int = 5) -> bytes | None:
        return RECORDS.get(name if isinstance(name, bytes) else name.encode())

    judge = dkim.DKIM(mail)
    answers = []
    for number in range(2):
        try:
            answers.append(bool(judge.verify(idx=number, dnsfunc=lookup)))
        except dkim.ValidationError:  # dkimpy's way to say that the body is another
            answers.append(False)
    return answers


def parts(
    name: str = "田中 花子", subject: str = "お知らせ", text: str = "本文\n.点\n", html: str | None = "<p>本文</p>"
) -> MailParts:
    """One mail's own parts."""
    return MailParts(name, '"a..b"@docomo.ne.jp', subject, text, html, "<17.abc@mail.example.jp>", URL, ADDRESS)


def parsed(mail: bytes) -> EmailMessage:
    """The standard library's view."""
    return message_from_bytes(mail, policy=policy.default)


def test_mail_both_signatures_verify_and_cover_the_one_click_headers() -> None:
    """Dkimpy verifies RSA and Ed25519; h= names what RFC 8058 demands, and From twice."""
    mail = WRITER.write(parts(), DATE)
    assert verified(mail) == [True, True]
    for value in parsed(mail).get_all("DKIM-Signature", []):
        names = value.replace(" ", "").replace("\t", "").split("h=")[1].split(";")[0].lower().split(":")
        assert names.count("from") == 2
        assert {"list-unsubscribe", "list-unsubscribe-post", "list-id", "feedback-id", "subject", "to", "date",
                "message-id", "mime-version", "content-type"} <= set(names)  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new"), [(b"Subject: ", b"Subject: x"), (b"From: ", b"From: evil@x.example\r\nFrom: "), (b"PHA+", b"PHA/")]
)
def test_mail_changed_afterwards_fails_verification(old: bytes, new: bytes) -> None:
    """A changed subject, a second From, a changed body: both signatures break."""
    mail = WRITER.write(parts(), DATE)
    assert old in mail
    assert verified(mail.replace(old, new, 1)) == [False, False]


def test_mail_reads_back_as_written() -> None:
    """Names, subject and both parts come back; one-click headers, List-Id and Message-ID are as they must be."""
    message = parsed(WRITER.write(parts(subject="とても長い件名です。" * 20), DATE))
    assert message["From"].addresses[0].display_name == "早便ショップ, 東京"
    assert message["From"].addresses[0].addr_spec == "news@mail.example.jp"
    assert message["To"].addresses[0].username == "a..b"
    assert message["To"].addresses[0].domain == "docomo.ne.jp"
    assert message["To"].addresses[0].display_name == "田中 花子"
    assert message["Subject"] == "とても長い件名です。" * 20
    assert message["List-Unsubscribe"].strip() == f"<{URL}>, <mailto:{ADDRESS}?subject=unsubscribe>"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert "<list-12.mail.example.jp>" in message["List-Id"]
    assert message["Message-ID"] == "<17.abc@mail.example.jp>"
    assert message["Date"].datetime == DATE
    text, html = message.iter_parts()
    assert cast("EmailMessage", text).get_content().replace("\r\n", "\n") == "本文\n.点\n"
    assert cast("EmailMessage", html).get_content().strip() == "<p>本文</p>"


def test_mail_of_no_list_says_whose_it_is() -> None:
    """A campaign to segments alone, or a test: a List-Id of the tenant's."""
    sender = Sender(7, 3, "bulk", "A", "a@mail.example.jp", "", 0, "", "mail.example.jp")
    assert parsed(MailWriter(sender, []).write(parts("B", "s"), DATE))["List-Id"] == "<all-3.mail.example.jp>"


@pytest.mark.parametrize("html", [None, "<p>本文</p>"])
def test_mail_percent_signs_stay_as_they_are(html: str | None) -> None:
    """Whatever the names of sender, list and recipient have of ``%``, nothing is filled in there."""
    sender = Sender(7, 3, "bulk", "50% off %b", "a%b@mail.example.jp", "r%s@mail.example.jp", 12, "%d%%", "example.jp")
    signers = [DkimSigner("mail.example.jp", "r", RSA), DkimSigner("mail.example.jp", "e", ED25519)]
    mail = MailWriter(sender, signers).write(parts("100%b", "50%% %s", html=html), DATE)
    message = parsed(mail)
    assert str(message["From"]) == "50% off %b <a%b@mail.example.jp>"
    assert str(message["Reply-To"]) == "r%s@mail.example.jp"
    assert str(message["List-Id"]) == "%d%% <list-12.example.jp>"
    assert (message["To"].addresses[0].display_name, message["Subject"]) == ("100%b", "50%% %s")
    assert verified(mail) == [True, True]


def test_mail_without_html_is_one_text_part() -> None:
    """A text template gives text/plain alone, signed as well."""
    mail = WRITER.write(parts(html=None), DATE)
    assert parsed(mail).get_content_type() == "text/plain"
    assert parsed(mail).get_content().replace("\r\n", "\n") == "本文\n.点\n"
    assert verified(mail) == [True, True]


def test_mail_is_the_same_for_the_same_input() -> None:
    """A retry renders the same bytes but for its date (PKCS #1 v1.5 and Ed25519 are deterministic)."""
    assert WRITER.write(parts(), DATE) == WRITER.write(parts(), DATE)


ANY = st.text(st.characters(codec="utf-8"), max_size=300)


@settings(max_examples=150, deadline=None)
@given(name=ANY, subject=ANY, text=ANY, html=ANY)
def test_mail_any_merge_value_stays_inside_its_field(name: str, subject: str, text: str, html: str) -> None:
    """Whatever is merged: CRLF line ends only, lines ≤ 998, ASCII, no new field, no line with a dot first, valid DKIM."""
    mail = WRITER.write(parts(name, subject, text, html), DATE)
    assert b"\n" not in mail.replace(b"\r\n", b"")
    assert b"\r" not in mail.replace(b"\r\n", b"")
    assert max(len(line) for line in mail.split(b"\r\n")) <= 998
    assert b"\r\n." not in mail
    head = message_from_bytes(mail.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
    assert sorted(head.keys()) == sorted([
        "DKIM-Signature", "DKIM-Signature", "From", "To", "Subject", "Date", "Message-ID", "List-Unsubscribe",
        "List-Unsubscribe-Post", "List-Id", "Feedback-ID", "MIME-Version", "Content-Type",
    ])  # fmt: skip
    assert verified(mail) == [True, True]


def test_addr_spec_quotes_what_is_no_dot_atom() -> None:
    """Japanese mobile addresses are quoted in header fields, bare or quoted as they come; injections are refused."""
    assert addr_spec("a..b@docomo.ne.jp") == b'"a..b"@docomo.ne.jp'
    assert addr_spec('"abc."@ezweb.ne.jp') == b'"abc."@ezweb.ne.jp'
    assert addr_spec("plain@example.com") == b"plain@example.com"
    for evil in ("a@b\r\nBcc: c@d", "a@b<c", "nobody", "@x", "a\x00@b"):
        with pytest.raises(PermanentFailure):
            addr_spec(evil)


def test_mailbox_plain_names_are_not_encoded() -> None:
    """ASCII names stay readable; specials are quoted."""
    assert mailbox("John Smith", "j@example.com") == b"John Smith <j@example.com>"
    assert mailbox('Smith, "J"', "j@example.com") == b'"Smith, \\"J\\"" <j@example.com>'
    assert mailbox("", "j@example.com") == b"j@example.com"
