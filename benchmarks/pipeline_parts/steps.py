"""Where the CPU of our Python processes goes, step by step: py-spy looks at them while a campaign is sent.

Promises: a sample belongs to the innermost frame, Python's or native, that one of ``STEPS`` names; what no rule names
is ``other``. Threads that wait, for a socket, a lock or the GIL, are left out by their native frames, since what the
system tells of their state is not reliable everywhere. py-spy stops a process for each look, and unwinding its native
stack takes milliseconds: the run that it looks at is not measured otherwise.
Fails: ``SystemExit`` where py-spy may not look (it needs root, or ptrace of one's own processes to be allowed).
Shape: a line of py-spy's raw format is frames, outermost first, and a number of samples.
"""

import linecache
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

_RATE_PER_S = 100
_FRAME = re.compile(r"^(?P<function>.*) \((?P<file>.*?)(?::(?P<line>\d+))?\)$")
_WAITS = re.compile(r"^(epoll_p?wait|pthread_cond_\w*wait|sem_\w*wait|PyThread_acquire_lock_timed|take_gil|futex)")
_INTERPRETER = re.compile(r"^(?!gc_collect).*(/libpython|/Python-3|/cpython-3)|^0x")
# The first rule that fits a frame's "function path | text of its line" names its step.
STEPS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (step, re.compile(rule))
    for step, rule in (
        ("garbage_collection", r"^gc_collect"),
        ("sockets", r"^(__libc_)?(writev?|read|send(to|msg)?|recv(from|msg)?) .*/libc\.so"),
        ("zstd", r"contracts/codec\.py \| .*zstandard|/zstandard/|/zstd/|^ZSTD_"),
        ("protobuf", r"contracts/codec\.py|/google/_upb/|worker\.py \| .*(\bMail\(|MailBatch\(|mails\.append)"),
        ("dkim_signature", r"\b_signature .*renderer/dkim\.py|/cryptography/"),
        ("dkim_hash_and_field", r"renderer/dkim\.py"),
        ("json", r"\| .*orjson|/orjson/"),
        ("template_and_links", r"hayabin/content/|/minijinja/"),
        ("tokens", r"hayabin/domain/(token|verp)\.py"),
        ("mime", r"renderer/(mime|headers)\.py|/pybase64/"),
        ("telemetry", r"hayabin/telemetry/|/opentelemetry/|/prometheus_client/|/structlog/"),
        ("amqp", r"hayabin/broker/|/aiormq/|/aio_pika/|/pamqp/"),
        ("smtp", r"dispatcher/(smtp_|pipelining|connect|opening_lines|envelope)|/aiosmtplib/"),
        ("dns_and_policies", r"dispatcher/(resol|dns_|way_finding|route|mta_sts|sts_|dane|tls_)|/dns/"),
        ("gate_and_outcomes", r"dispatcher/(gate|outcomes|reporting|batch)\.py"),
        ("sql", r"/asyncpg/|hayabin/database/"),
        ("lanes", r"services/dispatcher/"),
        ("renderer_itself", r"services/renderer/"),
        ("event_loop", r"/asyncio/|_asynciomodule|/uvloop/|/libuv|/threading\.py|/concurrent/"),
    )
)
OTHER = "other"


def working_stacks(raw: str) -> Iterator[tuple[list[str], int]]:
    """Give the stacks that did not wait, outermost frame first, with their samples."""
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        if not any(_WAITS.match(frame) for frame in frames):
            yield frames, int(count)


def shares(raw: str) -> dict[str, float]:
    """Give each step's share of the samples, the largest first."""
    samples: Counter[str] = Counter()
    for frames, count in working_stacks(raw):
        samples[step_of(frames)] += count
    total = sum(samples.values())
    return {step: count / total for step, count in samples.most_common()}


def step_of(frames: list[str]) -> str:
    """Give the step that a stack belongs to."""
    found = (_step_named_by(frame) for frame in reversed(frames))
    return next(filter(None, found), OTHER)


def drawn(frames: list[str]) -> list[str]:
    """Give the frames as a picture shows them: without lines and the interpreter's own, with the end of their path."""
    kept = [match for match in map(_FRAME.match, frames) if match and not _INTERPRETER.search(match.string)]
    return [f"{match['function']} ({'/'.join(match['file'].split('/')[-3:])})" for match in kept]


def costs(raw: str, cpu_us_per_email: float) -> dict[str, dict[str, float]]:
    """Share out what a process uses for an email over its steps."""
    return {
        step: {"share": round(share, 4), "cpu_us_per_email": round(share * cpu_us_per_email, 1)}
        for step, share in shares(raw).items()
    }


@contextmanager
def watched(pids: Mapping[str, int], files: Mapping[str, Path]) -> Iterator[None]:
    """Let py-spy look at processes for the length of a block; each file has its process's raw result after it."""
    watchers = {name: _watcher(pid, files[name]) for name, pid in pids.items()}
    try:
        time.sleep(2)  # it reads symbols first
        yield
    finally:
        for watcher in watchers.values():
            with suppress(ProcessLookupError):
                watcher.send_signal(signal.SIGINT)  # it writes its file then
        said = {name: watcher.communicate()[0].decode(errors="replace") for name, watcher in watchers.items()}
    for name, text in said.items():
        if not files[name].exists() or not files[name].stat().st_size:
            raise SystemExit(f"py-spy could not look at {name}: {text[-2000:]}")


def _watcher(pid: int, file: Path) -> subprocess.Popen[bytes]:
    program = str(Path(sys.executable).with_name("py-spy"))
    what = ["--pid", str(pid), "--rate", str(_RATE_PER_S), "--duration", "unlimited"]
    form = ["--output", str(file), "--format", "raw", "--native", "--full-filenames"]
    return subprocess.Popen([program, "record", *what, *form], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@lru_cache(maxsize=100_000)
def _step_named_by(frame: str) -> str | None:
    shown = _with_text(frame)
    return next((step for step, rule in STEPS if rule.search(shown)), None)


def _with_text(frame: str) -> str:
    """Give a frame as ``function path | text of its line``."""
    match = _FRAME.match(frame)
    if match is None:
        return frame
    text = linecache.getline(match["file"], int(match["line"])).strip() if match["line"] else ""
    return f"{match['function']} {match['file']} | {text}"
