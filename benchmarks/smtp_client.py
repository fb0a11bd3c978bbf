"""CPU of one SMTP transaction on warm connections: aiosmtplib's ``sendmail``, our session, and ``smtp-source``.

One command: ``python -m benchmarks.smtp_client``; prints JSON. All clients talk to the same sink in the same run, round
by round in turn, and the median counts. The sink is Debian's ``smtp-sink`` (package postfix), else the scripted MX.
Units: microseconds of CPU (user + system) of the sending process per transaction.

The dispatcher runs on uvloop, so that row counts. The asyncio row has two levels: that loop reads into a fresh 256 KiB
buffer each time, and glibc serves it from the heap or by mmap, mremap and munmap, by what the process did before.
"""

import argparse
import asyncio
import contextlib
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import aiosmtplib
import uvloop

from services.dispatcher.connect import Target, TlsMode, open_session
from services.dispatcher.smtp_session import Envelope

SINK_PATH = "/usr/sbin"
SMALL_BYTES = 1_000
NEWSLETTER_BYTES = 20_000

Client = Callable[["Load"], Coroutine[None, None, None]]


@dataclass(frozen=True, slots=True)
class Load:
    """What one round sends."""

    port: int
    connections: int
    transactions: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Measurement:
    """Medians of one client at one size."""

    client: str
    loop: str
    size_bytes: int
    cpu_us_per_transaction: float
    transactions_per_s: float


@contextlib.contextmanager
def sink() -> Iterator[tuple[str, int]]:
    """Run a sink and give its name and port."""
    binary = shutil.which("smtp-sink", path=SINK_PATH)
    if binary is None:
        with scripted_sink() as port:
            yield "scripted_mx", port
        return
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    process = subprocess.Popen([binary, *user, f"127.0.0.1:{port}", "512"])
    try:
        wait_for(port)
        yield "smtp-sink", port
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def scripted_sink() -> Iterator[int]:
    """Run the scripted MX in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "mx.json"
        config.write_text(json.dumps({"listeners": [{"address": "127.0.0.1"}]}))
        command = [sys.executable, "-m", "tests.support.scripted_mx", "--config", str(config)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        try:
            line = process.stdout.readline() if process.stdout else b""
            yield json.loads(line)["listeners"][0]["port"]
        finally:
            process.terminate()
            process.wait()


def wait_for(port: int) -> None:
    """Wait until somebody listens."""
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise SystemExit("the sink did not start")


async def spread(load: Load, one: Callable[[int], Awaitable[None]]) -> None:
    """Run ``one`` on each connection with its share of the transactions."""
    share = load.transactions // load.connections
    await asyncio.gather(*(one(share) for _ in range(load.connections)))


async def by_aiosmtplib(load: Load) -> None:
    """Use the library's own way."""

    async def one(count: int) -> None:
        client = aiosmtplib.SMTP(hostname="127.0.0.1", port=load.port, local_hostname="mta.example.jp", start_tls=False)
        await client.connect()
        await client.ehlo()
        for _ in range(count):
            await client.sendmail("bounce@example.jp", ["a@example.com"], load.content)
        await client.quit()

    await spread(load, one)


async def by_session(load: Load) -> None:
    """Use our session."""
    target = Target("mx.example.com", "127.0.0.1", load.port, "mta.example.jp", tls=TlsMode.NONE)

    async def one(count: int) -> None:
        session = await open_session(target)
        for _ in range(count):
            outcome = await session.send(Envelope("bounce@example.jp", "a@example.com", load.content))
            if not outcome.accepted:
                raise SystemExit(f"the sink did not accept: {outcome}")
        await session.quit()

    await spread(load, one)


def cpu_s(who: int) -> float:
    """Give user and system time."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def in_process(client: Client, loop: str, load: Load) -> tuple[float, float]:
    """Run a round in this process; give CPU seconds and seconds."""
    cpu, clock = cpu_s(resource.RUSAGE_SELF), time.perf_counter()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if loop == "uvloop" else None) as runner:
        runner.run(client(load))
    return cpu_s(resource.RUSAGE_SELF) - cpu, time.perf_counter() - clock


def by_smtp_source(load: Load) -> tuple[float, float]:
    """Run a round of Postfix's own generator, the limit."""
    cpu, clock = cpu_s(resource.RUSAGE_CHILDREN), time.perf_counter()
    options = ["-d", "-s", str(load.connections), "-m", str(load.transactions), "-l", str(len(load.content))]
    subprocess.run([f"{SINK_PATH}/smtp-source", *options, f"127.0.0.1:{load.port}"], check=True)
    return cpu_s(resource.RUSAGE_CHILDREN) - cpu, time.perf_counter() - clock


def content_of(size: int) -> bytes:
    """Give a mail of about this size: some headers, base64-like lines."""
    head = b"".join(b"X-Header-%d: some.words.example\r\n" % number for number in range(8)) + b"\r\n"
    return (head + b"QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5\r\n" * (size // 70 + 1))[
        : size - 2
    ] + b"\r\n"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transactions", type=int, default=3000)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    clients: dict[tuple[str, str], Callable[[Load], tuple[float, float]]] = {
        ("aiosmtplib.sendmail", "uvloop"): lambda load: in_process(by_aiosmtplib, "uvloop", load),
        ("hayabin session", "asyncio"): lambda load: in_process(by_session, "asyncio", load),
        ("hayabin session", "uvloop"): lambda load: in_process(by_session, "uvloop", load),
    }
    if shutil.which("smtp-source", path=SINK_PATH):
        clients["smtp-source", "-"] = by_smtp_source
    rounds: dict[tuple[str, str, int], list[tuple[float, float]]] = {}
    with sink() as (name, port):
        for _ in range(arguments.rounds):
            for size in (SMALL_BYTES, NEWSLETTER_BYTES):
                load = Load(port, arguments.connections, arguments.transactions, content_of(size))
                for (client, loop), run in clients.items():
                    rounds.setdefault((client, loop, size), []).append(run(load))
    count = arguments.transactions // arguments.connections * arguments.connections
    measured = [
        Measurement(
            client,
            loop,
            size,
            round(statistics.median(cpu for cpu, _ in results) / count * 1e6, 1),
            round(count / statistics.median(seconds for _, seconds in results), 0),
        )
        for (client, loop, size), results in rounds.items()
    ]
    report = {"sink": name, **vars(arguments), "measured": [asdict(row) for row in measured]}
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
