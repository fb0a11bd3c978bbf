"""An MX that answers as if it were far away, and counts: ``python -m benchmarks.engine_parts.sink --config FILE``.

Each reply leaves ``latency_s`` after its command arrived, in order, also where commands came in one write (PIPELINING):
what a network with that round trip does to a client next door. Replies leave at most some 2 ms late, never early. The
configuration is JSON: ``{"listeners": [{"name": "mx0", "address": "127.0.1.1", "latency_s": 0.15}], "dead":
["127.0.1.9"], "watched": "tx-", "every_recipient": false}``. All listen on one port, which is printed as a JSON line
when the process is ready, beside the port of ``watching``: a line written there is answered by the counts so far, as
JSON; ``pace 500`` there lets the whole sink accept no more than 500 mails a second from then on, ``pace 0`` any number.
A dead address has a listening socket whose backlog is full: its SYNs are dropped, and connecting hangs.
Everything is accepted. With ``every_recipient`` it is counted how often each address got a mail.
Units: seconds of the machine's monotonic clock, which all processes share.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from array import array
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.engine_parts.pace import Pace

_END = b"\r\n.\r\n"
_EHLO = b"250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE 52428800\r\n"
_OK, _GO_ON, _BYE, _UNKNOWN = b"250 2.0.0 Ok\r\n", b"354 Go ahead\r\n", b"221 2.0.0 Bye\r\n", b"502 5.5.2 What?\r\n"
_MOST_BYTES_OF_A_COMMAND = 4096
_BUCKETS_A_SECOND = 10


@dataclass(slots=True)
class Counts:
    """What one source IP did to one listener."""

    connections: int = 0
    open_now: int = 0
    most_open: int = 0
    begun: "array[float]" = field(default_factory=lambda: array("d"))  # when each MAIL arrived
    accepted: int = 0


@dataclass(slots=True)
class Book:
    """Everything that was counted."""

    watched: bytes
    pace: Pace
    every_recipient: bool = False
    counts: dict[tuple[str, str], Counts] = field(default_factory=dict)  # by listener and source IP
    accepted_in: dict[str, dict[int, int]] = field(default_factory=dict)  # by listener: tenth of a second → mails
    first_seen: dict[str, float] = field(default_factory=dict)  # when the watched recipients' first MAIL arrived
    accepted_first: dict[str, float] = field(default_factory=dict)  # when the watched recipients' first mail was taken
    mails_of: dict[bytes, int] = field(default_factory=dict)  # by recipient, where every one is counted
    open_now: int = 0
    most_open: int = 0
    accepted: int = 0

    def of(self, listener: str, source_ip: str) -> Counts:
        """Give the counts of a pair."""
        return self.counts.setdefault((listener, source_ip), Counts())

    def report(self, *, whole: bool) -> dict[str, Any]:
        """Give what was counted, ``whole`` with every time."""
        shown: dict[str, Any] = {"accepted": self.accepted, "open_now": self.open_now, "most_open": self.most_open}
        shown["watched_accepted"] = len(self.accepted_first)
        shown["accepted_at"] = {name: sum(tenths.values()) for name, tenths in self.accepted_in.items()}
        if whole:
            shown["accepted_in"] = {name: sorted(tenths.items()) for name, tenths in self.accepted_in.items()}
            shown["first_seen"] = self.first_seen
            shown["accepted_first"] = self.accepted_first
            shown["recipients"] = len(self.mails_of)
            shown["twice"] = [address.decode("ascii", "replace") for address, n in self.mails_of.items() if n > 1]
            shown["counts"] = [
                {
                    "listener": listener,
                    "source_ip": source_ip,
                    "connections": one.connections,
                    "most_open": one.most_open,
                    "accepted": one.accepted,
                    "begun": list(one.begun),
                }
                for (listener, source_ip), one in self.counts.items()
            ]
        return shown


class DelayLine:
    """Replies that leave after a delay that is the same for all, so that the first put in is the first due."""

    def __init__(self, loop: asyncio.AbstractEventLoop, latency_s: float) -> None:
        """Delay by ``latency_s``."""
        self.latency_s = latency_s
        self._loop = loop
        self._due: deque[tuple[float, Session, bytes]] = deque()
        self._armed = False

    def put(self, session: "Session", reply: bytes) -> None:
        """Send a reply when its time has come."""
        if self.latency_s <= 0:
            session.say(reply)
            return
        self._due.append((time.monotonic() + self.latency_s, session, reply))
        if not self._armed:
            self._armed = True
            self._loop.call_later(self.latency_s, self._leave)

    def _leave(self) -> None:
        now_s = time.monotonic()
        due = self._due
        while due and due[0][0] <= now_s:
            _, session, reply = due.popleft()
            session.say(reply)
        self._armed = bool(due)
        if due:
            self._loop.call_later(max(0.001, due[0][0] - now_s), self._leave)


class Session(asyncio.Protocol):
    """One connection; ``name`` is that of its listener."""

    def __init__(self, book: Book, name: str, line: DelayLine) -> None:
        """Count in ``book`` and answer by ``line``."""
        self._book, self._name, self._line = book, name, line
        self._transport: asyncio.Transport | None = None
        self._mine = Counts()
        self._tenths = book.accepted_in.setdefault(name, {})
        self._buffer = b""
        self._tail = b""
        self._in_content = self._dot_waits = False  # in content; its end waits for the answer
        self._begun_s = 0.0
        self._recipient = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count, and greet."""
        self._transport = transport  # type: ignore[assignment]
        book, mine = self._book, self._book.of(self._name, str(transport.get_extra_info("peername")[0]))
        self._mine = mine
        mine.connections += 1
        mine.open_now += 1
        mine.most_open = max(mine.most_open, mine.open_now)
        book.open_now += 1
        book.most_open = max(book.most_open, book.open_now)
        self._line.put(self, b"220 sink.example ESMTP\r\n")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 — every way of losing it is the same
        """Count."""
        self._transport = None
        self._mine.open_now -= 1
        self._book.open_now -= 1

    def say(self, reply: bytes) -> None:
        """Write, where anybody is left."""
        if self._transport is not None:
            self._transport.write(reply)
            if reply is _BYE:
                self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Take what arrived: content, or commands."""
        if self._in_content:
            joined = self._tail + data
            end = joined.find(_END)
            if end < 0:
                self._tail = joined[-4:]
                return
            data = joined[end + len(_END) :]
            self._dot()
        if self._dot_waits:  # a server answers in order
            self._buffer += data
            return
        lines = (self._buffer + data).split(b"\r\n")
        self._buffer = lines.pop()
        if len(self._buffer) > _MOST_BYTES_OF_A_COMMAND and self._transport is not None:
            self._transport.abort()
        for line in lines:
            self._take(line)

    def _take(self, line: bytes) -> None:
        verb = line[:4].upper()
        if verb == b"MAIL":
            self._begun_s = time.monotonic()
            self._mine.begun.append(self._begun_s)
            reply = _OK
        elif verb == b"RCPT":
            self._recipient = line.partition(b"<")[2].partition(b">")[0]
            if self._book.watched and self._book.watched in self._recipient:
                self._book.first_seen.setdefault(self._recipient.decode("ascii", "replace"), self._begun_s)
            reply = _OK
        elif verb == b"DATA":
            self._in_content, self._tail, reply = True, b"\r\n", _GO_ON
        elif verb == b"EHLO":
            reply = _EHLO
        elif verb in (b"RSET", b"NOOP", b"HELO"):
            reply = _OK
        else:
            reply = _BYE if verb == b"QUIT" else _UNKNOWN
        self._line.put(self, reply)

    def _dot(self) -> None:
        """Answer the final dot when it is its turn, and what came behind it after that."""
        self._in_content, self._dot_waits = False, True
        self._book.pace.put(self._accept)

    def _accept(self) -> None:
        """Count, and say so; who is gone meanwhile is told nothing, and nothing is accepted from him."""
        if self._transport is None:
            return
        book, now_s = self._book, time.monotonic()
        self._mine.accepted += 1
        book.accepted += 1
        tenth = int(now_s * _BUCKETS_A_SECOND)
        self._tenths[tenth] = self._tenths.get(tenth, 0) + 1
        if book.watched and book.watched in self._recipient:
            book.accepted_first.setdefault(self._recipient.decode("ascii", "replace"), now_s)
        if book.every_recipient:
            book.mails_of[self._recipient] = book.mails_of.get(self._recipient, 0) + 1
        self._line.put(self, _OK)
        self._dot_waits = False
        if self._buffer:
            self.data_received(b"")


def _full_backlog(address: str, port: int) -> list[socket.socket]:
    """Listen and accept nothing, behind a backlog that is full: the kernel drops every further SYN."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(0)
    kept = [listener]
    for _ in range(3):
        filler = socket.socket()
        filler.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            filler.connect((address, port))
        kept.append(filler)
    return kept


