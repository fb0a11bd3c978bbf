"""The inbound SMTP server over real sockets, on asyncio's loop and on uvloop."""

import asyncio
import contextlib
import datetime as dt
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hayabin.domain.errors import PermanentFailure, TemporaryFailure
from hayabin.domain.token import TokenKey, TokenRing
from hayabin.domain.verp import issue_return_path
from services.bounce.peer_limits import InboundLimits, Refusal
from services.bounce.smtp_server import InboundMail, InboundOptions, InboundServer

RETURN_PATH = issue_return_path(7, 1, TokenRing((TokenKey(1, b"k" * 32),), active=1), "bounce.example")
CONTENT = b"From: mailer-daemon@mx.example\r\nSubject: x\r\n\r\n..two dots\r\n"


class World:
    """A running server, and what it has taken and turned away."""

    def __init__(self) -> None:
        self.mails: list[InboundMail] = []
        self.refusals: list[Refusal] = []
        self.failure: Exception | None = None
        self.hold: asyncio.Event | None = None
        self.server: InboundServer
        self.port = 0

    async def on_mail(self, mail: InboundMail) -> None:
        """Keep the mail; wait or fail first, as told."""
        if self.hold is not None:
            await self.hold.wait()
        if self.failure is not None:
            raise self.failure
        self.mails.append(mail)

    async def client(self) -> "Client":
        """A connection that has read the banner."""
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        client.banner = await client.reply()
        return client


class Client:
    """A few words of SMTP, reply by reply."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.banner = ""

    async def reply(self) -> str:
        """One reply, its lines joined; empty at the end of the connection."""
        lines = []
        while True:
            line = (await asyncio.wait_for(self.reader.readline(), 5)).decode()
            lines.append(line.rstrip("\r\n"))
            if line[3:4] != "-":
                return "\n".join(lines)

    async def say(self, command: str) -> str:
        """Send one command and read its reply."""
        self.writer.write(command.encode() + b"\r\n")
        return await self.reply()

    async def send(self, mail_from: str = "<>", rcpt_to: str = f"<{RETURN_PATH}>", content: bytes = CONTENT) -> str:
        """A whole transaction; the last reply."""
        for command in ("EHLO mx.example", f"MAIL FROM:{mail_from}", f"RCPT TO:{rcpt_to}"):
            reply = await self.say(command)
            if not reply.startswith("2"):
                return reply
        assert (await self.say("DATA")).startswith("354")
        self.writer.write(content.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        return await self.reply()


Make = Callable[..., Any]


@pytest.fixture
async def world() -> AsyncIterator[Make]:
    """A maker of worlds, all stopped at the end."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(limits: InboundLimits | None = None, **options: Any) -> World:
            made = World()
            made.server = InboundServer(
                InboundOptions(
                    host="127.0.0.1",
                    port=0,
                    hostname="bounce.example",
                    domains=frozenset({"bounce.example"}),
                    limits=limits or InboundLimits(),
                    **options,
                ),
                made.on_mail,
                made.refusals.append,
            )
            made.port = await made.server.start()
            stack.push_async_callback(made.server.stop, 0.0)
            return made

        yield make


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


async def test_mail_over_the_size_limit_is_refused(world: Make) -> None:
    """By SIZE at MAIL, and by count after the dot; the connection lives on."""
    it = await world(InboundLimits(size_bytes=10_000))
    client = await it.client()
    assert (await client.send(mail_from="<a@mx.example> SIZE=10001")).startswith("552")
    assert (await client.send(content=(b"x" * 70 + b"\r\n") * 200)).startswith("552")
    assert (await client.send()).startswith("250")
    assert len(it.mails) == 1


async def send_without_end(client: Client) -> None:
    """Six megabytes without a line end, then wait for an answer."""
    for _ in range(100):
        client.writer.write(b"x" * 65536)
        await client.writer.drain()
    await client.reader.readexactly(1)


async def test_endless_line_is_cut_off(world: Make) -> None:
    """A line without end neither fills the memory nor holds the connection."""
    it = await world(InboundLimits(size_bytes=10_000))
    client = await it.client()
    for command in ("EHLO mx.example", "MAIL FROM:<>", f"RCPT TO:<{RETURN_PATH}>", "DATA"):
        await client.say(command)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await send_without_end(client)
    assert it.refusals == [Refusal.TOO_MUCH_DATA]


async def test_long_line_of_a_report_is_taken(world: Make) -> None:
    """Lines past 998 octets are against RFC 5322, and in many a bounce."""
    it = await world()
    assert (await (await it.client()).send(content=b"Subject: " + b"x" * 5000 + b"\r\n\r\n")).startswith("250")


async def test_bare_line_feed_does_not_end_the_mail(world: Make) -> None:
    """A dot between bare line feeds is content: a second mail can not be smuggled in behind it."""
    it = await world()
    content = b"Subject: x\r\n\r\nbody\n.\nMAIL FROM:<evil@mx.example>\r\n"
    client = await it.client()
    assert (await client.send(content=content)).startswith("250")
    assert [mail.content for mail in it.mails] == [content]


