"""Whatever arrives: no exception, bounded time, and no fact without our signature."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.bounce.inbound import parse_inbound
from services.bounce.mail_tree import PARTS_MAX, read_mail
from services.bounce.match import BounceFact, Unmatched, match
from services.bounce.report import Arf, AutoReply, Dsn, Unrecognised
from tests.unit.bounce.corpus import FORGER, NAMES, RING, WORDS, load

MAILS = [load(name)[0] for name in NAMES]
KINDS = (Dsn, Arf, AutoReply, Unrecognised)
TOKENS = [
    b"\n\n", b"\n", b"\r", b"\x00", b"--", b"; boundary=", b"=?iso-2022-jp?B?", b"?=", b"\x1b$B", b"\xff\xfe", b"<", b">",
    b"multipart/report", b"message/rfc822", b"charset=punycode", b"charset*=utf-8''", b"Content-Transfer-Encoding: base64\n",
    b"Status: 5.1.1\n", b"Final-Recipient: rfc822;", b" " * 300, b"a" * 300,
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A mail of the corpus with pieces cut out, doubled, overwritten or put in."""
    mail = draw(st.sampled_from(MAILS))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(mail)))
        to = min(len(mail), at + draw(st.integers(0, 200)))
        piece = draw(st.one_of(st.sampled_from(TOKENS), st.binary(max_size=40), st.just(mail[at:to] * 2)))
        mail = mail[:at] + piece + mail[to:]
    return mail


@settings(max_examples=600, deadline=None)
@given(mutated(), st.sampled_from([WORDS["%RETURN_PATH%"], "fbl@bounce.example"]))
def test_mutated_mail_is_read_as_some_kind(mail: bytes, rcpt_to: str) -> None:
    """No mutation raises, and what a match gives is bounded and names the one message that was signed for."""
    parsed = parse_inbound(mail)
    assert isinstance(parsed, KINDS)
    result = match(parsed, rcpt_to, RING)
    if isinstance(result, BounceFact):
        assert result.message_id in {1000, 1001}
        assert len(result.diagnostic) < 1200
        assert "\n" not in result.diagnostic


@settings(max_examples=200, deadline=None)
@given(mutated())
def test_mutated_mail_without_our_key_gives_no_fact(mail: bytes) -> None:
    """For a ring that signed nothing of it, no mail whatsoever gives a fact."""
    assert isinstance(match(parse_inbound(mail), WORDS["%RETURN_PATH%"], FORGER), Unmatched)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=2000))
def test_any_bytes_are_read_as_some_kind(mail: bytes) -> None:
    """Not even a mail: still one of the four kinds."""
    assert isinstance(parse_inbound(mail), KINDS)


def bombs() -> dict[str, bytes]:
    """Mails of about 1 MB, each made to cost a careless reader much more than its size."""
    size = 1 << 20
    status = b"From: mailer-daemon@x\nContent-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\n"
    plain = b"From: mailer-daemon@x\nSubject: failure\n\n"
    return {
        "nested_multiparts": b"".join(
            b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (i, i) for i in range(20_000)
        ),
        "nested_messages": b"Content-Type: message/rfc822\n\n" * (size // 30),
        "nested_base64_messages": b"Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n" * (size // 66),
        "endless_parts": b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\n" * (size // 5),
        "endless_status_groups": status + b"a:\n\n" * (size // 4),
        "endless_status_fields": status + b"Final-Recipient: rfc822; a@b\n" * (size // 29),
        "endless_header": b"a: b\n" * (size // 5),
        "endless_folding": b"a:\n" + b" b\n" * (size // 3),
        "one_header_line": b"Subject: " + b"=?utf-8?B?" * (size // 10),
        "one_parameter_line": b'Content-Type: multipart/report; x="' + b';"' * (size // 2),
        "text_of_at_signs": plain + b"a@" * (size // 2),
        "text_of_domains": plain + b"a@" + b"a." * (size // 2),
        "text_of_letters": plain + b"a" * size,
        "text_of_digits": plain + b"5.1." * (size // 4),
        "text_of_dashes": plain + b"-" * size,
        "text_of_dashed_lines": plain + (b"-" * 60 + b"\n") * (size // 61),
        "text_of_quote_marks": plain + b"> " * (size // 2),
        "text_of_codes": plain + b"550 " * (size // 4),
        "html_of_angles": b"From: mailer-daemon@x\nContent-Type: text/html\n\n" + b"<" * size,
        "quoted_printable": plain.replace(b"\n\n", b"\nContent-Transfer-Encoding: quoted-printable\n\n") + b"=" * size,
        "iso_2022_escapes": plain.replace(b"\n\n", b"\nContent-Type: text/plain; charset=iso-2022-jp\n\n")
        + b"\x1b$B\x1b(B" * (size // 6),
    }


@pytest.mark.parametrize("name", sorted(bombs()))
def test_mail_made_to_be_slow_is_read_in_bounded_time(name: str) -> None:
    """A megabyte of malice takes a fraction of a second, so that one sender can not stop the service."""
    content = bombs()[name]
    began = time.process_time()
    parsed = parse_inbound(content)
    assert time.process_time() - began < 0.5
    assert isinstance(parsed, KINDS)


def test_mail_of_endless_parts_is_read_to_the_bound() -> None:
    """The tree never has more parts than its bound, however many the mail has."""
    assert sum(1 for _ in read_mail(bombs()["endless_parts"]).walk()) <= PARTS_MAX