async def serve(config: dict[str, Any]) -> None:
    """Run until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    every_recipient = bool(config.get("every_recipient", False))
    book = Book(str(config.get("watched", "")).encode(), Pace(loop), every_recipient=every_recipient)
    lines: dict[float, DelayLine] = {}
    port = 0
    kept: list[object] = []
    for listener in config["listeners"]:
        latency_s = float(listener["latency_s"])
        line = lines.setdefault(latency_s, DelayLine(loop, latency_s))
        server = await loop.create_server(
            lambda name=listener["name"], line=line: Session(book, name, line),  # type: ignore[misc]
            listener["address"],
            port,
            backlog=4096,
        )
        port = server.sockets[0].getsockname()[1]
        kept.append(server)
    kept += [_full_backlog(address, port) for address in config.get("dead", ())]

    async def watch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while asked := await reader.readline():
            if asked.startswith(b"pace "):
                book.pace.set(float(asked[5:]))
            writer.write(json.dumps(book.report(whole=asked.strip() == b"whole")).encode() + b"\n")
            await writer.drain()
        writer.close()

    watching = await asyncio.start_server(watch, "127.0.0.1", 0)
    ready = {"port": port, "pid": os.getpid(), "watching": watching.sockets[0].getsockname()[1]}
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()
    await stop.wait()


def main() -> None:
    """Entry of the process."""
    parser = argparse.ArgumentParser(description="an MX that answers late and counts")
    parser.add_argument("--config", type=Path, required=True)
    config = json.loads(parser.parse_args().config.read_text(encoding="utf-8"))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(config))


if __name__ == "__main__":
    main()
