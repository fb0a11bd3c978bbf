"""The providers' mail servers: an SMTP server on several loopback addresses that asks ``Judge`` about each recipient.

Promises: PIPELINING, 8BITMIME, SIZE and ENHANCEDSTATUSCODES as announced; every line, mail, session and idle time is
bounded; a refused final dot stores nothing.
Fails: a client that breaks the protocol's bounds is told so and disconnected.

Source: RFC 5321, RFC 2920 (pipelining), RFC 3463 (enhanced status codes).
"""

import asyncio
import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hayabin.telemetry.logging import get_logger
from services.standalone.sandbox.wire import LineTooLong, SmtpInput

LINE_MAX_BYTES = 2048
MAIL_MAX_BYTES = 10 * 1024 * 1024
RECIPIENTS_MAX = 100
SESSIONS_MAX = 400
IDLE_TIMEOUT_S = 300.0
EXTENSIONS = ("PIPELINING", f"SIZE {MAIL_MAX_BYTES}", "8BITMIME", "ENHANCEDSTATUSCODES")

SIMPLE_REPLIES = {
    "DATA": "503 5.5.1 no valid recipients",
    "RSET": "250 2.0.0 ok",
    "NOOP": "250 2.0.0 ok",
    "QUIT": "221 2.0.0 bye",
}

_PATH = re.compile(r"(?:FROM|TO):\s?<([^<>\r\n]*)>(?: .*)?", re.IGNORECASE)


@dataclass(slots=True)
class Client:
    """Who is connected, and the transaction under way."""

    server: str
    peer: str
    ehlo: str = ""
    sender: str | None = None
    recipients: list[str] = field(default_factory=list)

    def reset(self) -> None:
        """Forget the transaction."""
        self.sender = None
        self.recipients = []


class Judge(Protocol):
    """Decides about recipients and takes mails; each answer is a whole reply line without CRLF."""

    def on_recipient(self, client: Client, recipient: str) -> str:
        """The reply to RCPT."""

    def on_mail(self, client: Client, content: bytes) -> str:
        """The reply to the final dot."""


class SmtpServer:
    """Listens on every given address."""

    def __init__(self, judge: Judge) -> None:
        """Nothing listens before ``start``."""
        self._judge = judge
        self._servers: list[asyncio.Server] = []
        self._sessions: set[asyncio.Task[None]] = set()

    async def start(self, addresses: Sequence[str], port: int) -> None:
        """Listen.

        Raises:
            OSError: an address or the port can not be had.
        """
        for address in addresses:
            self._servers.append(await asyncio.start_server(self._on_connection, address, port, backlog=1024))

    async def stop(self) -> None:
        """Stop listening and end the sessions."""
        for server in self._servers:
            server.close()
        for session in self._sessions:
            session.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = asyncio.current_task()
        if session is None:
            raise RuntimeError("a connection is handled in a task")
        self._sessions.add(session)
        try:
            if len(self._sessions) > SESSIONS_MAX:
                writer.write(b"421 4.7.0 too many connections\r\n")
                await writer.drain()
                return
            await _converse(self._judge, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError) as error:
            get_logger().debug("sandbox_session_lost", error=repr(error))
        finally:
            self._sessions.discard(session)
            writer.close()
            with contextlib.suppress(ConnectionError, TimeoutError):
                await asyncio.wait_for(writer.wait_closed(), 5)


async def _converse(judge: Judge, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One session, command by command."""
    client = Client(writer.get_extra_info("sockname")[0], writer.get_extra_info("peername")[0])
    wire = SmtpInput(reader)
    writer.write(b"220 mx.sandbox.test ESMTP Hayabin sandbox\r\n")
    while True:
        await writer.drain()
        try:
            async with asyncio.timeout(IDLE_TIMEOUT_S):
                line = await wire.line(LINE_MAX_BYTES)
        except LineTooLong:
            writer.write(b"500 5.5.2 line too long\r\n")
            await writer.drain()
            return
        verb, _, rest = line.decode("utf-8", "replace").partition(" ")
        if verb.upper() == "DATA" and client.recipients:
            writer.write(b"354 go ahead\r\n")
            await writer.drain()
            async with asyncio.timeout(IDLE_TIMEOUT_S):
                content = await wire.content(MAIL_MAX_BYTES)
            reply = "552 5.3.4 mail too large" if content is None else judge.on_mail(client, content)
            client.reset()
        else:
            reply = _answer(judge, client, verb.upper(), rest)
        writer.write(reply.encode() + b"\r\n")
        if reply.startswith(("221", "421")):
            await writer.drain()
            return


def _answer(judge: Judge, client: Client, verb: str, rest: str) -> str:
    """The reply to any command but an acceptable DATA."""
    match verb:
        case "EHLO" | "HELO":
            client.reset()
            client.ehlo = rest[:255]
            names = ["mx.sandbox.test", *(EXTENSIONS if verb == "EHLO" else ())]
            return "\r\n".join([*(f"250-{name}" for name in names[:-1]), f"250 {names[-1]}"])
        case "MAIL":
            return _on_sender(client, rest)
        case "RCPT":
            return _on_recipient(judge, client, rest)
        case "RSET":
            client.reset()
            return SIMPLE_REPLIES[verb]
        case _:
            return SIMPLE_REPLIES.get(verb, "502 5.5.1 command not known")


def _on_sender(client: Client, rest: str) -> str:
    path = _PATH.fullmatch(rest)
    if path is None or not rest.upper().startswith("FROM:"):
        return "501 5.5.4 MAIL FROM:<address>"
    if client.sender is not None:
        return "503 5.5.1 a transaction is under way"
    client.sender = path[1]
    return "250 2.1.0 ok"


def _on_recipient(judge: Judge, client: Client, rest: str) -> str:
    path = _PATH.fullmatch(rest)
    if path is None or not rest.upper().startswith("TO:") or "@" not in path[1]:
        return "501 5.5.4 RCPT TO:<address>"
    if client.sender is None:
        return "503 5.5.1 MAIL first"
    if len(client.recipients) >= RECIPIENTS_MAX:
        return "452 4.5.3 too many recipients"
    reply = judge.on_recipient(client, path[1])
    if reply.startswith("2"):
        client.recipients.append(path[1])
    return reply
