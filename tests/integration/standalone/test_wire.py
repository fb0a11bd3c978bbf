"""The sandbox's reading of SMTP: the same whatever the segmentation, and bounded."""

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.standalone.sandbox.wire import LineTooLong, SmtpInput

LINES = st.lists(st.sampled_from([b"", b".", b"..", b"x", b".x", b"\r", b"a" * 90, "早便".encode()]), max_size=6)


async def read_all(sent: bytes, cuts: list[int], max_bytes: int = 1000) -> tuple[bytes, bytes | None, bytes]:
    """A line, a mail and a line, sent in segments that end at ``cuts``."""
    reader = asyncio.StreamReader()
    wire = SmtpInput(reader)

    async def feed() -> None:
        edges = sorted({cut % (len(sent) + 1) for cut in cuts} | {0, len(sent)})
        for start, end in itertools.pairwise(edges):
            reader.feed_data(sent[start:end])
            await asyncio.sleep(0)

    feeding = asyncio.create_task(feed())
    read = (await wire.line(100), await wire.content(max_bytes), await wire.line(100))
    await feeding
    return read


@given(LINES, st.lists(st.integers(0, 2000), max_size=12))
def test_smtp_input_any_mail_in_any_segments_comes_out_as_it_went_in(lines: list[bytes], cuts: list[int]) -> None:
    """Dot-stuffing is undone exactly, and the command after the mail is still there."""
    content = b"".join(line + b"\r\n" for line in lines)
    stuffed = b"".join((b"." if line.startswith(b".") else b"") + line + b"\r\n" for line in lines)
    sent = b"DATA\r\n" + stuffed + b".\r\nNOOP\r\n"
    assert asyncio.run(read_all(sent, cuts)) == (b"DATA", content, b"NOOP")


@given(st.lists(st.integers(0, 200_000), max_size=5))
def test_smtp_input_mail_above_the_bound_is_skipped_to_its_end(cuts: list[int]) -> None:
    """Memory stays bounded and the session goes on behind the mail."""
    sent = b"DATA\r\n" + b"0123456789\r\n" * 15_000 + b".\r\nNOOP\r\n"
    assert asyncio.run(read_all(sent, cuts)) == (b"DATA", None, b"NOOP")


async def test_smtp_input_endless_line_is_refused() -> None:
    """With and without an end in sight."""
    for sent in (b"x" * 101, b"x" * 101 + b"\r\n"):
        reader = asyncio.StreamReader()
        reader.feed_data(sent)
        with pytest.raises(LineTooLong):
            await SmtpInput(reader).line(99)


async def test_smtp_input_client_that_goes_in_the_middle_of_a_mail_is_noticed() -> None:
    """A mail without its final dot is no mail."""
    reader = asyncio.StreamReader()
    reader.feed_data(b"half a mail\r\n")
    reader.feed_eof()
    with pytest.raises(asyncio.IncompleteReadError):
        await SmtpInput(reader).content(1000)
