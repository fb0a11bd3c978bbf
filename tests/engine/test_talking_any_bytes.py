"""A server may say anything at any time: every mail has an outcome soon, and none is called accepted that was not."""

import asyncio
import contextlib
import socket
from collections.abc import Callable

import pytest
import uvloop
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hayabin.domain.smtp_reply import Reply
from services.dispatcher.pipelining import BROKEN_OFFERS
from services.dispatcher.smtp_parameters import SmtpTimeouts
from services.dispatcher.smtp_session import Envelope, Extensions, Outcome, Peer, SessionParameters, SmtpSession
from services.dispatcher.transcript import MAX_BYTES, Conversation, transcript

CONTENT = b"Subject: x\r\n\r\nQQQQ\r\n"
MAIL = Envelope("b@example.jp", "a@example.com", CONTENT)
PATIENCE_S = 0.04
TIMEOUTS = SmtpTimeouts(*[PATIENCE_S] * 7)
LONGEST_S = 2.0  # a bound with room for a busy machine

REPLIES = st.sampled_from([
    b"250 2.1.0 Ok\r\n", b"250-a\r\n250 b\r\n", b"250 ok\n", b"354 go\r\n", b"354\r\n", b"421 4.3.2 bye\r\n",
    b"450 4.2.0 later\r\n", b"503 5.5.1 sequence\r\n", b"550 5.1.1 no\r\n", b"555 5.5.4 option\r\n", b"220 hello\r\n",
    b"250-", b"2", b"\r\n", b".\r\n", b"999 what\r\n", b"250-a\r\n550 b\r\n", b"\x00\xff\r\n", b"x" * 70_000,
])  # fmt: skip
STREAMS = st.lists(REPLIES | st.binary(max_size=12), max_size=10).map(b"".join)
LIKELY = st.lists(
    st.sampled_from([b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", b"550 no\r\n", b"503 no\r\n"]), max_size=9
).map(b"".join)


async def speak(there: socket.socket, stream: bytes, cuts: list[int], *, in_turn: bool, hang_up: bool) -> bytes:
    """Say the stream in pieces, at once or each after hearing something; give what was heard up to the end."""
    loop = asyncio.get_running_loop()
    heard = b""
    ends = sorted({min(cut, len(stream)) for cut in cuts} | {len(stream)})
    start = 0
    with contextlib.suppress(OSError):
        for end in ends:
            if in_turn:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PATIENCE_S / 8):
                        heard += await loop.sock_recv(there, 65536)
            await loop.sock_sendall(there, stream[start:end])
            start = end
            await asyncio.sleep(0)
        if hang_up:
            there.shutdown(socket.SHUT_WR)
        while data := await loop.sock_recv(there, 65536):
            heard += data
    return heard


async def converse(
    extensions: Extensions, stream: bytes, cuts: list[int], *, in_turn: bool, hang_up: bool, announced: bool
) -> None:
    """Send three mails to a server that says the stream, and check what is claimed of them."""
    BROKEN_OFFERS.until_s.clear()
    here, there = socket.socketpair()
    there.setblocking(False)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=here)
    peer = Peer("mx.example.jp", "127.0.0.1", 25, None, None)
    session = SmtpSession(transport, SessionParameters(peer, extensions, TIMEOUTS))
    server = asyncio.create_task(speak(there, stream, cuts, in_turn=in_turn, hang_up=hang_up))
    outcomes = []
    async with asyncio.timeout(LONGEST_S):
        for _ in range(3):
            outcome = await session.send(MAIL, MAIL if announced else None)
            check(outcome, session.conversation)
            outcomes.append(outcome)
    session.abort()
    heard = await server
    there.close()
    taken = sum(outcome.accepted for outcome in outcomes)
    unknown = sum(outcome.unknown for outcome in outcomes)
    assert taken <= heard.count(b"QQQQ\r\n.\r\n") <= taken + unknown + sum(o.reply is not None for o in outcomes)


def check(outcome: Outcome, conversation: Conversation) -> None:
    """What is claimed of a mail is what the conversation bears out."""
    said = conversation.said
    after_dot = list(said[said.index(len(CONTENT)) + 1 :]) if len(CONTENT) in said else []
    answers = [item for item in after_dot if isinstance(item, Reply)]
    if outcome.accepted:
        assert answers == [outcome.reply]
        assert answers[0].is_positive
        assert [item for item in said if isinstance(item, Reply)][-2].code == 354
    if outcome.unknown:
        assert after_dot[:1] == [b".\r\n"]
    assert said.count(len(CONTENT)) <= 1, "the content went out twice"
    text = transcript(conversation, outcome)
    assert "QQQQ" not in text
    assert len(text.encode()) <= MAX_BYTES


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_send_any_bytes_of_the_server_outcome_soon_and_honest(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """Whatever the server says, split anywhere: an outcome in bounded time; accepted only by a 2yz behind our dot."""
    with asyncio.Runner(loop_factory=new_loop) as runner:

        @settings(max_examples=120, deadline=None)
        @given(
            st.builds(Extensions, pipelining=st.booleans(), size=st.booleans()),
            STREAMS | LIKELY,
            st.lists(st.integers(0, 120), max_size=8),
            st.booleans(),
            st.booleans(),
            st.booleans(),
        )
        @example(Extensions(pipelining=True), b"250 a\r\n250 b\r\n354 c\r\n250 d\r\n", [], False, False, False)
        @example(Extensions(pipelining=True), b"250 a\r\n250 b\r\n354 c\r\n250 d\r\n", [23], True, False, False)
        @example(Extensions(pipelining=True), b"250 a\r\n250 b\r\n354 c\r\n250 d\r\n" * 2, [23, 46], True, False, True)
        @example(Extensions(), b"250 a\r\n250 b\r\n354 c\r\n250 d\r\n", [7, 14, 21], True, True, True)
        def run(
            extensions: Extensions, stream: bytes, cuts: list[int], in_turn: bool, hang_up: bool, announced: bool
        ) -> None:
            runner.run(converse(extensions, stream, cuts, in_turn=in_turn, hang_up=hang_up, announced=announced))

        run()
