"""How the bytes of one connection move through a fault proxy.

Promises: bytes leave in the order in which they came; an end (FIN) is one of the things that wait their turn; a reset
of one side resets the other. Each way holds at most ``HELD_BYTES`` plus what one read gives, and the transport's buffer.
"""

import asyncio
import contextlib
import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

HELD_BYTES = 262_144
BUFFER_BYTES = 262_144
SLICES_PER_S = 100  # how often a slowed connection passes something, where it is not slower than that
CATCH_UP_S = 0.02  # what a late timer may make good
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Way(StrEnum):
    """A direction through the proxy."""

    TO_SERVER = "to_server"
    TO_CLIENT = "to_client"
    BOTH = "both"

    def includes(self, way: "Way") -> bool:
        """Say whether what holds for this one holds for ``way``."""
        return self in (Way.BOTH, way)


@dataclass(frozen=True, slots=True)
class Budget:
    """How many bytes may still pass before the connection is reset."""

    n_bytes: int
    way: Way


@dataclass(slots=True)
class Faults:
    """What is wrong at the moment, for every connection of a proxy."""

    stalled: Way | None = None
    bytes_per_s: float | None = None
    latency_s: float = 0.0
    dribble_pause_s: float | None = None

    def clear(self) -> None:
        """Make it well."""
        self.stalled = self.bytes_per_s = self.dribble_pause_s = None
        self.latency_s = 0.0

    def stalls(self, way: Way) -> bool:
        """Say whether nothing passes this way."""
        return self.stalled is not None and self.stalled.includes(way)

    def piece_bytes(self, available: int) -> int:
        """How much may pass at once."""
        if self.dribble_pause_s is not None:
            return 1
        if self.bytes_per_s is not None:
            return min(available, max(1, int(self.bytes_per_s / SLICES_PER_S)))
        return available

    def pause_s(self, piece_bytes: int) -> float:
        """How long to wait after a piece."""
        return (self.dribble_pause_s or 0.0) + (piece_bytes / self.bytes_per_s if self.bytes_per_s else 0.0)


class Connection:
    """A client's connection and the one to the server for it."""

    def __init__(self, accepted: socket.socket, faults: Faults) -> None:
        self.faults = faults
        self.over = False
        self._closing = False
        self._accepted: socket.socket | None = accepted
        self._budget: Budget | None = None
        self._when_over: Callable[[], object] = lambda: None
        self._client = Side(self, Way.TO_SERVER)
        self._server = Side(self, Way.TO_CLIENT)
        self._client.other, self._server.other = self._server, self._client

    def whenever_over(self, call: Callable[[], object]) -> None:
        """Call this once, when the connection ends in any way."""
        self._when_over = call

    def give(self, budget: Budget | None) -> None:
        """Let it live for so many bytes more; None: without end."""
        self._budget = budget

    async def open(self, host: str, port: int) -> None:
        """Connect to the server, then begin to read from both; reset the client where there is no server."""
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self._server, host, port)
            accepted, self._accepted = self._accepted, None
            await loop.connect_accepted_socket(lambda: self._client, accepted)  # type: ignore[arg-type]
        except OSError:
            self.reset()
        self.move()

    def allowed(self, way: Way, n_bytes: int) -> int:
        """How many of these bytes may pass; they are taken from the budget."""
        budget = self._budget
        if budget is None or not budget.way.includes(way):
            return n_bytes
        allowed = min(n_bytes, budget.n_bytes)
        self._budget = Budget(budget.n_bytes - allowed, budget.way)
        return allowed

    def move(self) -> None:
        """Pass on what may pass now."""
        self._client.move()
        self._server.move()

    def reset(self) -> None:
        """End both sides with a RST."""
        if self._accepted is not None:
            self._accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            self._accepted.close()
            self._accepted = None
        for side in (self._client, self._server):
            side.reset()
        self._end()

    def close_when_both_ended(self) -> None:
        """Close both sides once each has passed its end on."""
        if self._client.ended and self._server.ended:
            self._closing = True
            for side in (self._client, self._server):
                side.close()

    def lost(self, error: Exception | None) -> None:
        """One side is gone: the other is reset, unless both were closed in an orderly way."""
        if error is not None or not self._closing:
            self.reset()
        elif self._client.gone and self._server.gone:
            self._end()

    def _end(self) -> None:
        if not self.over:
            self.over = True
            self._when_over()


