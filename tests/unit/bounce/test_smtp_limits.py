"""What the inbound SMTP server bears: too much, too long, too often, nothing at all; stopping; STARTTLS."""

import asyncio
import contextlib
import datetime as dt
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from services.bounce.peer_limits import InboundLimits, Refusal
from tests.unit.bounce.smtp_world import RETURN_PATH, Client, Make


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