async def test_connections_over_the_limit_are_turned_away(world: Make) -> None:
    """Per peer; a place that becomes free can be taken again."""
    it = await world(InboundLimits(connections_per_peer=2))
    first, _second = await it.client(), await it.client()
    third = await it.client()
    assert third.banner.startswith("421")
    assert it.refusals == [Refusal.PEER_CONNECTIONS]
    await first.say("QUIT")
    await asyncio.sleep(0.05)
    assert (await it.client()).banner.startswith("220")


async def test_connections_that_vanish_free_their_places(world: Make) -> None:
    """A reset without QUIT is counted out as well."""
    it = await world(InboundLimits(connections=2))
    for _ in range(5):
        client = await it.client()
        assert client.banner.startswith("220")
        client.writer.transport.abort()
        await asyncio.sleep(0.05)
    assert not it.server.connections


async def test_mails_over_the_rate_are_put_off(world: Make) -> None:
    """450 at MAIL: nothing is lost, the peer comes again."""
    it = await world(InboundLimits(mails_per_peer_per_minute=1))
    client = await it.client()
    assert (await client.send()).startswith("250")
    assert (await client.send()).startswith("450 4.7.1")
    assert it.refusals == [Refusal.PEER_RATE]


async def test_commands_without_end_are_ended(world: Make) -> None:
    """A peer that only talks is sent away."""
    it = await world(InboundLimits(commands_per_connection=3))
    client = await it.client()
    assert [(await client.say("NOOP"))[:3] for _ in range(4)] == ["250", "250", "250", "421"]


async def test_silent_connection_is_closed(world: Make) -> None:
    """Nobody holds a place by saying nothing."""
    it = await world(InboundLimits(idle_timeout_s=0.1))
    client = await it.client()
    assert await client.reply() == ""


async def test_vrfy_and_binary_commands_tell_nothing(world: Make) -> None:
    """No address is confirmed, and bytes that are no command are an error, not a crash."""
    it = await world()
    client = await it.client()
    assert (await client.say(f"VRFY {RETURN_PATH}")).startswith("252")
    client.writer.write(b"\xff\xfe\x00\r\n")
    assert (await client.reply()).startswith("500")
    client.writer.write(b"VRFY \xff\xfe\r\n")
    assert (await client.reply()).startswith("252")


async def test_sender_that_is_no_utf8_can_be_stored(world: Make) -> None:
    """Bytes of a sender that are no text are replaced, so that every mail can go on the belt."""
    it = await world()
    client = await it.client()
    await client.say("EHLO mx.example")
    client.writer.write(b"MAIL FROM:<t\xffr@mx.example>\r\n")
    assert (await client.reply()).startswith("250")
    await client.say(f"RCPT TO:<{RETURN_PATH}>")
    await client.say("DATA")
    assert (await client.say(".")).startswith("250")
    assert it.mails[0].mail_from == "t\ufffdr@mx.example"


async def test_stop_lets_the_mail_in_hand_be_answered(world: Make) -> None:
    """SIGTERM in the middle of a mail: its 250 still comes, idle connections hear 421, new ones are refused."""
    it = await world()
    it.hold = asyncio.Event()
    idle, busy = await it.client(), await it.client()
    sending = asyncio.create_task(busy.send())
    await asyncio.sleep(0.1)
    stopping = asyncio.create_task(it.server.stop(grace_s=5.0))
    assert (await idle.reply()).startswith("421 4.3.2")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", it.port)
    it.hold.set()
    assert (await sending).startswith("250")
    await asyncio.wait_for(stopping, 2)
    assert len(it.mails) == 1
    assert not it.server.is_listening()


async def test_stop_ends_in_time_though_the_handler_hangs(world: Make) -> None:
    """The grace is a bound: then the connection is cut, unanswered, and the peer will come again."""
    it = await world()
    it.hold = asyncio.Event()
    sending = asyncio.create_task((await it.client()).send())
    await asyncio.sleep(0.1)
    await asyncio.wait_for(it.server.stop(grace_s=0.1), 2)
    with contextlib.suppress(ConnectionError):
        assert await sending == ""
    assert not it.mails


def self_signed(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's and a client's context around a new certificate for bounce.example."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bounce.example")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + dt.timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("bounce.example")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "tls.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(pem)
    return server, ssl.create_default_context(cafile=str(pem))


async def test_starttls_takes_the_mail_encrypted(world: Make, tmp_path: Path) -> None:
    """With a certificate, STARTTLS is offered and works, and the connection is counted once."""
    server_context, client_context = self_signed(tmp_path)
    it = await world(tls_context=server_context)
    client = await it.client()
    assert "STARTTLS" in await client.say("EHLO mx.example")
    assert (await client.say("STARTTLS")).startswith("220")
    await client.writer.start_tls(client_context, server_hostname="bounce.example")
    assert (await client.send()).startswith("250")
    assert len(it.server.connections) == 1
    await client.say("QUIT")
    await asyncio.sleep(0.05)
    assert not it.server.connections
