"""Transcripts: what an operator reads of an attempt, and what must never stand there."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hayabin.domain.smtp_reply import Reply, SmtpPhase
from services.dispatcher.connect import Target, TlsMode, open_session
from services.dispatcher.smtp_outcome import Outcome, OutcomeKind
from services.dispatcher.smtp_parameters import Peer, SmtpTimeouts
from services.dispatcher.smtp_session import Envelope, EnvelopeRefused, SmtpSession
from services.dispatcher.transcript import (
    MAX_BYTES,
    MAX_LINE_CHARS,
    Conversation,
    Said,
    transcript,
    transcript_of_failure,
)
from tests.support.raw_server import Wire, raw_server
from tests.support.scripted_mx import Listener, ScriptedMx

CONTENT = b"Subject: secret\r\n\r\n.QQQQ\r\n"
MAIL = Envelope("b@example.jp", "a@example.com", CONTENT)
PEER = Peer("mx.example.jp", "127.0.0.5", 25, "127.0.0.2", "TLSv1.3")
OPENING = ("S: 220 mx.example.jp", "C: EHLO mta.example.jp", "S: 250 mx.example.jp")
OK = Reply(250, "2.1.0", "Ok")
ACCEPTED = Outcome(SmtpPhase.DOT, OutcomeKind.ACCEPTED, Reply(250, "2.0.0", "Ok: queued as 1"))
QUICK = SmtpTimeouts(5, 0.15, 0.15, 0.15, 0.15, 0.15, 0.2)


async def opened(port: int) -> SmtpSession:
    """Open a session in clear."""
    target = Target("mx.example.jp", "127.0.0.1", port, "mta.example.jp", "127.0.0.9", TlsMode.NONE, 5, QUICK)
    return await open_session(target)


async def test_transcript_accepted_mails_read_as_said() -> None:
    """The first mail of a connection has its opening; the next says its number; the content is a number of bytes."""
    async with ScriptedMx(Listener(manners="no-size; no-8bitmime")) as mx:
        session = await opened(mx.port)
        first = await session.send(MAIL)
        begun = transcript(session.conversation, first).splitlines()
        second = await session.send(MAIL)
        assert transcript(session.conversation, second).splitlines() == [
            f"connected 127.0.0.9 -> 127.0.0.1:{mx.port} mx.example.jp without TLS, mail 2 of the connection",
            "C: MAIL FROM:<b@example.jp>",
            "C: RCPT TO:<a@example.com>",
            "C: DATA",
            "S: 250 2.1.0 Ok",
            "S: 250 2.1.5 Ok",
            "S: 354 End data with <CR><LF>.<CR><LF>",
            f"C: ({len(CONTENT) + 1} bytes of content)",  # a dot was stuffed
            "C: .",
            "S: 250 2.0.0 Ok: queued",
        ]
        assert begun[0].endswith("mail 1 of the connection")
        assert begun[-9:] == transcript(session.conversation, second).splitlines()[1:]
        await session.quit()


@pytest.mark.parametrize(
    ("line", "end"),
    [
        ("reject rcpt 550 5.1.1 no", ["S: 550 5.1.1 no", "S: 503 5.5.1 Error: need RCPT command"]),
        ("stall rcpt", ["S: 250 2.1.0 Ok", "-- timed out before the reply to RCPT"]),
        ("drop data", ["S: 250 2.1.5 Ok", "-- connection lost before the final dot had left"]),
        ("drop dot", ["C: .", "-- connection lost after the final dot: whether the mail was taken is unknown"]),
    ],
)
async def test_transcript_end_says_what_ended_it(line: str, end: list[str]) -> None:
    """A refusal is the server's words; a break says how, and where, and what is not known."""
    async with ScriptedMx(Listener(recipients={"*": line})) as mx:
        session = await opened(mx.port)
        outcome = await session.send(MAIL)
        lines = transcript(session.conversation, outcome).splitlines()
        assert [text for text in lines if "offers PIPELINING" not in text][-2:] == end
        session.abort()