class Side(asyncio.Protocol):
    """One end of a connection; what came from it is held here until it may go to the other."""

    other: "Side"

    def __init__(self, connection: Connection, way: Way) -> None:
        self.ended = False  # its end was passed on
        self.gone = False
        self._connection = connection
        self._way = way
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._writable = False
        self._reading = True
        self._held: deque[tuple[float, memoryview]] = deque()  # when it came; no bytes: the end
        self._held_bytes = 0
        self._ready_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport; one that came after the end is reset."""
        self._transport, self._writable = cast("asyncio.Transport", transport), True  # uvloop's is of no such class
        self._transport.set_write_buffer_limits(high=BUFFER_BYTES)
        if self._connection.over:
            self.reset()

    def data_received(self, data: bytes) -> None:
        """Hold it, and pass on what may pass."""
        self._held.append((self._loop.time(), memoryview(data)))
        self._held_bytes += len(data)
        self.move()

    def eof_received(self) -> bool:
        """Let the end wait its turn; the other way stays open."""
        self._held.append((self._loop.time(), memoryview(b"")))
        self.move()
        return True

    def pause_writing(self) -> None:
        """Take no more for this side."""
        self._writable = False

    def resume_writing(self) -> None:
        """Go on."""
        self._writable = True
        self.other.move()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the connection."""
        self._writable = False
        self.gone = True
        if not self._connection.over:
            self._connection.lost(exc)

    def move(self) -> None:
        """Pass on what may pass now, and come back when the next piece is due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        faults = self._connection.faults
        while self._held and self.other._writable and not self._connection.over and not faults.stalls(self._way):
            wait_s = max(self._ready_at, self._held[0][0] + faults.latency_s) - self._loop.time()
            if wait_s > 0:
                self._timer = self._loop.call_later(wait_s, self.move)
                break
            self._pass_piece(faults)
        self._read_or_wait()

    def reset(self) -> None:
        """End this side with a RST."""
        self._forget()
        if self._transport is not None and not self.gone:
            with socket.socket(fileno=os.dup(self._transport.get_extra_info("socket").fileno())) as same:
                same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            self._transport.abort()

    def close(self) -> None:
        """End this side once what was written to it has gone."""
        self._forget()
        if self._transport is not None:
            self._transport.close()

    def _pass_piece(self, faults: Faults) -> None:
        transport = self.other._transport
        assert transport is not None  # the other is writable
        came_at, chunk = self._held.popleft()
        if not chunk:
            self._pass_end(transport)
            return
        piece = chunk[: faults.piece_bytes(len(chunk))]
        allowed = self._connection.allowed(self._way, len(piece))
        if allowed:
            transport.write(piece[:allowed])
        if allowed < len(piece):
            self._connection.reset()
            return
        self._held_bytes -= len(piece)
        if len(piece) < len(chunk):
            self._held.appendleft((came_at, chunk[len(piece) :]))
        pause_s = faults.pause_s(len(piece))
        self._ready_at = max(self._loop.time() - CATCH_UP_S, self._ready_at) + pause_s if pause_s else 0.0

    def _pass_end(self, transport: asyncio.Transport) -> None:
        with contextlib.suppress(OSError):  # the other side went meanwhile: its loss is told by itself
            transport.write_eof()
        self.ended = True
        self._connection.close_when_both_ended()

    def _read_or_wait(self) -> None:
        # Where it is stalled nothing is read at all, so that a RST is held back too.
        stalled = self._connection.faults.stalls(self._way)
        reading = self._held_bytes < HELD_BYTES and self.other._writable and not stalled
        if self._transport is None or self._transport.is_closing() or reading is self._reading:
            return
        self._reading = reading
        if reading:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _forget(self) -> None:
        """Hold nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._held.clear()
        self._held_bytes = 0
