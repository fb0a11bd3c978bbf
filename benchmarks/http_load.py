"""A load generator for HTTP/1.1 in a process of its own, cheap enough not to be what is measured.

Promises: a fixed number of keep-alive connections, one request under way on each (no pipelining). Without a rate the
loop is closed: a connection sends its next request when it has its answer. With a rate it is open: requests are due at
even times whatever the answers do, and a latency counts from when the request was due, waiting for a free connection
included. Every answer is counted by its status.
Fails: an answer without Content-Length, or a connection that the server ends early, is counted in ``broken``; the
requests of a run can be told (``answered``), with the latency of each.
Units: seconds; the open loop looks at its clock each millisecond, so up to 1 ms of a latency is its own.
"""

import argparse
import asyncio
import json
import re
import resource
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import uvloop

from benchmarks.engine_parts.exactness import percentile
from tests.support.system import helper_process

TICK_S: Final = 0.001
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_DRAIN_S: Final = 10.0
"""How long answers that are still due after the end are waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What to ask for; ``requests`` are whole requests (see ``request_text``), asked for in turn, again and again."""

    port: int
    requests: Sequence[str]
    connections: int
    seconds: float
    rate_per_s: float = 0.0
    once: bool = False  # end when each request was sent once
    tell: bool = False  # which requests were answered, see the module


def request_text(method: str, path: str, headers: Mapping[str, str], body: str = "") -> str:
    """Write a request down."""
    fields = {"Host": "127.0.0.1", **headers}
    if body:
        fields |= {"Content-Type": "application/json", "Content-Length": str(len(body.encode()))}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n{body}"


def answer_size(received: bytes) -> int | None:
    """Give the size of the answer that ``received`` begins with, None where its head is not there yet.

    Raises:
        ValueError: it has no Content-Length.

    Units: bytes.
    """
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    found = _LENGTH.search(received, 0, end)
    if found is None:
        raise ValueError(f"no Content-Length: {received[:end]!r}")
    return end + 4 + int(found[1])


@dataclass(slots=True)
class Run:
    """The state of a load while it is on."""

    load: Load
    wire: list[bytes]
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    idle: deque["Connection"] = field(default_factory=deque)
    due: deque[tuple[int, float]] = field(default_factory=deque)
    sent: int = 0
    under_way: int = 0
    stopping: bool = False
    broken: int = 0
    statuses: Counter[bytes] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)
    answered: list[tuple[int, float]] = field(default_factory=list)

    def next_index(self) -> int | None:
        """Give the number of the next request, None where there is none left."""
        if self.stopping or (self.load.once and self.sent == len(self.wire)):
            return None
        self.sent += 1
        return (self.sent - 1) % len(self.wire)

    def finished(self, connection: "Connection") -> None:
        """Give a connection that has its answer the next request."""
        if self.load.rate_per_s:
            if self.due:
                connection.ask(*self.due.popleft())
            else:
                self.idle.append(connection)
        else:
            index = self.next_index()
            if index is not None:
                connection.ask(index, time.perf_counter())
        all_sent = self.stopping or (self.load.once and self.sent == len(self.wire))
        if all_sent and not self.under_way and not self.due:
            self.ended.set()


class Connection(asyncio.Protocol):
    """One connection."""

    def __init__(self, run: Run) -> None:
        """Belong to a run."""
        self._run = run
        self._index, self._since_s = -1, 0.0
        self._received = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's does not inherit from asyncio's

    def ask(self, index: int, since_s: float) -> None:
        """Send a request whose latency counts from ``since_s``."""
        self._index, self._since_s = index, since_s
        self._run.under_way += 1
        self.transport.write(self._run.wire[index])

    def data_received(self, data: bytes) -> None:
        """Take an answer, or a part of it."""
        received = self._received + data if self._received else data
        try:
            size = answer_size(received)
        except ValueError:
            self.transport.abort()
            return
        if size is None or len(received) < size:
            self._received = received
            return
        self._received = received[size:]
        run, index = self._run, self._index
        self._index = -1
        latency_s = time.perf_counter() - self._since_s
        run.under_way -= 1
        run.statuses[received[9:12]] += 1
        run.latencies_s.append(latency_s)
        if run.load.tell:
            run.answered.append((index, latency_s))
        run.finished(self)

    def connection_lost(self, _error: Exception | None) -> None:
        """Count what will have no answer."""
        if self._index < 0 and self._run.stopping:
            return
        self._run.broken += 1
        self._run.under_way -= self._index >= 0
        if not self._run.under_way:
            self._run.ended.set()


async def _pace(run: Run) -> None:
    """Send what is due on idle connections; what finds none waits for one, and its time runs."""
    rate, begun_s, count = run.load.rate_per_s, time.perf_counter(), 0
    while not run.stopping:
        now_s = time.perf_counter()
        while begun_s + count / rate <= now_s:
            index = run.next_index()
            if index is None:
                return
            due = (index, begun_s + count / rate)
            count += 1
            if run.idle:
                run.idle.popleft().ask(*due)
            else:
                run.due.append(due)
        await asyncio.sleep(TICK_S)


async def _apply(load: Load) -> dict[str, Any]:
    run = Run(load, [request.encode() for request in load.requests])
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: Connection(run), "127.0.0.1", load.port) for _ in range(load.connections)
    ]
    connections = [protocol for _, protocol in made]
    begun_s, cpu_s = time.perf_counter(), _cpu_s()
    pacing = asyncio.create_task(_pace(run)) if load.rate_per_s else None
    for connection in connections:
        run.finished(connection)
    try:
        async with asyncio.timeout(load.seconds):
            await run.ended.wait()
    except TimeoutError:
        pass
    seconds, used_s, answers = time.perf_counter() - begun_s, _cpu_s() - cpu_s, len(run.latencies_s)
    run.stopping = True
    if run.under_way or run.due:
        try:
            async with asyncio.timeout(_DRAIN_S):
                await run.ended.wait()
        except TimeoutError:
            pass
    if pacing is not None:
        await pacing
    unanswered = run.under_way + len(run.due)
    for connection in connections:
        connection.transport.abort()
    return _result(run, answers, seconds, used_s) | {"unanswered": unanswered}


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _result(run: Run, answers: int, seconds: float, cpu_s: float) -> dict[str, Any]:
    """Rates over the time of the load; latencies and statuses of all answers, those after its end included."""
    percents = (50, 90, 99, 99.9) if run.latencies_s else ()
    latencies_ms = {f"p{percent:g}_ms": round(percentile(run.latencies_s, percent) * 1000, 2) for percent in percents}
    return {
        "answers": len(run.latencies_s),
        "requests_per_s": round(answers / seconds, 1),
        "seconds": round(seconds, 2),
        "statuses": {status.decode("latin-1"): count for status, count in run.statuses.items()},
        **latencies_ms,
        "broken": run.broken,
        "client_busy": round(cpu_s / seconds, 2),
        "answered": run.answered,
    }


def apply(load: Load, folder: Path) -> dict[str, Any]:
    """Apply a load from a process of its own, and give what came of it."""
    with helper_process("benchmarks.http_load", asdict(load), folder) as result:
        return dict(result)


def main() -> None:
    """Entry of the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    load = Load(**json.loads(parser.parse_args().config.read_text()))
    print(json.dumps(uvloop.run(_apply(load))), flush=True)


if __name__ == "__main__":
    main()
