"""The inbound SMTP server over real sockets, on asyncio's loop and on uvloop: what is taken, and what is answered."""

import asyncio

import pytest

from hayabin.domain.errors import PermanentFailure, TemporaryFailure
from services.bounce.peer_limits import InboundLimits, Refusal
from services.bounce.smtp_server import InboundMail
from tests.unit.bounce.smtp_world import CONTENT, RETURN_PATH, Make


async def test_mail_to_a_return_path_is_taken_as_sent(world: Make) -> None:
    """Envelope and content arrive whole, dots unstuffed, the null sender as the empty string."""
    it = await world()
    client = await it.client()
    assert client.banner.startswith("220 bounce.example")
    assert await client.send() == "250 2.0.0 OK"
    assert it.mails == [InboundMail("", RETURN_PATH, "127.0.0.1", CONTENT)]


async def test_several_mails_on_one_connection_are_taken(world: Make) -> None:
    """Each transaction stands for itself."""
    it = await world()
    client = await it.client()
    for number in range(3):
        assert (await client.send(mail_from=f"<s{number}@mx.example>")).startswith("250")
    assert [mail.mail_from for mail in it.mails] == [f"s{number}@mx.example" for number in range(3)]


@pytest.mark.parametrize(
    "rcpt_to",
    [
        RETURN_PATH,
        RETURN_PATH.upper(),
        "fbl@bounce.example",
        "Abuse@Bounce.Example",
        "unsubscribe@bounce.example",
        "postmaster@bounce.example",
        "Postmaster",
    ],
)
async def test_recipient_of_ours_is_accepted(world: Make, rcpt_to: str) -> None:
    """Return paths and role addresses, in any case."""
    it = await world()
    assert (await (await it.client()).send(rcpt_to=f"<{rcpt_to}>")).startswith("250")


@pytest.mark.parametrize(
    "rcpt_to",
    [
        "taro@bounce.example",
        "b-short@bounce.example",
        RETURN_PATH.replace("bounce.example", "elsewhere.example"),
        "fbl@elsewhere.example",
        f'"{RETURN_PATH}"@elsewhere.example',
        "taro",
    ],
)
async def test_recipient_of_others_is_refused_at_rcpt(world: Make, rcpt_to: str) -> None:
    """No relay, no catch-all: refused before any content is sent."""
    it = await world()
    assert (await (await it.client()).send(rcpt_to=f"<{rcpt_to}>")).startswith("550 5.1.1")
    assert it.refusals == [Refusal.UNKNOWN_RECIPIENT]


async def test_second_recipient_is_put_off(world: Make) -> None:
    """One recipient a transaction, so that one answer after the dot is true for all of it."""
    it = await world()
    client = await it.client()
    await client.say("EHLO mx.example")
    await client.say("MAIL FROM:<>")
    assert (await client.say(f"RCPT TO:<{RETURN_PATH}>")).startswith("250")
    assert (await client.say("RCPT TO:<fbl@bounce.example>")).startswith("452 4.5.3")


@pytest.mark.parametrize(
    ("failure", "answer"),
    [
        (TemporaryFailure("broker_unavailable"), "451 4.3.0"),
        (PermanentFailure("not_wanted"), "554 5.6.0"),
        (RuntimeError("secret detail"), "451 4.3.0"),
    ],
)
async def test_failure_of_the_handler_is_answered_and_told_nothing(
    world: Make, failure: Exception, answer: str
) -> None:
    """No 250 without a kept mail; the other side learns whether to come again, and no detail."""
    it = await world()
    it.failure = failure
    client = await it.client()
    reply = await client.send()
    assert reply.startswith(answer)
    assert "secret" not in reply
    assert it.refusals == [Refusal.HANDLING_FAILED]
    it.failure = None
    assert (await client.send()).startswith("250")


async def test_handler_that_hangs_is_answered_in_time(world: Make) -> None:
    """The handler has a bound of its own."""
    it = await world(InboundLimits(handling_timeout_s=0.05))
    it.hold = asyncio.Event()
    assert (await (await it.client()).send()).startswith("451")


async def test_250_waits_for_the_handler(world: Make) -> None:
    """The answer to the dot comes after ``on_mail`` has returned, not before."""
    it = await world()
    it.hold = asyncio.Event()
    sending = asyncio.create_task((await it.client()).send())
    await asyncio.sleep(0.1)
    assert not sending.done()
    it.hold.set()
    assert (await sending).startswith("250")
