"""Replies are found whatever the segmentation, and nothing that a server says costs more than its bound."""

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hayabin.domain.smtp_reply import (
    MAX_REPLY_BYTES,
    MAX_TEXT_BYTES,
    ProtocolError,
    Reply,
    ReplyParser,
    reply_from_text,
)

TEXTS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=0, max_size=30)
CODES = st.integers(200, 559).filter(lambda code: code % 100 < 60)


@st.composite
def wire_replies(draw: st.DrawFn) -> tuple[list[tuple[int, list[str]]], bytes]:
    """Draw some replies and their bytes, each line with CRLF or LF."""
    replies = draw(st.lists(st.tuples(CODES, st.lists(TEXTS, min_size=1, max_size=4)), min_size=1, max_size=5))
    wire = b""
    for code, lines in replies:
        for number, line in enumerate(lines):
            separator = " " if number == len(lines) - 1 else "-"
            wire += f"{code}{separator}{line}".encode() + draw(st.sampled_from([b"\r\n", b"\n"]))
    return replies, wire


def parse_pieces(pieces: list[bytes]) -> tuple[list[Reply], str | None]:
    """Feed pieces; give the replies and the reason of the failure, if any."""
    parser, replies = ReplyParser(), []
    try:
        for piece in pieces:
            replies += parser.feed(piece)
        replies += parser.feed(b"")
    except ProtocolError as failure:
        return replies, failure.reason
    return replies, None


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut ``data`` at the given places."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(places)]


@given(wire_replies(), st.lists(st.integers(0, 10_000), max_size=20))
def test_parser_any_split_same_replies(drawn: tuple[list[tuple[int, list[str]]], bytes], cuts: list[int]) -> None:
    """Any cutting of well-formed replies gives their codes in order, and the same result as one piece."""
    expected, wire = drawn
    whole = parse_pieces([wire])
    assert [reply.code for reply in whole[0]] == [code for code, _ in expected]
    assert parse_pieces(pieces_of(wire, cuts)) == whole
    assert parse_pieces([wire[i : i + 1] for i in range(len(wire))]) == whole


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=10))
def test_parser_any_bytes_split_invariant_and_clean(data: bytes, cuts: list[int]) -> None:
    """Arbitrary bytes raise nothing but ProtocolError, give the same whatever the cuts, and text without controls."""
    whole = parse_pieces([data])
    assert parse_pieces(pieces_of(data, cuts)) == whole
    for reply in whole[0]:
        assert not any(unicodedata.category(c) in {"Cc", "Zl", "Zp"} and c != "\n" for c in reply.text)


@given(
    st.lists(st.sampled_from([b"250 ok\r\n", b"250-a\n", b"550 5.1.1 no\r\n", b"x", b"\r\n", b"99 a\n"]), max_size=9)
)
def test_parser_garbage_after_replies_keeps_them(lines: list[bytes]) -> None:
    """A reply that was complete before the garbage is given, in one piece as byte by byte."""
    data = b"".join(lines)
    assert parse_pieces([data]) == parse_pieces([data[i : i + 1] for i in range(len(data))])


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        (b"250 2.1.0 Ok\r\n", Reply(250, "2.1.0", "Ok")),
        (b"250\r\n", Reply(250, None, "")),
        (b"354 go ahead\n", Reply(354, None, "go ahead")),
        ("550 \u9001\x9b31m\u2028\u202ex\r\n".encode(), Reply(550, None, "\u9001?31m??x")),
        (b"550 5.1.1\r\n", Reply(550, "5.1.1", "")),
        (b"550 5.1.1x no\r\n", Reply(550, None, "5.1.1x no")),
        (b"550-5.1.1 a\r\n550-5.1.1 b\r\n550 5.1.1 c\r\n", Reply(550, "5.1.1", "a\nb\nc")),
        (b"550 a\x00b\x1b[31m\tc\r\n", Reply(550, None, "a?b?[31m c")),
        ("550 宛先不明\r\n".encode(), Reply(550, None, "宛先不明")),
        (b"550 \xff\xfe\r\n", Reply(550, None, "\ufffd\ufffd")),
    ],
)
def test_parser_known_wire_exact_reply(wire: bytes, expected: Reply) -> None:
    """Enhanced codes are taken out of the text, control characters and bad UTF-8 are made harmless."""
    assert ReplyParser().feed(wire) == [expected]


@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        (b"\r\n", "garbage"),
        (b"hello\r\n", "garbage"),
        (b"199 no\r\n", "garbage"),
        (b"600 no\r\n", "garbage"),
        (b"260 no\r\n", "garbage"),
        (b"250Ok\r\n", "garbage"),
        (b"250-a\r\n550 b\r\n", "mixed_codes"),
    ],
)
def test_parser_malformed_line_protocol_error(wire: bytes, reason: str) -> None:
    """What is no reply is refused by name, and goes on being refused."""
    parser = ReplyParser()
    with pytest.raises(ProtocolError, match=reason):
        parser.feed(wire)
    with pytest.raises(ProtocolError, match=reason):
        parser.feed(b"250 ok\r\n")


@pytest.mark.parametrize("piece", [b"x", b"250-x\r\n", b"250-" + b"y" * 900 + b"\n"])
def test_parser_endless_reply_refused_at_bound(piece: bytes) -> None:
    """A line without an end and continuation lines without an end stop at the limit, in bounded memory."""
    parser = ReplyParser()
    for _ in range(MAX_REPLY_BYTES // len(piece)):
        assert parser.feed(piece) == []
    with pytest.raises(ProtocolError, match="too_long"):
        parser.feed(piece)


def test_parser_megabyte_line_refused() -> None:
    """One line of a megabyte in one piece is refused too."""
    with pytest.raises(ProtocolError, match="too_long"):
        ReplyParser().feed(b"250 " + b"x" * 1_000_000 + b"\r\n")


def test_parser_long_reply_text_cut() -> None:
    """A reply within the limit keeps only the first part of its text, and the next reply is found."""
    wire = b"".join(b"550-" + b"z" * 500 + b"\r\n" for _ in range(50)) + b"550 end\r\n250 ok\r\n"
    first, second = ReplyParser().feed(wire)
    assert 1900 < len(first.text.encode()) <= MAX_TEXT_BYTES
    assert second == Reply(250, None, "ok")


def test_parser_pending_tells_unfinished_reply() -> None:
    """``pending`` is true inside a line and between continuation lines, false between replies."""
    parser = ReplyParser()
    states = []
    for piece in (b"250-a", b"\r\n", b"250 b\r", b"\n"):
        parser.feed(piece)
        states.append(parser.pending)
    assert states == [True, True, True, False]


def test_reply_from_text_bounded_and_checked() -> None:
    """Replies of the other parser go through the same cleaning, and an impossible code is refused."""
    assert reply_from_text(550, "5.7.1 no\n5.7.1 way\x00") == Reply(550, "5.7.1", "no\nway?")
    with pytest.raises(ProtocolError):
        reply_from_text(-1, "Response too long")


def test_parser_long_session_limit_is_per_reply() -> None:
    """A warm connection may say far more than the limit in all, in one-line and in multi-line replies."""
    parser = ReplyParser()
    for _ in range(3000):
        assert [reply.code for reply in parser.feed(b"250-first line of it\r\n250 last line of it\r\n250 ok\r\n")] == [
            250,
            250,
        ]
