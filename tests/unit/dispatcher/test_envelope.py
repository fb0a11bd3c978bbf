"""Nothing that a merge value, a CSV or an API call put into an address can become a command."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.dispatcher.envelope import Envelope, EnvelopeRefused, wire_content
from services.dispatcher.smtp_transaction import Extensions, Transaction

CONTENT = b"Subject: x\r\n\r\n"


@pytest.mark.parametrize("bad", ["\r\n", "\n", "\r", "\x00", " ", "\t", "<", ">", "\x7f", "\x85", "\u2028", "\u2029"])
@pytest.mark.parametrize("place", ["{}a@example.com", "a{}@example.com", "a@exam{}ple.com", "a@example.com{}"])
def test_envelope_unsafe_character_refused(bad: str, place: str) -> None:
    """No character that could end a command or add a parameter gets in, at any place of either address."""
    with pytest.raises(EnvelopeRefused):
        Envelope("b@example.jp", place.format(bad), CONTENT)
    with pytest.raises(EnvelopeRefused):
        Envelope(place.format(bad), "a@example.com", CONTENT)


@pytest.mark.parametrize(
    "recipient",
    [
        "a..b@docomo.ne.jp",
        '"a..b"@docomo.ne.jp',
        ".a@ezweb.ne.jp",
        "abc.@ezweb.ne.jp",
        "a+tag@example.com",
        "-a@example.com",
    ],
)
def test_envelope_mobile_addresses_sent_exactly(recipient: str) -> None:
    """Japanese mobile addresses stand on the wire as they were given, dots and quotes included."""
    command = Transaction(Envelope("", recipient, CONTENT), Extensions(pipelining=True), reset=False).command
    assert command == f"MAIL FROM:<>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n".encode()


@pytest.mark.parametrize("recipient", ["", "nobody", "a" * 400 + "@example.com"])
def test_envelope_no_address_refused(recipient: str) -> None:
    """A recipient without a domain, or far too long, is refused."""
    with pytest.raises(EnvelopeRefused):
        Envelope("b@example.jp", recipient, CONTENT)


@given(st.text(max_size=60), st.text(max_size=60))
def test_envelope_any_text_one_command_each(return_path: str, recipient: str) -> None:
    """Whatever is accepted makes exactly three lines."""
    try:
        envelope = Envelope(return_path, recipient, CONTENT)
    except EnvelopeRefused:
        return
    command = Transaction(envelope, Extensions(pipelining=True, smtputf8=True, size=True), reset=False).command
    lines = command.decode().split("\r\n")
    assert len(lines) == 4
    assert len(command.decode().splitlines()) == 3
    assert lines[1] == f"RCPT TO:<{recipient}>"


LINES = st.lists(
    st.binary(max_size=12).map(lambda b: b.replace(b"\r", b"").replace(b"\n", b""))
    | st.sampled_from([b".", b"..", b".x"])
)


@given(LINES)
def test_wire_content_undone_by_receiver_is_the_same(lines: list[bytes]) -> None:
    """A receiver that undoes the dot-stuffing has the content, and no line of it ends the content early."""
    content = b"".join(line + b"\r\n" for line in lines)
    wire = wire_content(content)
    received = wire.split(b"\r\n")[:-1]
    assert b"." not in received
    undone = [line[1:] if line.startswith(b".") else line for line in received]
    assert b"".join(line + b"\r\n" for line in undone) == (content or b"\r\n")


@pytest.mark.parametrize(
    "content", [b"a\n.\r\nMAIL FROM:<x>\r\n", b"a\n.\nb\r\n", b"a\n.b\r\n", b"a\r\n.b\r\nc\n.\r\n"]
)
def test_wire_content_bare_line_feed_before_dot_refused(content: bytes) -> None:
    """A dot behind a bare LF would end the content for some servers: it is not sent."""
    with pytest.raises(EnvelopeRefused):
        wire_content(content)


def test_wire_content_final_line_end_added() -> None:
    """A content without a final line end gets one, so that the dot stands on a line of its own."""
    assert wire_content(b"a") == b"a\r\n"
    assert wire_content(b".") == b"..\r\n"
