"""One connection of the scripted MX: the SMTP conversation, bent by behaviours.

Promises: mails are journalled before their final reply; content is kept as sent, with dot-stuffing undone.
Ends without a word when the peer breaks off: that is the peer's right.
"""

import asyncio
import contextlib
import ssl
import time

from tests.support.mx_behaviour import Behaviour
from tests.support.mx_journal import Delivery
from tests.support.mx_script import MAX_CONTENT_BYTES, Hangup, Record, Script


class Session:
    """One connection."""

    def __init__(
        self,
        record: Record,
        script: Script,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Take a connection."""
        self._record, self._script, self._reader, self._writer = record, script, reader, writer
        self._buffer = bytearray()
        self._ehlo = ""
        self._tls = False
        self._taken = 0
        self._mail_from: str | None = None
        self._recipients: list[str] = []
        self._peer_ip = str(writer.get_extra_info("peername")[0])
        self._manners = script.towards.get(self._peer_ip, ()) + script.manners
        self._now: tuple[Behaviour, ...] = self._manners  # and the rule of the recipient at hand
        record.enter(self._peer_ip)

    async def run(self) -> None:
        """Serve until the end."""
        try:
            await self._stage("connect", f"220 {self._script.listener.name} ESMTP ready")
            while True:
                hasty = b"\n" in self._buffer  # what comes next was sent before the last reply
                line = (await self._line()).rstrip(b"\r\n").decode("utf-8", "replace")
                self._record.commands.append(line)
                if not (hasty and await self._resents_haste()):
                    await self._command(line)
        except (Hangup, ConnectionError, EOFError, ssl.SSLError):
            pass
        finally:
            self._record.open_from[self._peer_ip] -= 1
            self._writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
                async with asyncio.timeout(1):
                    await self._writer.wait_closed()

    async def _resents_haste(self) -> bool:
        """Answer a command that was pipelined as a server does that offers PIPELINING and cannot; True if it did so."""
        if "hasty-554" in self._script.words:
            await self._say("554 SMTP synchronization error")
            raise Hangup
        if "hasty-503" in self._script.words:
            await self._say("503 5.5.1 Bad sequence of commands")
            return True
        return "hasty-forget" in self._script.words

    async def _command(self, line: str) -> None:  # noqa: PLR0912 — one branch for each verb
        verb, _, argument = line.partition(" ")
        match verb.upper():
            case "EHLO" if "helo-only" not in self._script.words:
                self._ehlo = argument
                self._forget()
                lines = self._script.extensions(tls=self._tls)
                await self._stage("ehlo", "\n".join([*(f"250-{text}" for text in lines[:-1]), f"250 {lines[-1]}"]))
            case "HELO":
                self._ehlo = argument
                self._forget()
                await self._stage("ehlo", f"250 {self._script.listener.name}")
            case "STARTTLS" if self._script.context is not None and not self._tls:
                if await self._stage("starttls", "220 2.0.0 Ready to start TLS"):
                    self._buffer.clear()
                    await self._writer.start_tls(self._script.context, ssl_handshake_timeout=5)
                    self._tls = True
            case "MAIL" if "no-parameters" in self._script.words and not argument.endswith(">"):
                await self._say("555 5.5.4 Unsupported option")
            case "MAIL" if self._mail_from is None:
                self._mail_from = _path(argument)
                self._record.begun.append((time.monotonic(), self._peer_ip))
                if not await self._stage("mail", "250 2.1.0 Ok", self._mail_from):
                    self._mail_from = None
            case "RCPT" if self._mail_from is not None:
                recipient = _path(argument)
                self._now = self._manners + self._script.behaviours_for(recipient)
                if await self._stage("rcpt", "250 2.1.5 Ok", recipient):
                    self._recipients.append(recipient)
            case "DATA" if self._recipients:
                if await self._stage("data", "354 End data with <CR><LF>.<CR><LF>", self._recipients[0]):
                    await self._content()
            case "DATA":
                await self._say("503 5.5.1 Error: need RCPT command")
            case "RSET":
                self._forget()
                await self._say("250 2.0.0 Ok")
            case "NOOP":
                await self._say("250 2.0.0 Ok")
            case "QUIT":
                await self._say("221 2.0.0 Bye")
                raise Hangup
            case "MAIL" | "RCPT" | "STARTTLS":
                await self._say("503 5.5.1 Bad sequence of commands")
            case _:
                await self._say("502 5.5.2 Error: command not recognized")

    async def _content(self) -> None:
        content = await self._until_dot()
        drop = next((b for b in self._now if b.verb == "drop" and b.stage == "dot"), None)
        refused = self._due("dot", self._recipients[0], count=False) is not None
        if drop is not None and drop.text == "journalled":
            self._write(content, replied=False)
            raise Hangup
        if drop is None and not refused:
            self._write(content, replied=True)
        await self._stage("dot", "250 2.0.0 Ok: queued", self._recipients[0])
        self._taken += 1
        self._forget()
        if self._taken == self._script.words.get("close-after"):
            raise Hangup

    def _write(self, content: bytes, *, replied: bool) -> None:
        peer: tuple[str, int] = self._writer.get_extra_info("peername")
        listener = self._script.listener
        address = self._writer.get_extra_info("sockname")
        self._record.journal.write(
            Delivery(
                listener=f"{listener.name}/{address[0]}:{address[1]}",
                peer_ip=peer[0],
                ehlo=self._ehlo,
                tls=self._tls,
                mail_from=self._mail_from or "",
                recipients=tuple(self._recipients),
                content=content,
                replied=replied,
            ),
        )

    def _forget(self) -> None:
        self._mail_from = None
        self._recipients = []
        self._now = self._manners

    def _due(self, stage: str, who: str, *, count: bool) -> Behaviour | None:
        """Give the behaviour at this stage, if it is (still) to be shown to ``who``."""
        for behaviour in self._now:
            if behaviour.stage != stage:
                continue
            key = (stage, who.lower(), behaviour.text)
            if behaviour.times and self._record.tries[key] >= behaviour.times:
                continue
            if count:
                self._record.tries[key] += 1
            return behaviour
        return None

    async def _stage(self, stage: str, usual: str, who: str = "") -> bool:
        """Answer as usual or as scripted; True if the answer let the client go on."""
        behaviour = self._due(stage, who, count=True)
        if behaviour is None:
            await self._say(usual)
            return True
        match behaviour.verb:
            case "reply":
                await self._say(behaviour.text)
                if behaviour.text.startswith("421"):
                    raise Hangup
                return behaviour.text[0] in "23"
            case "stall":
                await asyncio.sleep(3600)
            case "shout":
                await self._say("250 " + "x" * int(behaviour.number))
            case "drone":
                await self._say("250-" + "\n250-".join(["x" * 60] * int(behaviour.number / 66)) + "\n250 end")
            case "babble":
                await self._say("what do you want from me?")
        raise Hangup

    async def _say(self, reply: str) -> None:
        delay = sum(b.number for b in self._now if b.verb == "slow")
        if delay:
            await asyncio.sleep(delay)
        end = "\n" if "lf" in self._script.words else "\r\n"
        data = (reply.replace("\n", end) + end).encode()
        if "split" in self._script.words:
            for number in range(len(data)):
                self._writer.write(data[number : number + 1])
                await asyncio.sleep(0)
        else:
            self._writer.write(data)
        await self._writer.drain()

    async def _fill(self) -> None:
        data = await self._reader.read(65536)
        if not data or len(self._buffer) > MAX_CONTENT_BYTES:
            raise EOFError
        self._buffer += data

    async def _line(self) -> bytes:
        while (end := self._buffer.find(b"\n")) < 0:
            await self._fill()
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        return line

    async def _until_dot(self) -> bytes:
        """Read content and final dot; give it with the dot-stuffing undone."""
        while len(self._buffer) < 3:
            await self._fill()
        if self._buffer.startswith(b".\r\n"):
            del self._buffer[:3]
            return b""
        scanned = 0
        while (end := self._buffer.find(b"\r\n.\r\n", scanned)) < 0:
            scanned = max(0, len(self._buffer) - 4)
            await self._fill()
        content = bytes(self._buffer[: end + 2])
        del self._buffer[: end + 5]
        content = content.replace(b"\r\n.", b"\r\n")
        return content.removeprefix(b".")


def _path(argument: str) -> str:
    """Give the address of ``FROM:<a@b> SIZE=1`` or ``TO:<a@b>``."""
    return argument[argument.find("<") + 1 : argument.rfind(">")]