async def test_transcript_no_smtp_quoted_but_not_behind_the_content() -> None:
    """What is no reply is quoted, so that a web server is known as one; not after the content, as it could repeat that."""
    for stage, quoted in (("rcpt", True), ("dot", False)):
        async with ScriptedMx(Listener(recipients={"*": f"babble {stage}"})) as mx:
            session = await opened(mx.port)
            outcome = await session.send(MAIL)
            text = transcript(session.conversation, outcome)
            assert ("what do you want from me?" in text) == quoted
            assert "\n-- broken off, as the server does not keep to SMTP " in text


async def test_transcript_nothing_sent_says_why() -> None:
    """A mail that was refused here, and one that found the connection closed, say so; nothing of the last mail is left."""

    async def script(wire: Wire) -> None:
        await wire.greet(b"250-mx.example.jp\r\n250 SIZE 1000\r\n")
        await wire.hear(b"MAIL FROM:<b@example.jp> SIZE=26\r\n")
        await wire.say(b"250 ok\r\n")
        await wire.hear(b"\r\n")
        await wire.say(b"550 no\r\n421 4.3.2 closing\r\n")

    async with raw_server(script) as (port, _):
        session = await opened(port)
        assert (await session.send(MAIL)).phase is SmtpPhase.RCPT
        big = await session.send(Envelope("b@example.jp", "a@example.com", b"x" * 2000))
        lines = transcript(session.conversation, big).splitlines()
        assert lines[1:] == ["-- 552 5.3.4 the mail is larger than the server's SIZE (nothing was sent)"]
        with pytest.raises(EnvelopeRefused):
            await session.send(Envelope("b@example.jp", "a@example.com", b"\n.\n"))
        assert session.conversation.said == []
        closed = await session.send(MAIL)
        assert transcript(session.conversation, closed).splitlines()[1:] == ["-- 421 4.3.2 closing"]


async def test_transcript_server_lies_both_tries_shown() -> None:
    """If the mail was offered again without an extension, the operator reads why."""
    async with ScriptedMx(Listener(manners="no-parameters")) as mx:
        session = await opened(mx.port)
        outcome = await session.send(MAIL)
        assert outcome.accepted
        text = transcript(session.conversation, outcome)
        assert "S: 555 5.5.4 Unsupported option" in text
        assert "-- the server offers SIZE and does not keep it\nC: RSET\nC: MAIL FROM:<b@example.jp>\n" in text
        await session.quit()


async def test_transcript_broken_in_the_content_says_how_far() -> None:
    """If the content did not go out whole, the number is of what did, and there is no dot."""

    async def script(wire: Wire) -> None:
        await wire.greet()
        await wire.hear_commands(then_deaf=True)
        await wire.hear(b"never")

    async with raw_server(script) as (port, _):
        session = await opened(port)
        outcome = await session.send(Envelope("b@example.jp", "a@example.com", b"y" * 30_000_000))
        *_, content, end = transcript(session.conversation, outcome).splitlines()
        found = re.fullmatch(r"C: \((\d+) bytes of content\)", content)
        assert found is not None
        assert 0 < int(found[1]) < 30_000_000
        assert end == "-- timed out before the final dot had left"


def test_transcript_opening_only_for_the_first_mail() -> None:
    """The greeting and what followed stand with the first mail of a connection; IPv6 is bracketed, TLS named."""
    peer = Peer("mx.example.jp", "2001:db8::5", 25, "2001:db8::2", "TLSv1.3")
    said: list[Said] = [b"MAIL FROM:<>\r\n", OK]
    first = transcript(Conversation(peer, 1, OPENING, said), ACCEPTED).splitlines()
    assert first[:4] == [
        "connected 2001:db8::2 -> [2001:db8::5]:25 mx.example.jp TLSv1.3, mail 1 of the connection",
        *OPENING,
    ]
    assert not {*OPENING} & {*transcript(Conversation(peer, 17, OPENING, said), ACCEPTED).splitlines()}


