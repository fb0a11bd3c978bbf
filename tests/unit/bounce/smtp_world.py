"""A running inbound server, and a client that says a few words to it."""

import asyncio
from collections.abc import Callable
from typing import Any

from hayabin.domain.token import TokenKey, TokenRing
from hayabin.domain.verp import issue_return_path
from services.bounce.peer_limits import Refusal
from services.bounce.smtp_server import InboundMail, InboundServer

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