def test_transcript_of_failure_says_what_was_heard_and_why() -> None:
    """An attempt that did not get as far as a mail has what was said until then."""
    peer = Peer("mx.example.jp", "127.0.0.5", 25, None, None)
    assert transcript_of_failure(peer, ["S: 554 5.7.1 blocked"], "connect: 554 5.7.1 blocked").splitlines() == [
        "connecting from any address -> 127.0.0.5:25 mx.example.jp",
        "S: 554 5.7.1 blocked",
        "-- connect: 554 5.7.1 blocked",
    ]


TEXTS = st.text(st.characters() | st.sampled_from("\r\n\x00\u2028\u202e\ud800早　"), max_size=3000)
ITEMS = (
    st.binary(max_size=800)
    | st.integers(0, 10**9)
    | st.builds(Reply, st.integers(200, 599), st.none() | st.just("4.2.0"), TEXTS)
    | TEXTS
)
OUTCOMES = st.builds(Outcome, st.sampled_from(SmtpPhase), st.sampled_from(OutcomeKind), st.none() | st.just(OK))


@given(st.lists(ITEMS, max_size=60), OUTCOMES, st.lists(TEXTS, max_size=5), TEXTS)
def test_transcript_any_record_bounded_and_printable(
    said: list[Said], outcome: Outcome, opening: list[str], host: str
) -> None:
    """Whatever was said: bounded lines, a bounded whole, no control character, and encodable."""
    peer = Peer(host, "127.0.0.5", 25, None, None)
    for text in (
        transcript(Conversation(peer, 1, tuple(opening), said), outcome),
        transcript_of_failure(peer, opening, host),
    ):
        assert len(text.encode()) <= MAX_BYTES
        assert all(len(line) <= MAX_LINE_CHARS for line in text.split("\n"))
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\ud800-\udfff]", text)


def test_transcript_long_line_cut() -> None:
    """A line of two kilobytes, as the parser lets through, is cut at the bound."""
    text = transcript(Conversation(PEER, 2, (), [Reply(250, None, "x" * 2000), ACCEPTED.reply or OK]), ACCEPTED)
    assert [len(line) for line in text.splitlines()[1:2]] == [MAX_LINE_CHARS]


def test_transcript_too_long_keeps_both_ends() -> None:
    """Of a conversation beyond the bound, the middle is left out and counted."""
    said: list[Said] = [Reply(250, None, f"line {number} " + "あ" * 100) for number in range(200)]
    lines = transcript(Conversation(PEER, 2, (), [*said, ACCEPTED.reply or OK]), ACCEPTED).splitlines()
    assert lines[0].startswith("connected")
    assert lines[-1] == "S: 250 2.0.0 Ok: queued as 1"
    left_out = next(line for line in lines if line.startswith("-- ("))
    assert left_out == f"-- ({202 - len(lines) + 1} lines left out)"


LINES = st.lists(st.text(st.characters(codec="ascii", exclude_characters="\r\n"), max_size=60), max_size=8)


@given(LINES, st.sampled_from(["", "no-pipelining", "no-parameters"]), st.booleans())
async def test_transcript_any_content_depends_on_its_size_alone(lines: list[str], manners: str, refused: bool) -> None:
    """Two mails that differ in the letters of their content have the same transcript: none of them is there."""
    content = "".join(f"{line}\r\n" for line in ("Subject: x", "", *lines))
    rules = {"*": "reject dot 550 5.7.1 no"} if refused else {}
    texts = []
    async with ScriptedMx(Listener(manners=manners, recipients=rules)) as mx:
        for text in (content, re.sub(r"[^\r\n.]", "Z", content)):
            session = await opened(mx.port)
            outcome = await session.send(Envelope("b@example.jp", "a@example.com", text.encode()))
            texts.append(transcript(session.conversation, outcome))
            session.abort()
    assert texts[0] == texts[1]
    assert "ZZ" not in texts[1]
